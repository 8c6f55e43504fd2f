"""What waits in a batcher's queue, and what becomes of it."""

from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from model_store.spec import Tensors
from service.schema import BatchReport, Delivered
from service.slices import Slice, concatenate, count

Done: TypeAlias = Callable[[Delivered | Exception], None]


class Entry:
    """Rows of one shape that one request waits for."""

    __slots__ = (
        "arrived", "compute_s", "deadline", "done", "parts", "queue_s", "rows", "settled", "taken",
        "tensors",
    )  # fmt: skip

    def __init__(
        self, tensors: Tensors, rows: int, deadline: float, done: Done, arrived: float
    ) -> None:
        self.tensors, self.rows, self.deadline, self.done = tensors, rows, deadline, done
        self.arrived = arrived
        self.taken = 0
        """Rows already put into a batch."""
        self.parts: list[tuple[int, Tensors]] | None = None
        """Outputs so far of an entry that was split: first row and tensors."""
        self.queue_s, self.compute_s = -1.0, 0.0
        self.settled = False
        """Answered, failed or given up; only ever set, under the batcher's lock."""

    def add(self, start: int, part: Tensors) -> Tensors | None:
        """All outputs of an entry that was split, once they are there. Raises ValueError where a
        graph gives its batches outputs of different widths.
        """
        if self.parts is None:
            self.parts = []
        self.parts.append((start, part))
        if sum(count(part) for _, part in self.parts) < self.rows:
            return None
        return concatenate([part for _, part in sorted(self.parts, key=itemgetter(0))])


Outcome: TypeAlias = tuple[Entry, Delivered | Exception]


class Way(NamedTuple):
    """One way to run a batch, and the threads of the device it keeps busy."""

    run: Callable[[Tensors], Tensors]
    threads: int = 1


class Round:
    """What one turn of a worker did; handed to the event loop as a whole."""

    __slots__ = ("batch", "outcomes", "reports")

    def __init__(self) -> None:
        self.batch: list[Slice[Entry]] = []
        self.outcomes: list[Outcome] = []
        self.reports: list[BatchReport] = []
