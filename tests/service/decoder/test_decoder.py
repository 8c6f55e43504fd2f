"""The laws of token-level batching, each with a test that fails when the law is broken.

Most run three ways: with a shared cache, a growing one and a state.
"""

import asyncio
import itertools
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from service.decoder import decoder as loop
from service.decoder import pace
from service.decoder.sequence import Delta, Sampling
from service.decoder.speech import Speech
from service.errors import DeadlinePassed, ModelFault, NotReady, OutOfMemory, Overloaded
from service.schema import Priority
from tests.service.cuda import on_gpu
from tests.service.decoder.bundles import CONTEXT, LETTERS, SIZE, TAME, VOID, prompts, walk
from tests.service.decoder.conftest import Benches
from tests.service.decoder.workbench import GREEDY, Bench, Run, Voice, drained, failure, soon
from tests.service.workbench import PATIENCE_S, until

WARM = Sampling(temperature=2.0, top_k=20)
only_shared = pytest.mark.parametrize("form", ["shared"])


def text_of(prompt: list[int], limit: int = 12) -> str:
    return walk(prompt, limit).text


# --- law 1: a text does not depend on who shares its steps -------------------------------------


async def test_text_is_the_one_worked_out_on_paper(benches: Benches) -> None:
    bench = benches()
    for prompt in prompts(6, length=1) + prompts(4, length=40, seed=1):
        assert await bench.hear(prompt) == text_of(prompt)


async def test_end_token_ends_a_text_and_is_not_in_it(benches: Benches) -> None:
    bench = benches()
    [prompt] = prompts(1, reason="stop")
    voice = bench.say(prompt)
    assert await voice.end() == "stop"
    assert voice.text == text_of(prompt)
    assert LETTERS[0] not in voice.text


async def test_text_in_company_is_the_text_alone(benches: Benches) -> None:
    """More than fit at once, of all lengths, joining and leaving in the midst of each other."""
    bench = benches(rows=5)
    dice = random.Random(0)
    wishes = [
        (prompt, dice.randint(1, 12))
        for length in (1, 2, 5, 17, 60)
        for prompt in prompts(6, length=length, seed=length)
    ]
    dice.shuffle(wishes)
    # Five that are read at once and say enough to be there together, however slow the machine is.
    wishes = [(prompt, 12) for prompt in prompts(5, length=1, seed=9)] + wishes
    bench.shut()
    voices = []
    for place, (prompt, limit) in enumerate(wishes):
        voices.append(bench.say(prompt, limit))
        if place == 8:
            bench.release()
        if place > 8:
            await asyncio.sleep(dice.random() * 0.003)
    for (prompt, limit), voice in zip(wishes, voices, strict=True):
        await voice.end()
        assert voice.text == text_of(prompt, limit)
    assert max(run.stop - run.start for run in bench.runs) == 5  # there was company indeed


async def test_drawn_text_depends_on_the_seed_and_not_on_the_company(benches: Benches) -> None:
    bench = benches(rows=6)
    wishes = [(prompt, seed) for seed, prompt in enumerate(prompts(10))]
    alone = [await _drawn(bench, *wish) for wish in wishes]
    assert alone == [await _drawn(bench, *wish) for wish in wishes]
    others = [bench.say(prompt, 9) for prompt in prompts(10, seed=3)]
    assert alone == await asyncio.gather(*(_drawn(bench, *wish) for wish in wishes))
    for other in others:
        assert await other.end() == "length"
    changed = [await _drawn(bench, prompt, seed + 100) for prompt, seed in wishes]
    assert sum(a == b for a, b in zip(alone, changed, strict=True)) <= 1


async def _drawn(bench: Bench, prompt: list[int], seed: int) -> str:
    """What is said until its end; a walker that draws may well walk into a trap."""
    voice = bench.say(prompt, 30, WARM, seed=seed)
    await asyncio.wait_for(voice.over.wait(), PATIENCE_S)
    return voice.text


async def test_long_prompt_is_read_in_pieces_between_the_steps_of_others_and_changes_none(
    benches: Benches, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PATIENCE", "MOST_PATIENCE"):
        monkeypatch.setattr(pace, name, 0.0)  # the smallest pieces there are
    bench = benches()
    short = prompts(4, limit=25)
    [long] = prompts(1, length=200)
    bench.shut()
    voices = [bench.say(prompt, 25) for prompt in short]
    await bench.entered()
    for _ in range(8):
        await bench.step()
    bench.runs.clear()
    late = bench.say(long)
    bench.release()
    assert await late.end() == "length"
    assert late.text == text_of(long)
    for prompt, voice in zip(short, voices, strict=True):
        await voice.end()
        assert voice.text == text_of(prompt, 25)
    pieces = [place for place, run in enumerate(bench.runs) if run.tokens > 1]
    assert sum(bench.runs[place].tokens for place in pieces) == len(long)
    between = [bench.runs[a + 1].what for a, b in itertools.pairwise(pieces) if b > a + 1]
    assert len(between) >= 5
    assert set(between) == {"step"}


async def test_one_that_waits_is_read_while_others_run_and_moves_when_they_leave(
    benches: Benches,
) -> None:
    """Rows are handed on: of many that end at different times, each keeps its own past."""
    bench = benches(rows=4)
    wishes = [(prompt, 1 + place % 7) for place, prompt in enumerate(prompts(40, seed=5))]
    voices = [bench.say(prompt, limit) for prompt, limit in wishes]
    for (prompt, limit), voice in zip(wishes, voices, strict=True):
        await voice.end()
        assert voice.text == text_of(prompt, limit)


# --- law 2: a bad sequence fails alone -----------------------------------------------------------


@pytest.mark.parametrize("reason", ["poison", "void"])
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=1e-4)])
async def test_sequence_whose_token_breaks_the_model_fails_alone(
    benches: Benches, reason: str, sampling: Sampling
) -> None:
    bench = benches(rows=8)
    good, bad = prompts(6, limit=12), prompts(2, reason=reason, limit=12)
    voices = [bench.say(prompt) for prompt in good[:3]]
    broken = [bench.say(prompt, 12, sampling) for prompt in bad]
    voices += [bench.say(prompt) for prompt in good[3:]]
    for voice, prompt in zip(broken, bad, strict=True):
        assert isinstance(await failure(voice), ModelFault)
        assert voice.text == text_of(prompt)  # all that came before is told
    for voice, prompt in zip(voices, good, strict=True):
        assert await voice.end() == "length"
        assert voice.text == text_of(prompt)


async def test_prompt_that_breaks_the_model_fails_alone(benches: Benches) -> None:
    bench = benches()
    good = prompts(3)
    voices = [bench.say(prompt) for prompt in good]
    for end in ("poison", "void"):
        bad = [5, 6, {"poison": SIZE - 1, "void": VOID}[end]]
        assert isinstance(await failure(bench.say(bad)), ModelFault)
    for voice, prompt in zip(voices, good, strict=True):
        await voice.end()
        assert voice.text == text_of(prompt)


async def test_one_number_that_is_none_among_good_ones_is_enough(
    benches: Benches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever draws must not draw on from what is left."""
    bench = benches()
    step = bench.cache.step

    def spoilt(start: int, stop: int) -> Any:
        logits = step(start, stop).copy()
        logits[0, 5] = np.nan
        return logits

    monkeypatch.setattr(bench.cache, "step", spoilt)
    [prompt] = prompts(1)
    assert isinstance(await failure(bench.say(prompt, 12, WARM)), ModelFault)


async def test_text_that_cannot_be_made_readable_fails_alone(
    benches: Benches, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = benches()
    good, bad = prompts(2)
    voice, broken = bench.say(good), bench.say(bad)

    def add(token: int) -> str:
        raise ValueError(f"no such token: {token}")

    monkeypatch.setattr(Speech, "add", _only(broken, add))
    assert isinstance(await failure(broken), ModelFault)
    await voice.end()
    assert voice.text == text_of(good)


def _only(voice: Voice, instead: Callable[[int], str]) -> Callable[[Speech, int], str]:
    """``Speech.add``, but for one sequence."""
    own, add = voice.spoken.speech, Speech.add
    return lambda speech, token: instead(token) if speech is own else add(speech, token)


async def test_step_that_needs_too_much_memory_is_halved(benches: Benches) -> None:
    bench = benches(rows=8)
    bench.trouble = lambda run: _too_much(run, most=3)
    good = prompts(8)
    voices = [bench.say(prompt) for prompt in good]
    for voice, prompt in zip(voices, good, strict=True):
        await voice.end()
        assert voice.text == text_of(prompt)
    bench.trouble = lambda run: _too_much(run, most=0)
    assert isinstance(await failure(bench.say(good[0])), OutOfMemory)


def _too_much(run: Run, most: int) -> None:
    if run.what == "step" and run.stop - run.start > most:
        raise OutOfMemory("no room")


# --- law 3: each is told its end once, and nothing ends the loop -------------------------------


@pytest.mark.parametrize("name", ["_drop", "_admit", "_read", "_step"])
async def test_what_goes_wrong_in_the_loop_does_not_end_it(
    benches: Benches, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bench = benches()
    first, second = prompts(2)
    bench.shut()
    voice = bench.say(first)
    await bench.entered()
    broken: list[str] = []

    def stumble() -> None:
        monkeypatch.undo()
        broken.append(name)
        raise RuntimeError("stumbled")

    monkeypatch.setattr(bench.decoder, name, stumble)
    bench.release()
    assert isinstance(await failure(voice), ModelFault)
    assert broken == [name]
    assert await bench.hear(second) == text_of(second)


@pytest.mark.parametrize("after", [0, 3])
async def test_copy_that_fails_loses_nobody(benches: Benches, after: int) -> None:
    """Rows are copied when one leaves before the last; all that were there are told, once."""
    bench = benches(rows=4)
    copies = iter([*[True] * after, False])

    def fail() -> None:
        if not next(copies, True):
            raise MemoryError("no room")

    bench.before_copy = fail
    wishes = [(prompt, 2 + place) for place, prompt in enumerate(prompts(8))]
    voices = [bench.say(prompt, limit) for prompt, limit in wishes]
    for voice in voices:
        await asyncio.wait_for(voice.over.wait(), PATIENCE_S)
        assert len(voice.ends) == 1
    [prompt] = prompts(1, seed=9)
    assert await bench.hear(prompt) == text_of(prompt)


async def test_sink_that_fails_keeps_no_other_from_being_told(benches: Benches) -> None:
    bench = benches()
    first, second = prompts(2)
    voice = bench.say(first)

    def fail(outcome: Delta | Exception) -> None:
        raise ZeroDivisionError(outcome)

    voice.spoken.sink = fail
    assert await bench.hear(second) == text_of(second)
    await drained(bench)
    bench.voices.remove(voice)


async def test_event_loop_is_woken_once_a_round(
    benches: Benches, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = benches(rows=8)
    calls: list[int] = []
    hand_out = bench.decoder._hand_out

    def note(told: Any) -> None:
        calls.append(len(told))
        hand_out(told)

    monkeypatch.setattr(bench.decoder, "_hand_out", note)
    voices = [bench.say(prompt) for prompt in prompts(8)]
    for voice in voices:
        await voice.end()
    assert sum(calls) == 8 * 12
    assert max(calls) >= 8


# --- coming and going ----------------------------------------------------------------------------


async def test_cancelled_sequence_is_gone_before_the_next_step(benches: Benches) -> None:
    bench = benches()
    bench.shut()
    voices = [bench.say(prompt, 40) for prompt in prompts(3, limit=40)]
    run = await bench.entered()
    while run.what == "read" or run.stop < 3:
        run = await bench.step()
    bench.decoder.cancel(voices[1].spoken)
    told = len(voices[1].told)
    assert (await bench.step()).stop == 2
    assert bench.decoder.running == 2
    bench.release()
    for voice in (voices[0], voices[2]):
        await voice.end()
        assert voice.text == text_of(voice.spoken.prompt, 40)
    assert len(voices[1].told) == told  # not even what the run in hand gave


async def test_cancelled_while_it_is_read_or_waits_is_gone_too(benches: Benches) -> None:
    bench = benches(rows=1)
    bench.shut()
    [long], [short] = prompts(1, length=240), prompts(1)
    reading, waiting = bench.say(long), bench.say(short)
    await bench.entered()
    bench.decoder.cancel(reading.spoken)
    bench.decoder.cancel(waiting.spoken)
    bench.release()
    await drained(bench)
    assert await bench.hear(short) == text_of(short)
    assert not reading.told
    assert not waiting.told


async def test_late_sequence_is_told_so_before_the_next_step(benches: Benches) -> None:
    bench = benches(rows=1)
    bench.shut()
    running, waiting = prompts(2)
    late = bench.say(running, deadline=soon(0.05))
    never_began = bench.say(waiting, deadline=soon(0.05))
    await bench.entered()
    await asyncio.sleep(0.06)
    runs = len(bench.runs)
    bench.release()
    assert "while the model was at it" in str(await failure(late))
    error = await failure(never_began)
    assert isinstance(error, DeadlinePassed)
    assert "before its turn came" in str(error)
    await drained(bench)
    assert len(bench.runs) <= runs + 1  # the first step of the round that was in hand


async def test_urgent_sequence_goes_before_those_that_wait(benches: Benches) -> None:
    bench = benches(rows=1)
    bench.shut()
    first, low, normal, high = prompts(4)
    said = [bench.say(first)]
    await bench.entered()
    for prompt, priority in ((low, Priority.LOW), (normal, Priority.NORMAL), (high, Priority.HIGH)):
        said.append(bench.say(prompt, priority=priority))
    bench.release()
    for voice in said:
        await voice.end()
    assert bench.ended == [said[place] for place in (0, 3, 2, 1)]


async def test_full_queue_refuses_at_the_door(benches: Benches) -> None:
    bench = benches(rows=1, max_waiting=2)
    bench.shut()
    one, two, three, four = prompts(4)
    bench.say(one)
    await bench.entered()
    bench.say(two)
    bench.say(three)
    with pytest.raises(Overloaded, match="2 sequences are waiting; 2 at most may"):
        bench.say(four)
    bench.release()
    await drained(bench)
    assert await bench.hear(four) == text_of(four)


async def test_closing_finishes_what_is_in_hand_and_refuses_the_rest(benches: Benches) -> None:
    bench = benches(rows=2)
    bench.shut()
    wishes = prompts(5)
    voices = [bench.say(prompt) for prompt in wishes]
    await bench.entered()
    closing = asyncio.create_task(asyncio.to_thread(bench.decoder.close, timeout_s=PATIENCE_S))
    await until(lambda: bench.decoder._closing)
    with pytest.raises(NotReady, match="unloaded"):
        bench.say(wishes[0])
    bench.release()
    await closing
    for voice, prompt in zip(voices, wishes, strict=True):
        await voice.end()
        assert voice.text == text_of(prompt)


async def test_idle_decoder_gives_memory_back_and_goes_on(
    benches: Benches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "IDLE_S", 0.01)
    bench = benches()
    given: list[bool] = []
    idle = bench.cache.idle

    def note() -> None:
        given.append(True)
        idle()

    monkeypatch.setattr(bench.cache, "idle", note)
    for prompt in prompts(3):
        assert await bench.hear(prompt) == text_of(prompt)
        count = len(given)
        await until(partial(_longer, given, count))


def _longer(things: list[bool], count: int) -> bool:
    return len(things) > count


# --- reading -------------------------------------------------------------------------------------


async def test_short_prompts_are_read_before_long_ones(benches: Benches) -> None:
    bench = benches()
    bench.shut()
    [first], [long], short = prompts(1), prompts(1, length=240), prompts(3, seed=4)
    bench.say(first)
    await bench.entered()
    slow = bench.say(long)
    quick = [bench.say(prompt, 2) for prompt in short]
    bench.release()
    for voice in [slow, *quick]:
        await voice.end()
    reads = [run.tokens for run in bench.runs if run.what == "read"][1:]
    assert reads[:3] == [3, 3, 3]
    assert sum(reads[3:]) == 240


async def test_long_prompt_that_has_waited_is_read_before_short_ones(
    benches: Benches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "AGEING_S", 0.05)
    bench = benches()
    bench.shut()
    [first], [long], short = prompts(1), prompts(1, length=240), prompts(3, seed=4)
    bench.say(first)
    await bench.entered()
    slow = bench.say(long)
    await asyncio.sleep(0.06)
    quick = [bench.say(prompt) for prompt in short]
    bench.release()
    for voice in [slow, *quick]:
        await voice.end()
    reads = [run.tokens for run in bench.runs if run.what == "read"][1:]
    assert reads[0] > 3
    assert slow.text == text_of(long)


# --- the room of the cache -----------------------------------------------------------------------


async def test_what_does_not_fit_the_cache_waits_and_room_is_never_exceeded(
    benches: Benches,
) -> None:
    room = 40
    bench = benches(rows=8, max_tokens=room)
    wishes = [(prompt, 7 + place % 9) for place, prompt in enumerate(prompts(20, limit=16))]
    voices = [bench.say(prompt, limit) for prompt, limit in wishes]
    for (prompt, limit), voice in zip(wishes, voices, strict=True):
        await voice.end()
        assert voice.text == text_of(prompt, limit)
    assert 20 < bench.most_reserved <= room
    assert max(run.stop - run.start for run in bench.runs) > 1


async def test_largest_one_is_not_overtaken_for_ever_by_small_ones(benches: Benches) -> None:
    bench = benches(rows=8, max_tokens=40)
    bench.shut()
    small = prompts(12, limit=4)
    [large] = prompts(1, limit=30)
    before = [bench.say(prompt, 4) for prompt in small[:6]]
    await bench.entered()
    big = bench.say(large, 30)
    after = [bench.say(prompt, 4) for prompt in small[6:]]
    bench.release()
    for voice in (*before, big, *after):
        await voice.end()
    began = {voice: voice.spoken.arrived + voice.spoken.queue_s for voice in (big, *after)}
    assert min(began, key=began.__getitem__) is big
    assert big.text == text_of(large, 30)


async def test_sequence_may_fill_the_whole_context(benches: Benches) -> None:
    bench = benches(rows=2)
    [prompt] = prompts(1, length=CONTEXT - 20, limit=20)
    assert await bench.hear(prompt, 20) == text_of(prompt, 20)
    others = prompts(2, limit=20)
    voices = [bench.say(other, 20) for other in others]
    for voice, other in zip(voices, others, strict=True):
        await voice.end()
        assert voice.text == text_of(other, 20)


# --- equal beginnings ----------------------------------------------------------------------------


@only_shared
async def test_equal_beginnings_are_read_once_and_change_no_text(benches: Benches) -> None:
    bench = benches(prefix_bytes=2**20)
    [beginning] = prompts(1, length=64)
    wishes = [beginning + prompt for prompt in prompts(30) if
              walk(beginning + prompt, 12).reason == "length"]  # fmt: skip
    assert len(wishes) > 5
    assert await bench.hear(wishes[0]) == text_of(wishes[0])
    first = sum(run.tokens for run in bench.runs if run.what == "read")
    assert first == len(wishes[0])
    bench.runs.clear()
    voices = [bench.say(wish) for wish in wishes[1:]]
    for voice, wish in zip(voices, wishes[1:], strict=True):
        await voice.end()
        assert voice.text == text_of(wish)
    reads = [run.tokens for run in bench.runs if run.what == "read"]
    assert reads == [3] * len(voices)
    assert (bench.prefixes.asked, bench.prefixes.found) == (67 * len(wishes), 64 * len(voices))


@only_shared
async def test_same_prompt_again_reads_what_its_last_block_does_not_cover(benches: Benches) -> None:
    bench = benches(prefix_bytes=2**20)
    [prompt] = prompts(1, length=64)
    for _ in range(2):
        assert await bench.hear(prompt) == text_of(prompt)
    reads = [run.tokens for run in bench.runs if run.what == "read"]
    assert reads == [64, 16]  # one token at least, for its logits; blocks are of sixteen


# --- beams ---------------------------------------------------------------------------------------


async def test_beams_in_company_are_the_beams_alone(benches: Benches) -> None:
    """Rows of others leave and move the beams about; each goes on from its own past."""
    bench = benches(rows=10, traps=TAME)
    beams = Sampling(temperature=0, beams=4)
    wide = prompts(6, limit=14)
    alone = [await bench.hear(prompt, 14, beams) for prompt in wide]
    assert alone != [text_of(prompt, 14) for prompt in wide]  # they search indeed
    dice = random.Random(1)
    for turn in range(4):
        narrow = [(prompt, dice.randint(1, 12)) for prompt in prompts(20, seed=10 + turn)]
        voices: list[tuple[Voice, str]] = []
        others = [bench.say(*wish) for wish in narrow[:3]]
        for prompt, text in zip(wide, alone, strict=True):
            voices.append((bench.say(prompt, 14, beams), text))
            others += [bench.say(*narrow.pop()) for _ in range(2)]
        for voice, text in voices:
            await voice.end()
            assert voice.text == text
        for other in others:
            await other.end()
            assert other.text == text_of(other.spoken.prompt, other.spoken.limit)


async def test_beams_whose_step_fails_take_nobody_with_them(benches: Benches) -> None:
    bench = benches(rows=8)
    [good], [wide] = prompts(1), prompts(1, seed=2)

    def fail(run: Run) -> None:
        if run.what == "step" and run.start <= 2 < run.stop:
            raise ValueError("row 2 is broken")

    first = bench.say(good)
    broken = bench.say(wide, 12, Sampling(temperature=0, beams=4))
    bench.trouble = fail
    assert isinstance(await failure(broken), ModelFault)
    await first.end()
    assert first.text == text_of(good)


async def test_more_beams_than_tokens_to_choose_from_are_no_trouble(benches: Benches) -> None:
    bench = benches(rows=16, traps=TAME)
    beams = Sampling(temperature=0, beams=16)
    likely, step = bench.cache.read, bench.cache.step
    few = np.full(SIZE, -np.inf, np.float32)
    few[2:5] = 0
    bench.cache.read = lambda row, tokens: likely(row, tokens) + few
    bench.cache.step = lambda start, stop: step(start, stop) + few
    voice = bench.say(prompts(1)[0], 5, beams)
    assert await voice.end() == "length"
    assert set(voice.text) <= set(LETTERS[2:5])


# --- what is counted -----------------------------------------------------------------------------


async def test_what_was_said_is_counted_in_the_terms_of_the_meter(benches: Benches) -> None:
    bench = benches()
    for prompt in prompts(3) + prompts(2, reason="stop"):
        await bench.say(prompt).end()
    stopped = [len(walk(prompt, 12).tokens) for prompt in prompts(2, reason="stop")]
    meter = bench.meter
    assert meter.finished == {"length": 3, "stop": 2}
    assert meter.prompt_tokens.total == 5 * 3
    assert meter.said_tokens.total == 3 * 12 + sum(stopped)
    assert sum(meter.first_s.counts) == sum(meter.queue_s.counts) == sum(meter.total_s.counts) == 5
    assert sum(meter.between_s.counts) == 3 * 11 + sum(count - 1 for count in stopped if count)


async def test_held_rows_and_places_are_told_while_they_are_held(benches: Benches) -> None:
    bench = benches(rows=2)
    bench.shut()
    for prompt in prompts(5):
        bench.say(prompt)
    await bench.entered()
    for _ in range(4):
        await bench.step()
    assert (bench.decoder.running, bench.decoder.waiting) == (2, 3)
    assert bench.decoder.reserved == 2 * 15
    assert 6 / bench.max_tokens < bench.decoder.cache_use <= 30 / bench.max_tokens
    assert bench.decoder.running_s > 0
    assert not bench.decoder.idle


async def test_hundreds_that_come_and_go_leave_nothing_behind(benches: Benches) -> None:
    bench = benches(rows=6, max_tokens=150)
    dice = random.Random(2)
    wishes = prompts(60, seed=6)
    voices: list[Voice] = []
    for _ in range(300):
        voice = bench.say(dice.choice(wishes), dice.randint(1, 12))
        voices.append(voice)
        if dice.random() < 0.5:
            await asyncio.sleep(dice.random() * 0.002)
            bench.decoder.cancel(dice.choice(voices).spoken)
    for voice in voices:
        if not voice.spoken.cancelled:
            await voice.end()
            assert voice.text == text_of(voice.spoken.prompt, voice.spoken.limit)
    await drained(bench)


@on_gpu
async def test_texts_on_a_gpu_are_those_worked_out_on_paper(benches: Benches) -> None:
    bench = benches(device="cuda")
    assert bench.runner.device == "cuda:0"
    wishes = prompts(8) + prompts(2, length=40, seed=1)
    voices = [bench.say(prompt) for prompt in wishes]
    for voice, prompt in zip(voices, wishes, strict=True):
        await voice.end()
        assert voice.text == text_of(prompt)
