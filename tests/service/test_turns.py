"""Turns on one device: within the budget, fair by time used, and nothing saved up."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.turns import Share, Turns
from tests.service.workbench import PATIENCE_S, Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    with monkeypatch.context() as patch:
        patch.setattr("service.turns.time", clock)
        yield clock


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.0005)


def until_waiting(turns: Turns, lanes: int) -> None:
    until(lambda: len(turns._waiting) >= lanes)


def contest(turns: Turns, clock: Clock, lanes: dict[str, tuple[Share, float]], runs: int) -> str:
    """Lanes that always want the one thread, each with what a run of it takes: who ran, in order.

    The first run ends when all others ask, so the order is the rule's and not the machine's.
    """
    order: list[str] = []

    def live(name: str, share: Share, seconds: float) -> None:
        with turns.take(share, 1) as turn:
            until_waiting(turns, len(lanes) - 1)
            while True:
                order.append(name)
                clock.now += seconds
                if len(order) >= runs:
                    return
                turn.renew(1)

    threads = [threading.Thread(target=live, args=(name, *lane)) for name, lane in lanes.items()]
    for thread in threads:
        thread.start()
        until(lambda: turns._free == 0)  # the first one named has the first turn
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    return "".join(order[:runs])


def test_slow_lane_and_a_fast_one_get_the_same_time(clock: Clock) -> None:
    lanes = {"s": (Share(), 10.0), "f": (Share(), 1.0)}
    order = contest(Turns(1), clock, lanes, 110)
    spent = {"s": 0.0, "f": 0.0}
    for name in order:
        spent[name] += lanes[name][1]
        assert abs(spent["s"] - spent["f"]) <= 11  # one run of each
    assert order.count("s") == 10


def test_fast_lane_waits_for_one_run_of_a_slow_one_at_most(clock: Clock) -> None:
    order = contest(Turns(1), clock, {"s": (Share(), 30.0), "f": (Share(), 1.0)}, 100)
    assert "ss" not in order
    assert order.count("s") >= 3


@pytest.mark.parametrize("seconds", [(1.0, 1.0, 1.0), (1.0, 3.0, 7.0), (5.0, 0.5, 2.0)])
def test_many_lanes_share_the_time_equally(clock: Clock, seconds: tuple[float, ...]) -> None:
    lanes = {name: (Share(), cost) for name, cost in zip("abc", seconds, strict=True)}
    order = contest(Turns(1), clock, lanes, 120)
    spent = [order.count(name) * lanes[name][1] for name in "abc"]
    assert max(spent) - min(spent) <= 2 * max(seconds)


def test_idle_lane_does_not_save_up_its_share(clock: Clock) -> None:
    turns, busy, idle = Turns(1), Share(), Share()
    for _ in range(100):
        with turns.take(busy, 1):
            clock.now += 1
    order = contest(turns, clock, {"b": (busy, 1.0), "i": (idle, 1.0)}, 12)
    assert "iii" not in order
    assert order.count("b") >= 5


def test_lane_that_used_much_while_nobody_waited_owes_nothing_to_who_comes_later(
    clock: Clock,
) -> None:
    turns, busy = Turns(1), Share()
    with turns.take(busy, 1):
        clock.now += 1000
    order = contest(turns, clock, {"n": (Share(), 1.0), "b": (busy, 1.0)}, 20)
    assert order.count("b") == order.count("n") == 10


def test_time_counts_for_every_thread_that_was_held(clock: Clock) -> None:
    for threads, used_s in ((1, 3), (2, 6), (4, 12), (99, 12)):
        share = Share()
        with Turns(4).take(share, threads):
            clock.now += 3
        assert share.used_s == used_s


# --- the budget --------------------------------------------------------------------------------


@given(
    budget=st.integers(1, 4),
    wishes=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=6), min_size=1, max_size=6),
)
def test_threads_at_work_never_exceed_the_budget_and_everyone_has_a_turn(
    budget: int, wishes: list[list[int]]
) -> None:
    turns, lock = Turns(budget), threading.Lock()
    at_work, most, turns_had = 0, 0, 0

    def live(own: list[int]) -> None:
        nonlocal at_work, most, turns_had
        share = Share()
        for threads in own:
            with turns.take(share, threads):
                with lock:
                    at_work += min(threads, budget)
                    most = max(most, at_work)
                time.sleep(0)
                with lock:
                    at_work -= min(threads, budget)
                    turns_had += 1

    lanes = [threading.Thread(target=live, args=(own,)) for own in wishes]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join(PATIENCE_S)
        assert not lane.is_alive()
    assert most <= budget
    assert turns_had == sum(map(len, wishes))
    assert turns._free == budget
    assert turns._waiting == []


class Lane:
    """A thread that takes one turn and keeps it until it is told to end."""

    def __init__(self, turns: Turns, threads: int, share: Share | None = None) -> None:
        self.has_turn, self._may_end = threading.Event(), threading.Event()
        self._thread = threading.Thread(
            target=self._live, args=(turns, share or Share(), threads), daemon=True
        )
        self._thread.start()

    def _live(self, turns: Turns, share: Share, threads: int) -> None:
        with turns.take(share, threads):
            self.has_turn.set()
            assert self._may_end.wait(PATIENCE_S)

    def end(self) -> None:
        self._may_end.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


def test_lane_that_wants_all_threads_is_not_overtaken_for_ever_by_narrow_ones() -> None:
    turns = Turns(2)
    first, second = Lane(turns, 1), Lane(turns, 1)
    assert first.has_turn.wait(PATIENCE_S)
    assert second.has_turn.wait(PATIENCE_S)
    wide = Lane(turns, 2)
    until_waiting(turns, 1)
    late = Lane(turns, 1)
    until_waiting(turns, 2)
    first.end()
    later = Lane(turns, 1)
    until_waiting(turns, 3)  # though one thread is free
    assert not late.has_turn.is_set()
    second.end()
    assert wide.has_turn.wait(PATIENCE_S)
    assert not late.has_turn.is_set()
    assert not later.has_turn.is_set()
    wide.end()
    for lane in (late, later):
        assert lane.has_turn.wait(PATIENCE_S)
        lane.end()


def test_turn_is_given_to_as_many_as_fit() -> None:
    turns = Turns(3)
    with ExitStack() as stack:
        stack.enter_context(turns.take(Share(), 3))
        lanes = [Lane(turns, threads) for threads in (1, 1, 1, 1)]
        until_waiting(turns, 4)
    for lane in lanes[:3]:
        assert lane.has_turn.wait(PATIENCE_S) or lanes[3].has_turn.is_set()
    assert turns._free == 0
    assert sum(lane.has_turn.is_set() for lane in lanes) == 3
    for lane in lanes:
        lane.end()


def test_more_threads_than_there_are_is_all_of_them() -> None:
    turns = Turns(2)
    with turns.take(Share(), 99):
        assert turns._free == 0
    assert turns._free == 2


def test_run_that_fails_gives_its_threads_back() -> None:
    turns = Turns(1)
    for _ in itertools.repeat(None, 3):
        with pytest.raises(RuntimeError), turns.take(Share(), 1):
            raise RuntimeError
    assert turns._free == 1
