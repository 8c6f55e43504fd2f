"""Ask to text: what is refused before anything is queued, what a source tells, who leaves."""

import time
from contextlib import aclosing
from functools import partial
from pathlib import Path

import pytest

from model_store.errors import ItemMismatch
from service.errors import DeadlinePassed
from service.hub import ModelHub
from service.loaded import LoadedModel
from service.schema import Ask
from tests.service.bundles import publish
from tests.service.conftest import Hubs
from tests.service.decoder.bundles import FORMS, LETTERS, START, Form, prompts, walk, walker
from tests.service.workbench import PATIENCE_S, until

CONTEXT = 64
LENGTHS = (1, 2, 5, 8)
"""Up to the most words there may be, so that sources read together are padded."""


def ask(*items: object, deadline_s: float = PATIENCE_S, copies: int = 1, **wish: object) -> Ask:
    deadline = time.monotonic() + deadline_s
    return Ask("walker", "generate", list(items), wish, deadline, copies=copies)


def tokens(text: str) -> list[int]:
    return [LETTERS.index(letter) for letter in text]


def sources() -> list[str]:
    """One of each length, the first that leads into no trap."""
    return [
        next(
            text for start in range(2, 20)
            if walk([START], 6, tokens(text := LETTERS[start : start + length])).reason == "length"
        )
        for length in LENGTHS
    ]  # fmt: skip


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    name: Form = request.param
    return name


@pytest.fixture
async def hub(root: Path, hubs: Hubs, form: Form) -> ModelHub:
    publish(root, partial(walker, form=form, context=CONTEXT), "walker")
    hub = hubs(max_sequences=4)
    await hub.start()
    return hub


@pytest.fixture
async def translator(root: Path, hubs: Hubs, form: Form) -> ModelHub:
    """Walks from where a source has brought it."""
    publish(root, partial(walker, form=form, source=True), "walker")
    hub = hubs(max_sequences=4)
    await hub.start()
    return hub


async def found(hub: ModelHub) -> LoadedModel:
    return await hub.find("walker", time.monotonic() + PATIENCE_S)


async def test_prompt_without_room_is_refused_with_its_length_and_the_most(hub: ModelHub) -> None:
    model = await found(hub)
    with pytest.raises(ItemMismatch, match=r"at most 63 .* 64 tokens\); got 64") as refused:
        await hub.answer(ask("abc", "a" * 64), model)
    assert (refused.value.field, refused.value.index) == ("prompt", 1)
    with pytest.raises(ItemMismatch, match=r"at most 64 with max_tokens .*; got 60 and 5"):
        await hub.answer(ask("a" * 60, max_tokens=5), model)
    decoder = model.decoders["model"].decoder
    assert decoder.idle  # not even the item that would have fitted was queued


async def test_more_beams_than_rows_are_refused(hub: ModelHub) -> None:
    with pytest.raises(ItemMismatch, match="at most 4, as many texts") as refused:
        await hub.answer(ask("abc", beams=5), await found(hub))
    assert refused.value.field == "parameters.beams"


async def test_beams_that_never_fit_the_cache_are_refused(hub: ModelHub) -> None:
    with await found(hub) as model:
        model.decoders["model"].decoder.max_tokens = 59
        with pytest.raises(ItemMismatch, match=r"beams: expected .* the 59 tokens .* are 60"):
            await hub.answer(ask(LETTERS[:4], beams=4, max_tokens=11), model)
        assert model.decoders["model"].decoder.idle


async def test_texts_are_those_worked_out_on_paper(hub: ModelHub) -> None:
    prompts = [text for text in ("bcd", "hello", "xyzzy", "qed") if
               walk(tokens(text), 6).reason == "length"]  # fmt: skip
    assert prompts
    reply = await hub.answer(ask(*prompts, max_tokens=6), await found(hub))
    texts = [output["text"] for output in reply.outputs]
    assert texts == [walk(tokens(text), 6).text for text in prompts]


async def test_source_is_heard_without_its_padding(translator: ModelHub) -> None:
    model, heard = await found(translator), sources()
    right = [walk([START], 6, tokens(source)) for source in heard]
    assert len({one.text for one in right}) == len(heard)  # each is told from the others
    reply = await translator.answer(ask(*heard, max_tokens=6), model)
    assert [output["text"] for output in reply.outputs] == [one.text for one in right]
    for source, one in zip(heard, right, strict=True):
        [alone] = (await translator.answer(ask(source, max_tokens=6), model)).outputs
        assert alone["text"] == one.text


async def test_whoever_leaves_a_stream_gives_all_of_it_up(hub: ModelHub) -> None:
    model = await found(hub)
    decoder = model.decoders["model"].decoder
    [prompt] = prompts(1, limit=40)
    text = "".join(LETTERS[token] for token in prompt)
    async with aclosing(hub.stream(ask(text, copies=40, max_tokens=40), model)) as stream:
        await anext(stream)
    await until(lambda: decoder.idle)
    assert (decoder.running, decoder.waiting, decoder.reserved) == (0, 0, 0)
    assert sum(decoder._meter.finished.values()) < 40  # all of them, had nobody told it


async def test_request_that_is_late_already_says_nothing(hub: ModelHub) -> None:
    model = await found(hub)
    with pytest.raises(DeadlinePassed):
        await hub.answer(ask("bcd", deadline_s=-1.0), model)
    await until(lambda: model.decoders["model"].decoder.idle)
