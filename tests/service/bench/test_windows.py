import math
from collections.abc import Iterator

import pytest

from service.bench.load import Take
from service.bench.windows import Ceiling, Cell, Window, agree, measure, percentile


def window(per_s: int, p50_s: float = 0.1) -> Window:
    return Window(Take(seconds=1, completed=per_s, latencies_s=[p50_s] * 9))


def cell() -> Cell:
    return Cell("model", "binary", "concurrency", 4, rows=1)


def feed(*per_s: int) -> Iterator[Window]:
    return iter([window(number) for number in per_s])


@pytest.mark.parametrize(
    ("windows", "settled"),
    [
        ([window(100), window(100)], False),
        ([window(100), window(109), window(101)], True),
        ([window(100), window(112), window(101)], False),
        ([window(50), window(100), window(100), window(100)], True),
        ([window(100, 0.10), window(100, 0.12), window(100, 0.10)], False),
        ([window(0), window(0), window(0)], False),
    ],
)
def test_three_windows_agree_within_ten_percent(windows: list[Window], settled: bool) -> None:
    assert agree(windows) is settled


def test_measuring_ends_when_the_windows_agree() -> None:
    found, windows = cell(), feed(50, 100, 101, 102, 103)
    measure(found, lambda: next(windows), {}, max_windows=10)
    assert [one.take.completed for one in found.windows] == [50, 100, 101, 102]
    assert found.stable


def test_measuring_ends_when_there_were_enough_windows() -> None:
    found, windows = cell(), feed(1, 2, 4, 8, 16)
    measure(found, lambda: next(windows), {}, max_windows=4)
    assert len(found.windows) == 4
    assert not found.stable


def test_measuring_ends_when_nothing_is_answered() -> None:
    found, windows = cell(), feed(0, 100, 100, 100)
    measure(found, lambda: next(windows), {}, max_windows=4)
    assert len(found.windows) == 1


def test_each_window_is_paired_with_the_ceiling_next_to_it() -> None:
    """A machine that becomes twice as fast half-way changes no ratio."""
    order, speeds = [], iter([1, 1, 2, 2])
    found = cell()
    found.ceilings["graph"] = Ceiling()
    speed = 0

    def serve() -> Window:
        nonlocal speed
        speed = next(speeds)
        order.append("server")
        return window(100 * speed)

    def look() -> float:
        order.append("graph")
        return 400.0 * speed

    measure(found, serve, {"graph": look}, max_windows=4)
    assert order == ["server", "graph"] * 4
    assert found.ceilings["graph"].ratios == [0.25] * 4
    assert found.ceilings["graph"].per_s == [400, 400, 800, 800]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, n) for n in (50, 90, 99)] == [51, 91, 100]
    assert percentile([7.0], 99) == 7
    assert math.isnan(percentile([], 50))
