"""One cell of the result: windows until they agree, each with its ceilings measured beside it.

Knows no server and no graph: what a window does is handed in.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from service.bench.load import Take
from service.bench.split import Split

AGREE = 3
"""perf_analyzer's rule: the last three windows lie within ten percent of each other."""
WITHIN = 1.10

Kind = Literal["concurrency", "rate"]


@dataclass(frozen=True)
class Window:
    """What one look at the server found."""

    take: Take
    split: Split | None = None
    """What the server itself has counted over the window."""
    server_cpu_s: float | None = None

    @property
    def p50_s(self) -> float:
        return percentile(self.take.latencies_s, 50)


@dataclass
class Ceiling:
    """A ceiling's windows, each beside the server's window of the same number."""

    per_s: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    detail: str = ""


@dataclass
class Cell:
    """One model under one load with one kind of body."""

    model: str
    body: str
    kind: Kind
    load: float
    """Connections, or requests a second."""
    rows: int
    """In each request."""
    peak_per_s: float = 0.0
    """What the model did at its best in a closed loop, where this cell is an overload of it."""
    windows: list[Window] = field(default_factory=list)
    ceilings: dict[str, Ceiling] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    checked: int = 0
    """Answers compared value by value."""

    @property
    def stable(self) -> bool:
        return agree(self.windows)

    @property
    def last(self) -> list[Window]:
        """The windows whose numbers are reported."""
        return self.windows[-AGREE:]


def agree(windows: list[Window]) -> bool:
    """Whether throughput and median latency have settled."""
    last = windows[-AGREE:]
    return len(last) == AGREE and all(
        min(values) > 0 and max(values) <= WITHIN * min(values)
        for values in (
            [window.take.requests_per_s for window in last],
            [window.p50_s for window in last],
        )
    )


def measure(
    cell: Cell,
    serve: Callable[[], Window],
    ceilings: Mapping[str, Callable[[], float]],
    max_windows: int,
) -> None:
    """Fill the cell: server, ceilings, server, ceilings, … A machine that grows faster or slower
    does so for both, and the ratio of neighbours stays.
    """
    for _ in range(max_windows):
        window = serve()
        cell.windows.append(window)
        for name, look in ceilings.items():
            per_s = look()
            cell.ceilings[name].per_s.append(per_s)
            if per_s > 0:
                cell.ceilings[name].ratios.append(window.take.requests_per_s / per_s)
        if cell.stable or not window.take.completed:
            return


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest rank; NaN of nothing."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
