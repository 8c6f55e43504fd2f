"""The laws of the engine, each with a test that fails when the law is broken.

Most run three ways: on the event loop, in one thread, and in several threads at once.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_store.spec import Tensors
from service.batcher import INLINE_LIMIT_S, MAX_LONG_RUNS
from service.entry import Round, Way
from service.errors import DeadlinePassed, ModelFault, NotReady, OutOfMemory, Overloaded
from service.schema import BatchReport, Delivered, Priority
from service.turns import Turns
from tests.service.workbench import (
    LONG_S,
    NEVER,
    PATIENCE_S,
    POISON,
    WAYS,
    Clock,
    Workbench,
    answer,
    until,
)

Benches = Callable[..., Workbench]
one_at_a_time = pytest.mark.parametrize("way", ["inline", "thread"])
in_threads = pytest.mark.parametrize("way", ["thread", "crew"])
in_one_thread = pytest.mark.parametrize("way", ["thread"])
in_a_crew = pytest.mark.parametrize("way", ["crew"])
on_the_loop = pytest.mark.parametrize("way", ["inline"])


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest) -> str:
    """Who runs the batches. A test that is about one of them says so."""
    name: str = request.param
    return name


@pytest.fixture
async def benches(way: str) -> AsyncIterator[Benches]:
    """Makes benches that run their batches in this way, and ends them."""
    made: list[Workbench] = []

    def make(**options: Any) -> Workbench:
        made.append(Workbench(way, **options))
        return made[-1]

    yield make
    for bench in made:
        await bench.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    with monkeypatch.context() as patch:
        patch.setattr("service.batcher.time", clock)
        yield clock


# --- law 1: an answer does not depend on its batch mates -----------------------------------------


async def test_each_entry_gets_its_own_rows_whoever_shares_the_batch(benches: Benches) -> None:
    bench = benches(max_rows=64)
    await bench.hold()
    wishes = [[float(10 * k + j) for j in range(k % 3 + 1)] for k in range(1, 12)]
    futures = [bench.submit(*wish) for wish in wishes]
    bench.release()
    for wish, future in zip(wishes, futures, strict=True):
        assert await answer(future) == [2 * value for value in wish]
    assert len(bench.batches) == 1


# --- law 2: a bad row never fails a good one -----------------------------------------------------


@pytest.mark.parametrize("place", range(8))
async def test_poison_row_in_any_place_of_a_batch_fails_alone(benches: Benches, place: int) -> None:
    bench = benches()
    await bench.hold()
    values = [float(k) for k in range(1, 9)]
    values[place] = POISON
    futures = [bench.submit(value) for value in values]
    bench.release()
    for value, future in zip(values, futures, strict=True):
        if value == POISON:
            with pytest.raises(ModelFault):
                await answer(future)
        else:
            assert await answer(future) == [2 * value]
    # Halved, not run row by row: 8 fail, then 4 + 4, 2 + 2 and 1 + 1.
    assert sorted(len(batch) for batch in bench.batches) == [1, 1, 2, 2, 4, 4, 8]
    assert bench.batcher.max_rows == 8  # it was no matter of memory


async def test_two_poison_rows_in_one_batch_leave_their_mates_alone(benches: Benches) -> None:
    bench = benches()
    await bench.hold()
    values = [1.0, POISON, 3.0, 4.0, 5.0, POISON, 7.0, 8.0]
    futures = [bench.submit(value) for value in values]
    bench.release()
    outcomes = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), PATIENCE_S)
    assert [isinstance(outcome, ModelFault) for outcome in outcomes] == [
        value == POISON for value in values
    ]


@pytest.mark.parametrize("place", range(3))
async def test_poison_row_inside_an_entry_fails_that_entry_and_names_the_row(
    benches: Benches, place: int
) -> None:
    bench = benches()
    await bench.hold()
    rows = [5.0, 6.0, 7.0]
    rows[place] = POISON
    before, poisoned, after = bench.submit(1.0, 2.0), bench.submit(*rows), bench.submit(8.0)
    bench.release()
    with pytest.raises(ModelFault) as caught:
        await answer(poisoned)
    assert caught.value.row == place
    assert await answer(before) == [2.0, 4.0]
    assert await answer(after) == [16.0]


async def test_poison_row_of_a_split_entry_is_named_by_its_place_in_the_whole(
    benches: Benches,
) -> None:
    bench = benches(max_rows=4)
    poisoned = bench.submit(*[1.0] * 9, POISON, *[1.0] * 5)
    with pytest.raises(ModelFault) as caught:
        await answer(poisoned)
    assert caught.value.row == 9
    assert bench.batcher.queued_rows == 0  # the rest of it is not computed
    assert await answer(bench.submit(3.0)) == [6.0]


async def test_parts_that_do_not_fit_together_fail_their_entry_and_not_its_mates(
    benches: Benches,
) -> None:
    bench = benches(max_rows=2, work=_as_wide_as_the_largest)
    await bench.hold()
    split, mate = bench.submit(1.0, 2.0, 3.0), bench.submit(1.0)
    bench.release()
    assert await answer(mate) == [1.0]
    with pytest.raises(ModelFault):
        await answer(split)


def _as_wide_as_the_largest(tensors: Tensors) -> Tensors:
    width = int(tensors["x"].max()) + 1
    return {"y": np.ones((len(tensors["x"]), width), dtype=np.float32)}


# --- a batch that is too large for the memory ----------------------------------------------------


@pytest.mark.parametrize("fits", [1, 2, 3, 5])
async def test_batch_without_room_is_halved_and_all_later_ones_are_smaller(
    benches: Benches, fits: int
) -> None:
    bench = benches()
    await bench.hold()
    bench.room = fits
    futures = [bench.submit(float(k)) for k in range(1, 9)]
    bench.release()
    assert [await answer(future) for future in futures] == [[2.0 * k] for k in range(1, 9)]
    most = {1: 1, 2: 2, 3: 2, 5: 4}[fits]  # eight, halved until it fits
    assert bench.batcher.max_rows == most
    await bench.hold()
    futures = [bench.submit(float(k)) for k in range(1, 9)]
    bench.release()
    assert [await answer(future) for future in futures] == [[2.0 * k] for k in range(1, 9)]
    assert {len(batch) for batch in bench.batches} == {most}


async def test_row_that_never_fits_is_told_so_and_its_mates_are_answered(benches: Benches) -> None:
    def run(tensors: Tensors) -> Tensors:
        if (tensors["x"] == POISON).any():
            raise OutOfMemory("no room")
        return {"y": tensors["x"] * 2}

    bench = benches(work=run)
    await bench.hold()
    futures = [bench.submit(1.0), bench.submit(POISON), bench.submit(3.0)]
    bench.release()
    with pytest.raises(OutOfMemory):
        await answer(futures[1])
    assert [await answer(futures[0]), await answer(futures[2])] == [[2.0], [6.0]]
    assert bench.batcher.max_rows == 1


# --- law 3: answered exactly once; nothing stops the loop ----------------------------------------


def _scalar(_: Tensors) -> Tensors:
    return {"y": np.float32(1) * np.ones(())}


def _too_few_rows(tensors: Tensors) -> Tensors:
    return {"y": tensors["x"][1:]}


def _no_outputs(_: Tensors) -> Tensors:
    return {}


def _nothing(_: Tensors) -> Any:
    return None


def _raises(_: Tensors) -> Tensors:
    raise MemoryError


@pytest.mark.parametrize("broken", [_scalar, _too_few_rows, _no_outputs, _nothing, _raises])
async def test_malformed_run_fails_its_own_entries_and_the_next_batch_is_served(
    benches: Benches, broken: Callable[[Tensors], Tensors]
) -> None:
    works = threading.Event()

    def run(tensors: Tensors) -> Tensors:
        return {"y": tensors["x"] * 2} if works.is_set() else broken(tensors)

    bench = benches(work=run)
    for future in [bench.submit(1.0), bench.submit(2.0, 3.0)]:
        with pytest.raises(ModelFault):
            await answer(future)
    works.set()
    assert await answer(bench.submit(4.0)) == [8.0]


async def test_statistics_that_raise_cost_no_answer(benches: Benches) -> None:
    def tell(_: BatchReport) -> None:
        raise RuntimeError("no room for statistics")

    bench = benches(tell=tell)
    await bench.hold()
    good, poisoned, mate = bench.submit(1.0), bench.submit(POISON), bench.submit(3.0)
    bench.release()
    assert await answer(good) == [2.0]
    assert await answer(mate) == [6.0]
    with pytest.raises(ModelFault):
        await answer(poisoned)


async def test_callback_that_raises_costs_its_mates_no_answer(benches: Benches) -> None:
    def done(_: object) -> None:
        raise RuntimeError("nobody listens")

    bench = benches()
    await bench.hold()
    row = np.ones((1, 1), dtype=np.float32)
    before = bench.submit(1.0)
    bench.batcher.submit({"x": row}, NEVER, done)
    after = bench.submit(3.0)
    bench.release()
    assert [await answer(before), await answer(after)] == [[2.0], [6.0]]
    assert await answer(bench.submit(4.0)) == [8.0]


async def test_fault_in_the_loop_itself_fails_that_batch_and_the_next_is_served(
    benches: Benches, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = benches(max_rows=2)
    with monkeypatch.context() as patch:
        patch.setattr("service.batcher.join", None)
        patch.setattr(bench.batcher, "_fail", None)
        split = bench.submit(1.0, 2.0, 3.0)  # what is left of it in the queue has no answer either
        with pytest.raises(ModelFault):
            await answer(split)
    assert await answer(bench.submit(2.0)) == [4.0]


async def test_fault_after_an_answer_was_given_does_not_give_another(
    benches: Benches, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = benches()
    await bench.hold()
    give = bench.batcher._give

    def stumble(*arguments: Any) -> None:
        give(*arguments)
        raise RuntimeError("after the fact")

    monkeypatch.setattr(bench.batcher, "_give", stumble)
    futures = [bench.submit(1.0), bench.submit(2.0)]
    bench.release()
    assert [await answer(future) for future in futures] == [[2.0], [4.0]]


@in_threads
async def test_worker_that_stumbles_over_its_turn_goes_on(
    benches: Benches, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = benches()
    take = bench.batcher._turns.take
    stumbles = iter([True])

    def stumble(*arguments: Any) -> Any:
        if next(stumbles, False):
            raise RuntimeError("no turn")
        return take(*arguments)

    monkeypatch.setattr(bench.batcher._turns, "take", stumble)
    assert await answer(bench.submit(1.0)) == [2.0]


async def test_entry_without_rows_is_refused(benches: Benches) -> None:
    bench = benches()
    with pytest.raises(ValueError, match="at least one row"):
        bench.submit()
    assert await answer(bench.submit(2.0)) == [4.0]


@in_one_thread
async def test_cancelled_request_leaves_its_batchmates_alone(benches: Benches) -> None:
    bench = benches()
    await bench.hold()
    futures = [bench.submit(float(k)) for k in range(1, 6)]
    await bench.step()
    bench.cancel(futures[0])
    bench.cancel(futures[3])
    bench.release()
    assert [await answer(futures[k]) for k in (1, 2, 4)] == [[4.0], [6.0], [10.0]]
    assert await answer(bench.submit(9.0)) == [18.0]


async def test_request_cancelled_in_the_queue_is_not_computed(benches: Benches) -> None:
    bench = benches()
    await bench.hold()
    gone, stays = bench.submit(1.0, 2.0), bench.submit(3.0)
    bench.cancel(gone)
    assert bench.batcher.queued_rows == 1
    bench.release()
    assert await answer(stays) == [6.0]
    assert bench.batches == [[3.0]]


async def test_queue_of_cancelled_requests_only_is_empty_again(benches: Benches) -> None:
    bench = benches()
    await bench.hold()
    for future in [bench.submit(1.0), bench.submit(2.0, width=2)]:
        bench.cancel(future)
    bench.release()
    await asyncio.to_thread(bench.batcher.close, timeout_s=PATIENCE_S)
    assert bench.batcher.idle
    assert bench.batches == []


@in_one_thread
async def test_rest_of_a_split_entry_is_not_computed_once_it_is_cancelled(benches: Benches) -> None:
    bench = benches(max_rows=2)
    await bench.hold()
    large = bench.submit(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    await bench.step()
    bench.cancel(large)
    assert bench.batcher.queued_rows == 0
    bench.release()
    assert await answer(bench.submit(9.0)) == [18.0]
    assert bench.batches == [[1.0, 2.0], [9.0]]


@in_one_thread
async def test_poison_that_was_cancelled_while_it_ran_leaves_its_mates_alone(
    benches: Benches,
) -> None:
    bench = benches()
    await bench.hold()
    poisoned, mate = bench.submit(POISON, 1.0), bench.submit(2.0)
    await bench.step()
    bench.cancel(poisoned)
    bench.release()
    assert await answer(mate) == [4.0]


@in_threads
async def test_request_cancelled_with_its_answer_on_the_way_is_told_nothing(
    benches: Benches,
) -> None:
    bench = benches()
    future = bench.submit(1.0)
    entry, told = bench.told(future)
    while not entry.settled:  # and the event loop, which would tell, gets no turn meanwhile
        time.sleep(0.0005)  # noqa: ASYNC251 - blocking it is the point
    bench.cancel(future)
    assert await answer(bench.submit(2.0)) == [4.0]
    assert told == []


# --- law 4: work-conserving ----------------------------------------------------------------------


@pytest.mark.usefixtures("clock")  # it stands still: no timer can run out
async def test_idle_runner_starts_at_once_and_waits_for_no_timer(benches: Benches) -> None:
    bench = benches(max_rows=64)
    assert await answer(bench.submit(1.0)) == [2.0]
    assert bench.batches == [[1.0]]


@one_at_a_time
async def test_what_arrives_during_a_run_is_the_next_batch_up_to_its_limit(
    benches: Benches,
) -> None:
    bench = benches(max_rows=8)
    await bench.hold()
    futures = [bench.submit(float(k)) for k in range(1, 11)]
    assert bench.batcher.queued_rows == 10
    bench.release()
    for k, future in enumerate(futures, start=1):
        assert await answer(future) == [2.0 * k]
    assert bench.batches == [[float(k) for k in range(1, 9)], [9.0, 10.0]]
    assert [report.rows for report in bench.reports][-2:] == [8, 2]


async def test_delay_that_was_asked_for_gathers_company(benches: Benches) -> None:
    bench = benches(delay_s=0.2)
    futures = [bench.submit(1.0), bench.submit(2.0)]
    assert [await answer(future) for future in futures] == [[2.0], [4.0]]
    assert bench.batches == [[1.0, 2.0]]
    assert bench.loop.calls == 0  # it is not the event loop that counts the time away


async def test_full_batch_does_not_wait_for_the_delay(benches: Benches) -> None:
    bench = benches(max_rows=3, delay_s=LONG_S)
    futures = [bench.submit(1.0), bench.submit(2.0, 3.0)]
    assert [await answer(future) for future in futures] == [[2.0], [4.0, 6.0]]


async def test_closing_ends_the_delay(benches: Benches) -> None:
    bench = benches(delay_s=LONG_S)
    future = bench.submit(1.0)
    await asyncio.to_thread(bench.batcher.close, timeout_s=PATIENCE_S)
    assert await answer(future) == [2.0]


# --- on the event loop ---------------------------------------------------------------------------


@on_the_loop
async def test_what_came_in_one_round_of_polling_is_one_batch(benches: Benches) -> None:
    bench = benches()
    first = [bench.submit(1.0), bench.submit(2.0), bench.submit(3.0, 4.0)]
    assert bench.batches == []
    assert [await answer(future) for future in first] == [[2.0], [4.0], [6.0, 8.0]]
    assert await answer(bench.submit(5.0)) == [10.0]
    assert bench.batches == [[1.0, 2.0, 3.0, 4.0], [5.0]]
    assert not bench.batcher.threaded
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane bench")]


@on_the_loop
async def test_event_loop_has_its_turn_between_two_batches(benches: Benches) -> None:
    bench = benches(max_rows=2)
    loop, seen = asyncio.get_running_loop(), []

    def look() -> None:
        seen.append(len(bench.batches))
        if not futures[-1].done():
            loop.call_soon(look)

    futures = [bench.submit(float(k)) for k in range(1, 7)]
    loop.call_soon(look)
    for future in futures:
        await answer(future)
    assert seen[:3] == [1, 2, 3]


@on_the_loop
async def test_what_is_asked_in_a_callback_waits_for_the_next_round(benches: Benches) -> None:
    bench = benches()
    again: list[asyncio.Future[Delivered]] = []
    row = {"x": np.ones((1, 1), dtype=np.float32)}
    bench.batcher.submit(row, NEVER, lambda _: again.append(bench.submit(7.0)))
    await answer(bench.submit(2.0))
    assert await answer(again[0]) == [14.0]
    assert bench.batches == [[1.0, 2.0], [7.0]]


@on_the_loop
async def test_graph_that_holds_the_event_loop_again_and_again_gets_a_thread(
    benches: Benches, clock: Clock
) -> None:
    took_s = [0.0]

    def run(tensors: Tensors) -> Tensors:
        clock.now += took_s[0]
        return {"y": tensors["x"] * 2}

    bench = benches(work=run)

    async def ask(seconds: float) -> None:
        took_s[0] = seconds
        assert await answer(bench.submit(3.0)) == [6.0]

    for _ in range(3):  # the machine may be busy now and then
        for _ in range(MAX_LONG_RUNS - 1):
            await ask(INLINE_LIMIT_S * 2)
        await ask(INLINE_LIMIT_S / 2)
    assert not bench.batcher.threaded
    for _ in range(MAX_LONG_RUNS):
        await ask(INLINE_LIMIT_S * 2)
    assert bench.batcher.threaded
    calls = bench.loop.calls
    await ask(INLINE_LIMIT_S * 2)
    assert bench.loop.calls == calls
    await asyncio.to_thread(bench.batcher.close, timeout_s=PATIENCE_S)
    assert not bench.batcher.alive


@on_the_loop
async def test_rows_left_when_a_thread_takes_over_are_its_first(
    benches: Benches, clock: Clock
) -> None:
    def run(tensors: Tensors) -> Tensors:
        clock.now += INLINE_LIMIT_S * 2
        return {"y": tensors["x"] * 2}

    bench = benches(work=run, max_rows=1)
    futures = [bench.submit(float(k)) for k in range(1, 9)]
    assert [await answer(future) for future in futures] == [[2.0 * k] for k in range(1, 9)]
    assert bench.batcher.threaded


async def test_batcher_is_never_idle_between_taking_rows_and_running_them(
    benches: Benches, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = benches()
    collect, idle = bench.batcher._collect, []

    def watched(work: Round) -> None:
        collect(work)
        if work.batch:
            idle.append(bench.batcher.idle)

    monkeypatch.setattr(bench.batcher, "_collect", watched)
    assert await answer(bench.submit(1.0)) == [2.0]
    assert idle == [False]


# --- several at once -----------------------------------------------------------------------------


class Ways:
    """A way that has the lane for itself and one that shares it. Notes who ran; ends when told."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.at_work, self.most = 0, 0
        self._lock = threading.Lock()
        self._begun, self._may_end = threading.Semaphore(0), threading.Semaphore(0)

    def way(self, name: str, threads: int) -> Way:
        def run(tensors: Tensors) -> Tensors:
            self._count(name, threads)
            self._begun.release()
            assert self._may_end.acquire(timeout=PATIENCE_S)
            self._count("", -threads)
            return {"y": tensors["x"] * 2}

        return Way(run, threads)

    def _count(self, name: str, threads: int) -> None:
        with self._lock:
            self.ran += [name] if name else []
            self.at_work += threads
            self.most = max(self.most, self.at_work)

    def end(self, runs: int) -> None:
        self._may_end.release(runs)

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._begun.acquire, timeout=PATIENCE_S)


@in_a_crew
async def test_single_batch_has_all_threads_and_a_backlog_is_shared_out(benches: Benches) -> None:
    ways = Ways()
    bench = benches(
        alone=ways.way("alone", 3), shared=ways.way("shared", 1), turns=Turns(3), max_rows=2
    )
    futures = [bench.submit(1.0)]
    await ways.begun()
    futures += [bench.submit(float(k)) for k in range(2, 12)]
    ways.end(1)
    for _ in range(3):  # none of them waits for another to end
        await ways.begun()
    assert ways.ran == ["alone", "shared", "shared", "shared"]
    assert ways.at_work == 3
    ways.end(100)
    assert [await answer(future) for future in futures] == [[2.0 * k] for k in range(1, 12)]
    assert ways.most == 3


@in_a_crew
async def test_parts_that_end_in_another_order_are_joined_in_theirs(benches: Benches) -> None:
    may_end = {value: threading.Event() for value in (1.0, 3.0, 5.0)}

    def run(tensors: Tensors) -> Tensors:
        assert may_end[float(tensors["x"][0, 0])].wait(PATIENCE_S)
        return {"y": tensors["x"] * 2}

    bench = benches(work=run, max_rows=2)
    future = bench.submit(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    entry, _ = bench.told(future)
    for number, value in enumerate((5.0, 1.0, 3.0)):
        await until(lambda number=number: len(entry.parts or ()) == number)  # type: ignore[misc]
        may_end[value].set()
    assert await answer(future) == [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]


@in_one_thread
async def test_batch_grows_while_another_lane_has_its_turn(benches: Benches) -> None:
    turns = Turns(1)
    busy, waits = benches(turns=turns), benches(turns=turns)
    await busy.hold()
    futures = [waits.submit(1.0)]
    await until(lambda: turns._waiting)
    futures += [waits.submit(2.0), waits.submit(3.0)]
    assert waits.batches == []
    busy.release()
    assert [await answer(future) for future in futures] == [[2.0], [4.0], [6.0]]
    assert waits.batches == [[1.0, 2.0, 3.0]]


@in_one_thread
async def test_backlog_of_a_slow_lane_takes_no_more_of_the_device_than_that_of_a_fast_one(
    benches: Benches, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.turns.time", clock)
    turns, order = Turns(1), []

    def lane(name: str, seconds: float) -> Workbench:
        def work(tensors: Tensors) -> Tensors:
            order.append(name)
            clock.now += seconds
            return {"y": tensors["x"] * 2}

        return benches(work=work, turns=turns, max_rows=1)

    slow, fast = lane("s", 10.0), lane("f", 1.0)
    await slow.hold()
    futures = [fast.submit(float(k)) for k in range(1, 41)]
    await until(lambda: turns._waiting)
    futures += [slow.submit(float(k)) for k in range(1, 6)]
    slow.release()
    for future in futures:
        await answer(future)
    while_both_wait = "".join(order)[: 1 + 4 * 11]
    assert while_both_wait == "s" + ("f" * 10 + "s") * 4


# --- graphs without rows -------------------------------------------------------------------------


async def test_entries_are_run_whole_and_alone_where_rows_do_not_share_a_run(
    benches: Benches,
) -> None:
    shapes: list[tuple[int, ...]] = []

    def run(tensors: Tensors) -> Tensors:
        shapes.append(tensors["x"].shape)
        return {"y": tensors["x"].sum(keepdims=True).reshape(1, 1)}

    bench = benches(work=run, batches=False, max_rows=8)
    await bench.hold()
    given = [np.full(shape, 2.0, np.float32) for shape in ((), (3,), (3,), (2, 2), (0, 5))]
    futures = [bench.put({"x": array}) for array in given]
    assert bench.batcher.queued_rows == 5  # each counts as one
    bench.release()
    assert [await answer(future) for future in futures] == [[2], [6], [6], [8], [0]]
    plug = (1, 1)
    assert sorted(set(shapes) - {plug}) == [(), (0, 5), (2, 2), (3,)]
    assert shapes.count((3,)) == 2


async def test_entry_that_fails_where_none_share_a_run_fails_alone(benches: Benches) -> None:
    bench = benches(batches=False, max_rows=8)
    await bench.hold()
    futures = [bench.submit(1.0, 2.0), bench.submit(3.0, POISON), bench.submit(5.0)]
    bench.release()
    with pytest.raises(ModelFault):
        await answer(futures[1])
    assert [await answer(futures[0]), await answer(futures[2])] == [[2.0, 4.0], [10.0]]


# --- law 5: shapes do not block each other -------------------------------------------------------


async def test_mixed_shapes_are_batched_each_with_its_like(benches: Benches) -> None:
    bench = benches()
    await bench.hold()
    wishes = [(1.0, 2), (2.0, 3), (3.0, 2), (4.0, 3)]
    futures = [bench.submit(value, width=width) for value, width in wishes]
    bench.release()
    for (value, _), future in zip(wishes, futures, strict=True):
        assert await answer(future) == [2 * value]
    assert sorted(bench.batches) == [[1.0, 3.0], [2.0, 4.0]]


async def test_tensors_may_come_in_any_order(benches: Benches) -> None:
    def run(tensors: Tensors) -> Tensors:
        return {"y": tensors["a"] - tensors["b"]}

    bench = benches(alone=Way(run))
    one, two = (np.full((1, 1), value, np.float32) for value in (1.0, 2.0))
    futures = [bench.put({"a": one, "b": two}), bench.put({"b": two, "a": one})]
    assert [await answer(future) for future in futures] == [[-1.0], [-1.0]]


async def test_full_batch_of_one_shape_does_not_wait_for_another_shapes_company(
    benches: Benches,
) -> None:
    bench = benches(max_rows=2, delay_s=LONG_S)
    waits = bench.submit(1.0, width=2)
    full = bench.submit(2.0, 3.0, width=3)
    assert await answer(full) == [4.0, 6.0]
    assert not waits.done()


@one_at_a_time
async def test_entry_larger_than_a_batch_is_split_and_rejoined_in_order(benches: Benches) -> None:
    bench = benches(max_rows=4)
    await bench.hold()
    small, large, after = bench.submit(1.0), bench.submit(*range(10, 21)), bench.submit(2.0)
    bench.release()
    assert await answer(large) == [2.0 * value for value in range(10, 21)]
    assert await answer(small) == [2.0]
    assert await answer(after) == [4.0]
    assert [len(batch) for batch in bench.batches] == [4, 4, 4, 1]


# --- law 6: bounded, and the dead are dropped ----------------------------------------------------


async def test_full_queue_refuses_at_the_door(benches: Benches) -> None:
    bench = benches(max_queue_rows=4)
    await bench.hold()
    accepted = [bench.submit(1.0, 2.0), bench.submit(3.0, 4.0)]
    with pytest.raises(Overloaded, match="4 rows are waiting"):
        bench.submit(5.0)
    bench.release()
    assert [await answer(future) for future in accepted] == [[2.0, 4.0], [6.0, 8.0]]
    assert await answer(bench.submit(5.0)) == [10.0]


@in_threads
async def test_rows_being_computed_take_no_room_in_the_queue(benches: Benches) -> None:
    bench = benches(max_queue_rows=1)
    plug = await bench.hold()
    waits = bench.submit(1.0)
    bench.release()
    assert await answer(plug) == [0.0]
    assert await answer(waits) == [2.0]


async def test_cancelled_entries_give_their_room_back(benches: Benches) -> None:
    bench = benches(max_queue_rows=4)
    await bench.hold()
    gone = bench.submit(1.0, 2.0, 3.0)
    with pytest.raises(Overloaded):
        bench.submit(4.0, 5.0)
    bench.cancel(gone)
    fits = bench.submit(4.0, 5.0)
    bench.release()
    assert await answer(fits) == [8.0, 10.0]


async def test_entry_past_its_deadline_is_told_so_and_never_computed(
    benches: Benches, clock: Clock
) -> None:
    bench = benches()
    await bench.hold()
    head, late, on_time = (
        bench.submit(1.0, deadline=clock.now + 5),
        bench.submit(2.0, deadline=clock.now + 5),
        bench.submit(3.0, deadline=clock.now + 60),
    )
    clock.now += 10
    bench.release()
    for future in (head, late):
        with pytest.raises(DeadlinePassed):
            await answer(future)
    assert await answer(on_time) == [6.0]
    assert bench.batches == [[3.0]]
    assert bench.batcher.queued_rows == 0


async def test_late_entry_behind_a_live_one_is_dropped_too(benches: Benches, clock: Clock) -> None:
    bench = benches()
    await bench.hold()
    first = bench.submit(1.0)
    late = bench.submit(2.0, deadline=clock.now + 5)
    last = bench.submit(3.0)
    clock.now += 10
    bench.release()
    with pytest.raises(DeadlinePassed):
        await answer(late)
    assert [await answer(first), await answer(last)] == [[2.0], [6.0]]
    assert all(2.0 not in batch for batch in bench.batches)


async def test_late_entry_is_told_while_others_wait_for_company(
    benches: Benches, clock: Clock
) -> None:
    bench = benches(delay_s=LONG_S)
    waits = bench.submit(1.0, width=2)
    with pytest.raises(DeadlinePassed):
        await answer(bench.submit(2.0, deadline=clock.now - 1))
    assert not waits.done()


# --- priorities ----------------------------------------------------------------------------------


@one_at_a_time
async def test_high_goes_before_normal_before_low(benches: Benches) -> None:
    bench = benches(max_rows=1)
    await bench.hold()
    futures = [
        bench.submit(1.0, priority=Priority.LOW),
        bench.submit(2.0, priority=Priority.NORMAL),
        bench.submit(3.0, priority=Priority.HIGH),
        bench.submit(4.0, priority=Priority.NORMAL),
    ]
    bench.release()
    await asyncio.wait_for(asyncio.gather(*futures), PATIENCE_S)
    assert bench.batches == [[3.0], [2.0], [4.0], [1.0]]


@one_at_a_time
async def test_high_of_one_shape_goes_before_normal_of_another(benches: Benches) -> None:
    bench = benches()
    await bench.hold()
    futures = [bench.submit(1.0, width=2), bench.submit(2.0, width=3, priority=Priority.HIGH)]
    bench.release()
    await asyncio.wait_for(asyncio.gather(*futures), PATIENCE_S)
    assert bench.batches == [[2.0], [1.0]]


@one_at_a_time
async def test_low_priority_that_has_waited_overtakes_what_came_later(
    benches: Benches, clock: Clock
) -> None:
    bench = benches(max_rows=1)
    await bench.hold()
    old = bench.submit(1.0, priority=Priority.LOW)
    clock.now += Priority.HIGH.value - Priority.LOW.value + 1
    futures = [old, bench.submit(2.0), bench.submit(3.0, priority=Priority.HIGH)]
    bench.release()
    await asyncio.wait_for(asyncio.gather(*futures), PATIENCE_S)
    assert bench.batches == [[1.0], [3.0], [2.0]]


# --- closing -------------------------------------------------------------------------------------


async def test_close_finishes_what_is_queued_and_refuses_what_is_new(benches: Benches) -> None:
    bench = benches(max_rows=2)
    await bench.hold()
    futures = [bench.submit(float(k)) for k in range(1, 6)]
    await asyncio.to_thread(bench.batcher.close, timeout_s=0)  # says so, and does not wait
    with pytest.raises(NotReady):
        bench.submit(9.0)
    assert not bench.batcher.idle
    bench.release()
    assert [await answer(future) for future in futures] == [[2.0 * k] for k in range(1, 6)]
    await asyncio.to_thread(bench.batcher.close, timeout_s=PATIENCE_S)
    assert bench.batcher.idle


@in_threads
async def test_close_gives_up_on_a_run_that_does_not_end(benches: Benches) -> None:
    bench = benches()
    await bench.hold()
    await asyncio.to_thread(bench.batcher.close, timeout_s=0.01)
    assert bench.batcher.alive
    assert not bench.batcher.idle


# --- telling -------------------------------------------------------------------------------------


@in_threads
async def test_running_time_is_that_of_the_oldest_run_in_hand(
    benches: Benches, clock: Clock
) -> None:
    bench = benches()
    assert bench.batcher.running_s == 0
    plug = await bench.hold()
    clock.now += 3
    assert bench.batcher.running_s == 3
    bench.release()
    await answer(plug)
    await asyncio.to_thread(bench.batcher.close, timeout_s=PATIENCE_S)
    assert bench.batcher.running_s == 0


@in_one_thread
async def test_queue_and_compute_times_are_of_the_entry_itself(
    benches: Benches, clock: Clock
) -> None:
    bench = benches()
    plug = await bench.hold()
    waits = bench.submit(1.0)
    clock.now += 3
    bench.release()
    assert (await plug).queue_s == 0
    assert (await plug).compute_s == 3
    assert (await waits).queue_s == 3
    assert (await waits).compute_s == 0


@one_at_a_time
async def test_each_run_is_reported_once_with_the_waits_of_those_that_begin_in_it(
    benches: Benches, clock: Clock
) -> None:
    bench = benches(max_rows=2)
    await bench.hold()
    futures = [bench.submit(1.0, 2.0, 3.0), bench.submit(POISON)]
    clock.now += 2
    bench.release()
    await asyncio.wait(futures, timeout=PATIENCE_S)
    reports = [(r.rows, r.failed, r.queue_s) for r in bench.reports if 0.0 not in r.queue_s]
    assert reports == [(2, False, [2]), (2, True, []), (1, False, []), (1, True, [])]


# --- all laws at once ----------------------------------------------------------------------------

MAX_QUEUE_ROWS = 40


class Asked:
    """One accepted entry of the property below, and what must become of it."""

    def __init__(
        self, future: "asyncio.Future[Delivered]", values: list[float], late: bool
    ) -> None:
        self.future, self.values, self.late = future, values, late
        self.cancelled = False

    def cancel(self, bench: Workbench) -> None:
        bench.cancel(self.future)
        self.cancelled = self.future.cancelled()

    async def check(self) -> None:
        await asyncio.wait([self.future], timeout=PATIENCE_S)
        assert self.future.done()
        if self.cancelled:
            assert self.future.cancelled()
        elif self.late:
            assert isinstance(self.future.exception(), DeadlinePassed)
        elif POISON in self.values:
            fault = self.future.exception()
            assert isinstance(fault, ModelFault)
            assert fault.row is not None
            assert self.values[fault.row] == POISON
        else:
            assert await answer(self.future) == [2 * value for value in self.values]


def _submit(
    bench: Workbench, values: list[float], width: int, late: bool, priority: Priority
) -> list[Asked]:
    deadline = time.monotonic() - 1 if late else NEVER
    try:
        future = bench.submit(*values, width=width, deadline=deadline, priority=priority)
    except Overloaded:
        assert bench.batcher.queued_rows + len(values) > MAX_QUEUE_ROWS
        return []
    return [Asked(future, values, late)]


VALUES = st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0, POISON]), min_size=1, max_size=9)
LATE = st.sampled_from([False, False, False, True])
SUBMITS = st.tuples(
    st.just("submit"), VALUES, st.integers(1, 3), LATE, st.sampled_from(list(Priority))
)
CANCELS = st.tuples(st.just("cancel"), st.integers(0, 30))
OTHERS = st.tuples(st.sampled_from(["shut", "release", "breathe"]))
SQUEEZES = st.tuples(st.just("squeeze"), st.integers(1, 4))
STEPS = st.lists(st.one_of(SUBMITS, SUBMITS, CANCELS, OTHERS, SQUEEZES), max_size=30)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
@pytest.mark.parametrize("way", sorted(WAYS))
def test_every_entry_is_answered_once_and_rightly_whatever_happens(
    way: str, steps: list[tuple[Any, ...]]
) -> None:
    asyncio.run(_play(way, steps))


async def _play(way: str, steps: list[tuple[Any, ...]]) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fact: complaints.append(fact))
    bench = Workbench(way, max_rows=4, max_queue_rows=MAX_QUEUE_ROWS)
    asked: list[Asked] = []
    for verb, *arguments in steps:
        if verb == "submit":
            asked += _submit(bench, *arguments)
        elif verb == "cancel":
            for ask in asked[arguments[0] : arguments[0] + 1]:
                ask.cancel(bench)
        elif verb == "breathe":
            await asyncio.sleep(0)
        elif verb == "squeeze":
            bench.room = arguments[0]
        else:
            getattr(bench, verb)()
    bench.release()
    for ask in asked:
        await ask.check()
    await bench.close()
    assert complaints == []
