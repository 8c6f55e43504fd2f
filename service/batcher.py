"""Bounded queue → batches → futures. Knows no ONNX and no HTTP.

One thread per batcher takes what is waiting, runs it and delivers. The rules it keeps:

- An idle thread starts at once; while it runs the queue grows, and that is the next batch.
- A batch is counted in rows and holds rows of one shape. A larger entry is split and re-joined.
- The queue is bounded in rows; a full one refuses at the door.
- Whoever is gone or late is dropped before it costs compute.
- If a batch fails it is halved until the culprit stands alone; only the culprit fails.
- Every entry is answered exactly once, and nothing that happens in the loop ends the loop.
"""

import asyncio
import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from model_store.spec import Tensors
from service.errors import DeadlinePassed, ModelFault, NotReady, Overloaded, ServiceError
from service.schema import BatchReport, Delivered, Priority

log = logging.getLogger(__name__)

Shape: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(slots=True, eq=False)
class Entry:
    """Rows of one shape that one request waits for."""

    tensors: Tensors
    rows: int
    deadline: float
    future: "asyncio.Future[Delivered]"
    arrived: float
    taken: int = 0
    """Rows already put into a batch."""
    parts: list[Tensors] = field(default_factory=list)
    queue_s: float = -1.0
    compute_s: float = 0.0
    settled: bool = False
    """Answered, failed or given up; only ever set, under the lock."""

    def __lt__(self, other: "Entry") -> bool:
        return self.arrived < other.arrived


Slice: TypeAlias = tuple[Entry, int, int]
"""Rows ``start`` to ``stop`` of an entry."""
Outcome: TypeAlias = tuple[Entry, Delivered | Exception]


class Batcher:
    """A queue and the thread that empties it through ``run``."""

    def __init__(
        self,
        run: Callable[[Tensors], Tensors],
        *,
        name: str,
        loop: asyncio.AbstractEventLoop,
        max_rows: int,
        max_queue_rows: int,
        delay_s: float = 0.0,
        tell: Callable[[BatchReport], None] = lambda _: None,
    ) -> None:
        self._run, self._loop, self._tell = run, loop, tell
        self._max_rows, self._max_queue_rows, self._delay_s = max_rows, max_queue_rows, delay_s
        self._queues: dict[Shape, list[tuple[float, int, Entry]]] = {}
        self._numbers = itertools.count()
        self._work = threading.Condition()
        self._closing = False
        self.queued_rows = 0
        self.running_since: float | None = None
        self._thread = threading.Thread(target=self._live, name=f"lane {name}", daemon=True)
        self._thread.start()

    # --- the event loop's side -----------------------------------------------------------------

    def submit(
        self, tensors: Tensors, deadline: float, priority: Priority = Priority.NORMAL
    ) -> "asyncio.Future[Delivered]":
        """Queue rows of one shape. Cancel the future to give up. Raises Overloaded, NotReady."""
        rows = len(next(iter(tensors.values())))
        if not rows:
            raise ValueError("expected at least one row; got none")
        future: asyncio.Future[Delivered] = self._loop.create_future()
        entry = Entry(tensors, rows, deadline, future, time.monotonic())
        shape = tuple((name, array.shape[1:]) for name, array in sorted(tensors.items()))
        with self._work:
            if self._closing:
                raise NotReady("the model is being unloaded")
            if self.queued_rows + rows > self._max_queue_rows:
                raise Overloaded(
                    f"{self.queued_rows} rows are waiting; {rows} more would exceed"
                    f" {self._max_queue_rows}"
                )
            self.queued_rows += rows
            place = (entry.arrived - priority.value, next(self._numbers), entry)
            heapq.heappush(self._queues.setdefault(shape, []), place)
            self._work.notify()
        future.add_done_callback(lambda _: self._forget(entry))
        return future

    def close(self, *, timeout_s: float) -> None:
        """Refuse new rows, finish those waiting, end the thread. Blocks up to ``timeout_s``."""
        with self._work:
            self._closing = True
            self._work.notify()
        self._thread.join(timeout_s)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _forget(self, entry: Entry) -> None:
        """Runs when a future is done; matters when it was cancelled with rows still waiting."""
        with self._work:
            self._settle(entry)

    def _settle(self, entry: Entry) -> bool:
        """Mark as answered and give back its place in the queue. True the first time."""
        if entry.settled:
            return False
        entry.settled = True
        self.queued_rows -= entry.rows - entry.taken
        entry.taken = entry.rows
        return True

    # --- the thread's side ---------------------------------------------------------------------

    def _live(self) -> None:
        while True:
            batch: list[Slice] = []
            outcomes: list[Outcome] = []
            try:
                if not self._collect(batch, outcomes):
                    return
                self._serve(batch, outcomes)
            except Exception as error:
                log.exception("batch of %d entries failed in the loop itself", len(batch))
                fault = ModelFault(f"the batch could not be served ({type(error).__name__})")
                outcomes.extend((entry, fault) for entry, _, _ in batch)
            finally:
                self.running_since = None
            self._deliver(outcomes)

    def _collect(self, batch: list[Slice], outcomes: list[Outcome]) -> bool:
        """Wait for work and take up to ``max_rows`` of one shape. False when closed and empty."""
        with self._work:
            while True:
                self._drop_dead(outcomes)
                waits_s = {
                    shape: self._company_wait_s(queue) for shape, queue in self._queues.items()
                }
                due = [self._queues[shape] for shape, wait_s in waits_s.items() if wait_s <= 0]
                if due:
                    self._take(min(due, key=lambda queue: queue[0]), batch)
                    return True
                if outcomes:
                    return True  # only late ones: tell them now
                if self._closing:
                    return False
                self._work.wait(min(waits_s.values(), default=None))

    def _drop_dead(self, outcomes: list[Outcome]) -> None:
        """Take the settled and the late off the heads of the queues."""
        now = time.monotonic()
        for shape, queue in list(self._queues.items()):
            while queue and (queue[0][2].settled or queue[0][2].deadline <= now):
                entry = heapq.heappop(queue)[2]
                if self._settle(entry):
                    outcomes.append((entry, DeadlinePassed("the deadline passed in the queue")))
            if not queue:
                del self._queues[shape]

    def _company_wait_s(self, queue: list[tuple[float, int, Entry]]) -> float:
        """How long the head still waits for company; 0 unless a delay was asked for."""
        if not self._delay_s or self._closing:
            return 0.0
        if sum(entry.rows - entry.taken for _, _, entry in queue) >= self._max_rows:
            return 0.0
        return min(entry.arrived for _, _, entry in queue) + self._delay_s - time.monotonic()

    def _take(self, queue: list[tuple[float, int, Entry]], batch: list[Slice]) -> None:
        room, now = self._max_rows, time.monotonic()
        while queue and room:
            entry = queue[0][2]
            if entry.settled or entry.deadline <= now:
                if not entry.settled:
                    return  # late, but not at the head before: the next round tells it
                heapq.heappop(queue)
                continue
            start = entry.taken
            stop = min(entry.rows, start + room)
            entry.taken = stop
            self.queued_rows -= stop - start
            room -= stop - start
            if entry.queue_s < 0:
                entry.queue_s = now - entry.arrived
            batch.append((entry, start, stop))
            if stop == entry.rows:
                heapq.heappop(queue)

    def _serve(self, batch: Sequence[Slice], outcomes: list[Outcome]) -> None:
        """Run a batch; on failure halve it until single rows are left, and fail those alone."""
        batch = [piece for piece in batch if not piece[0].settled]
        if not batch:
            return
        rows = sum(stop - start for _, start, stop in batch)
        started = self.running_since = time.monotonic()
        try:
            outputs = _checked(self._run(_join(batch)), rows)
        except Exception as error:  # noqa: BLE001 - whatever a graph raises is the batch's matter
            self._report(BatchReport(rows, time.monotonic() - started, failed=True))
            if rows == 1:
                self._fail(batch[0], error, outcomes)
                return
            for half in _halves(batch, rows):
                self._serve(half, outcomes)
            return
        spent = time.monotonic() - started
        waits = [entry.queue_s for entry, start, _ in batch if start == 0]
        self._report(BatchReport(rows, spent, waits))
        self._share(batch, outputs, spent, outcomes)

    def _report(self, report: BatchReport) -> None:
        try:
            self._tell(report)
        except Exception:
            log.exception("a batch could not be counted")  # its answers are worth more

    def _fail(self, piece: Slice, error: Exception, outcomes: list[Outcome]) -> None:
        entry, row, _ = piece
        log.error("row failed alone: %s", error, exc_info=error)
        if not isinstance(error, ServiceError):
            error = ModelFault("the model failed on this input", row=row)
        with self._work:
            if self._settle(entry):
                outcomes.append((entry, error))

    def _share(
        self, batch: Sequence[Slice], outputs: Tensors, spent: float, outcomes: list[Outcome]
    ) -> None:
        offset = 0
        for entry, start, stop in batch:
            rows = slice(offset, offset + stop - start)
            offset = rows.stop
            entry.parts.append({name: array[rows] for name, array in outputs.items()})
            entry.compute_s += spent
            if stop < entry.rows or sum(_rows(part) for part in entry.parts) < entry.rows:
                continue
            with self._work:
                if self._settle(entry):
                    whole = _concatenate(entry.parts)
                    outcomes.append((entry, Delivered(whole, entry.queue_s, entry.compute_s)))

    def _deliver(self, outcomes: list[Outcome]) -> None:
        """Wake the event loop once for the whole batch."""
        if outcomes and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_hand_out, outcomes)


def _hand_out(outcomes: list[Outcome]) -> None:
    for entry, outcome in outcomes:
        if entry.future.done():
            continue
        if isinstance(outcome, Delivered):
            entry.future.set_result(outcome)
        else:
            entry.future.set_exception(outcome)


def _rows(tensors: Tensors) -> int:
    return len(next(iter(tensors.values())))


def _join(batch: Sequence[Slice]) -> Tensors:
    entry, start, stop = batch[0]
    if len(batch) == 1:
        return {name: array[start:stop] for name, array in entry.tensors.items()}
    return {
        name: np.concatenate([entry.tensors[name][start:stop] for entry, start, stop in batch])
        for name in entry.tensors
    }


def _concatenate(parts: Sequence[Tensors]) -> Tensors:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _checked(outputs: Tensors, rows: int) -> Tensors:
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != rows:
            raise ModelFault(f"output {name} has shape {array.shape} for {rows} rows")
    return outputs


def _halves(batch: Sequence[Slice], rows: int) -> tuple[list[Slice], list[Slice]]:
    """Two lists of slices with half the rows each, in order."""
    left: list[Slice] = []
    right: list[Slice] = []
    room = rows // 2
    for entry, start, stop in batch:
        cut = min(stop, start + room)
        room -= cut - start
        if cut > start:
            left.append((entry, start, cut))
        if stop > cut:
            right.append((entry, cut, stop))
    return left, right
