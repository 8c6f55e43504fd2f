"""The laws of the engine, each with a test that fails when the law is broken."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_store.spec import Tensors
from service.batcher import Batcher
from service.errors import DeadlinePassed, ModelFault, NotReady, Overloaded
from service.schema import BatchReport, Delivered, Priority

PATIENCE_S = 20.0
"""Longer than anything here takes; only a broken law waits for it."""
NEVER = 1e12
LONG_S = 1000.0
POISON = -1.0


class Clock:
    """Stands in for the batcher's ``time``: moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Bench:
    """A batcher whose run doubles each row, fails on poison, notes every batch, and can be held."""

    def __init__(self, **options: Any) -> None:
        self.batches: list[list[float]] = []
        self.reports: list[BatchReport] = []
        self._gate = threading.Condition()
        self._open, self._steps = True, 0
        self._entered = threading.Semaphore(0)
        self.batcher = Batcher(
            options.pop("run", self.run),
            name="bench",
            loop=asyncio.get_running_loop(),
            **{"max_rows": 8, "max_queue_rows": 1000, "tell": self.reports.append, **options},
        )

    def run(self, tensors: Tensors) -> Tensors:
        rows = tensors["x"]
        self.batches.append(rows.reshape(len(rows), -1)[:, 0].tolist())
        self._entered.release()
        with self._gate:
            assert self._gate.wait_for(lambda: self._open or self._steps, PATIENCE_S)
            self._steps -= not self._open
        if (rows == POISON).any():
            raise ValueError("poison")
        return {"y": rows * 2}

    def submit(
        self,
        *values: float,
        width: int = 1,
        deadline: float = NEVER,
        priority: Priority = Priority.NORMAL,
    ) -> "asyncio.Future[Delivered]":
        rows = np.array(values, dtype=np.float32)[:, None].repeat(width, axis=1)
        return self.batcher.submit({"x": rows}, deadline, priority)

    async def hold(self) -> "asyncio.Future[Delivered]":
        """Occupy the runner with one row, until :meth:`step` or :meth:`release`."""
        self.shut()
        plug = self.submit(0.0)
        await self.entered()
        return plug

    def shut(self) -> None:
        """Let no run end."""
        with self._gate:
            self._open, self._steps = False, 0

    async def step(self) -> None:
        """Let the run in hand end, and wait until the next one has begun."""
        with self._gate:
            self._steps += 1
            self._gate.notify()
        await self.entered()

    def release(self) -> None:
        """Let every run end from now on."""
        with self._gate:
            self._open = True
            self._gate.notify()

    async def entered(self) -> None:
        """Wait until one more run has begun."""
        assert await asyncio.to_thread(self._entered.acquire, timeout=PATIENCE_S)


@pytest.fixture
async def benches() -> Any:
    """Makes benches, and ends their threads."""
    made: list[Bench] = []

    def make(**options: Any) -> Bench:
        made.append(Bench(**options))
        return made[-1]

    yield make
    for bench in made:
        bench.release()
        await asyncio.to_thread(bench.batcher.close, timeout_s=PATIENCE_S)
        assert not bench.batcher.alive


Benches = Callable[..., Bench]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    with monkeypatch.context() as patch:
        patch.setattr("service.batcher.time", clock)
        yield clock


async def answer(future: "asyncio.Future[Delivered]") -> list[float]:
    delivered = await asyncio.wait_for(future, PATIENCE_S)
    values: list[float] = delivered.tensors["y"][:, 0].tolist()
    return values


# --- law 1: an answer does not depend on its batch mates -----------------------------------------


async def test_each_entry_gets_its_own_rows_whoever_shares_the_batch(benches: Benches) -> None:
    bench = benches(max_rows=64)
    await bench.hold()
    wishes = [[float(10 * k + j) for j in range(k % 3 + 1)] for k in range(1, 12)]
    futures = [bench.submit(*wish) for wish in wishes]
    bench.release()
    for wish, future in zip(wishes, futures, strict=True):
        assert await answer(future) == [2 * value for value in wish]
    assert len(bench.batches) == 2  # the plug, then all of them together


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
    assert sorted(len(batch) for batch in bench.batches[1:]) == [1, 1, 2, 2, 4, 4, 8]


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

    bench = benches(run=run)
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


async def test_fault_in_the_loop_itself_fails_that_batch_and_the_next_is_served(
    benches: Benches, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = benches()
    with monkeypatch.context() as patch:
        patch.setattr("service.batcher._join", None)
        patch.setattr("service.batcher._checked", None)
        patch.setattr(bench.batcher, "_fail", None)
        with pytest.raises(ModelFault):
            await answer(bench.submit(1.0))
    assert await answer(bench.submit(2.0)) == [4.0]


async def test_entry_without_rows_is_refused(benches: Benches) -> None:
    bench = benches()
    with pytest.raises(ValueError, match="at least one row"):
        bench.submit()
    assert await answer(bench.submit(2.0)) == [4.0]


async def test_cancelled_request_leaves_its_batchmates_alone(benches: Benches) -> None:
    bench = benches()
    await bench.hold()
    futures = [bench.submit(float(k)) for k in range(1, 6)]
    await bench.step()
    futures[0].cancel()
    futures[3].cancel()
    bench.release()
    assert [await answer(futures[k]) for k in (1, 2, 4)] == [[4.0], [6.0], [10.0]]
    assert futures[0].cancelled()
    assert await answer(bench.submit(9.0)) == [18.0]


async def test_request_cancelled_in_the_queue_is_not_computed(benches: Benches) -> None:
    bench = benches()
    await bench.hold()
    gone, stays = bench.submit(1.0, 2.0), bench.submit(3.0)
    gone.cancel()
    await asyncio.sleep(0)  # a future's callbacks run on the next turn of the loop
    assert bench.batcher.queued_rows == 1
    bench.release()
    assert await answer(stays) == [6.0]
    assert bench.batches == [[0.0], [3.0]]


async def test_rest_of_a_split_entry_is_not_computed_once_it_is_cancelled(benches: Benches) -> None:
    bench = benches(max_rows=2)
    await bench.hold()
    large = bench.submit(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    await bench.step()
    large.cancel()
    await asyncio.sleep(0)
    assert bench.batcher.queued_rows == 0
    bench.release()
    assert await answer(bench.submit(9.0)) == [18.0]
    assert bench.batches == [[0.0], [1.0, 2.0], [9.0]]


async def test_poison_that_was_cancelled_while_it_ran_leaves_its_mates_alone(
    benches: Benches,
) -> None:
    bench = benches()
    await bench.hold()
    poisoned, mate = bench.submit(POISON, 1.0), bench.submit(2.0)
    await bench.step()
    poisoned.cancel()
    bench.release()
    assert await answer(mate) == [4.0]


# --- law 4: work-conserving ----------------------------------------------------------------------


@pytest.mark.usefixtures("clock")  # it stands still: no timer can run out
async def test_idle_runner_starts_at_once_and_waits_for_no_timer(benches: Benches) -> None:
    bench = benches(max_rows=64)
    assert await answer(bench.submit(1.0)) == [2.0]
    assert bench.batches == [[1.0]]


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
    assert bench.batches == [[0.0], [float(k) for k in range(1, 9)], [9.0, 10.0]]
    assert [report.rows for report in bench.reports] == [1, 8, 2]


async def test_delay_that_was_asked_for_gathers_company(benches: Benches) -> None:
    bench = benches(delay_s=0.2)
    futures = [bench.submit(1.0), bench.submit(2.0)]
    assert [await answer(future) for future in futures] == [[2.0], [4.0]]
    assert bench.batches == [[1.0, 2.0]]


async def test_full_batch_does_not_wait_for_the_delay(benches: Benches) -> None:
    bench = benches(max_rows=3, delay_s=LONG_S)
    futures = [bench.submit(1.0), bench.submit(2.0, 3.0)]
    assert [await answer(future) for future in futures] == [[2.0], [4.0, 6.0]]


async def test_closing_ends_the_delay(benches: Benches) -> None:
    bench = benches(delay_s=LONG_S)
    future = bench.submit(1.0)
    await asyncio.to_thread(bench.batcher.close, timeout_s=PATIENCE_S)
    assert await answer(future) == [2.0]


# --- law 5: shapes do not block each other -------------------------------------------------------


async def test_mixed_shapes_are_batched_each_with_its_like(benches: Benches) -> None:
    bench = benches()
    await bench.hold()
    wishes = [(1.0, 2), (2.0, 3), (3.0, 2), (4.0, 3)]
    futures = [bench.submit(value, width=width) for value, width in wishes]
    bench.release()
    for (value, _), future in zip(wishes, futures, strict=True):
        assert await answer(future) == [2 * value]
    assert bench.batches == [[0.0], [1.0, 3.0], [2.0, 4.0]]


async def test_full_batch_of_one_shape_does_not_wait_for_another_shapes_company(
    benches: Benches,
) -> None:
    bench = benches(max_rows=2, delay_s=LONG_S)
    waits = bench.submit(1.0, width=2)
    full = bench.submit(2.0, 3.0, width=3)
    assert await answer(full) == [4.0, 6.0]
    assert not waits.done()


async def test_entry_larger_than_a_batch_is_split_and_rejoined_in_order(benches: Benches) -> None:
    bench = benches(max_rows=4)
    await bench.hold()
    small, large, after = bench.submit(1.0), bench.submit(*range(10, 21)), bench.submit(2.0)
    bench.release()
    assert await answer(large) == [2.0 * value for value in range(10, 21)]
    assert await answer(small) == [2.0]
    assert await answer(after) == [4.0]
    assert [len(batch) for batch in bench.batches] == [1, 4, 4, 4, 1]


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
    gone.cancel()
    await asyncio.sleep(0)
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
    assert bench.batches == [[0.0], [3.0]]
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
    assert bench.batches == [[0.0], [3.0], [2.0], [4.0], [1.0]]


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
    assert bench.batches == [[0.0], [1.0], [3.0], [2.0]]


# --- closing -------------------------------------------------------------------------------------


async def test_close_finishes_what_is_queued_and_refuses_what_is_new(benches: Benches) -> None:
    bench = benches(max_rows=2)
    await bench.hold()
    futures = [bench.submit(float(k)) for k in range(1, 6)]
    await asyncio.to_thread(bench.batcher.close, timeout_s=0)  # says so, and does not wait
    with pytest.raises(NotReady):
        bench.submit(9.0)
    bench.release()
    assert [await answer(future) for future in futures] == [[2.0 * k] for k in range(1, 6)]
    await asyncio.to_thread(bench.batcher.close, timeout_s=PATIENCE_S)
    assert not bench.batcher.alive


async def test_close_gives_up_on_a_run_that_does_not_end(benches: Benches) -> None:
    bench = benches()
    await bench.hold()
    await asyncio.to_thread(bench.batcher.close, timeout_s=0.01)
    assert bench.batcher.alive


async def test_running_since_tells_of_the_run_in_hand(benches: Benches, clock: Clock) -> None:
    bench = benches()
    assert bench.batcher.running_since is None
    plug = await bench.hold()
    assert bench.batcher.running_since == clock.now
    bench.release()
    await answer(plug)
    await asyncio.to_thread(bench.batcher.close, timeout_s=PATIENCE_S)
    assert bench.batcher.running_since is None


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


# --- all laws at once ----------------------------------------------------------------------------

MAX_QUEUE_ROWS = 40


class Asked:
    """One accepted entry of the property below, and what must become of it."""

    def __init__(
        self, future: "asyncio.Future[Delivered]", values: list[float], late: bool
    ) -> None:
        self.future, self.values, self.late = future, values, late
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = self.future.cancel() or self.cancelled

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
    bench: Bench, values: list[float], width: int, late: bool, priority: Priority
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
STEPS = st.lists(st.one_of(SUBMITS, SUBMITS, CANCELS, OTHERS), max_size=30)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_every_entry_is_answered_once_and_rightly_whatever_happens(
    steps: list[tuple[Any, ...]],
) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[Any, ...]]) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fact: complaints.append(fact))
    bench = Bench(max_rows=4, max_queue_rows=MAX_QUEUE_ROWS)
    asked: list[Asked] = []
    for verb, *arguments in steps:
        if verb == "submit":
            asked += _submit(bench, *arguments)
        elif verb == "cancel":
            for ask in asked[arguments[0] : arguments[0] + 1]:
                ask.cancel()
        elif verb == "breathe":
            await asyncio.sleep(0)
        else:
            getattr(bench, verb)()
    bench.release()
    for ask in asked:
        await ask.check()
    assert bench.batcher.queued_rows == 0
    await asyncio.to_thread(bench.batcher.close, timeout_s=PATIENCE_S)
    assert not bench.batcher.alive
    assert complaints == []
