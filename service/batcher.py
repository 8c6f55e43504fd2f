"""Bounded queue → batches → callbacks. Knows no ONNX and no HTTP.

Whoever is free takes what is waiting, runs it and delivers. The rules kept here:

- An idle worker starts at once; while it runs the queue grows, and that is the next batch.
- A batch is counted in rows and holds rows of one shape. A larger entry is split and re-joined.
- The queue is bounded in rows; a full one refuses at the door.
- Whoever is gone or late is dropped before it costs compute.
- If a batch fails it is halved until the culprit stands alone; only the culprit fails. A batch that
  is too large for the memory makes all later ones smaller.
- Every entry is answered exactly once, and nothing that happens in the loop ends the loop.

Runs of a graph that takes microseconds happen on the event loop itself (``workers=0``): what came
in one round of polling is one batch, and no thread is woken for it. All others have threads of
their own, which take turns with the other lanes of the device.
"""

import asyncio
import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from model_store.spec import Tensors
from service.entry import Done, Entry, Outcome, Round, Way
from service.errors import (
    DeadlinePassed,
    ModelFault,
    NotReady,
    OutOfMemory,
    Overloaded,
    ServiceError,
)
from service.schema import BatchReport, Delivered, Priority
from service.slices import Slice, checked, count, halves, join
from service.turns import Share, Turns

log = logging.getLogger(__name__)

INLINE_LIMIT_S = 0.01
MAX_LONG_RUNS = 3
"""So many runs in a row that hold the event loop longer than the limit show that the graph was
misjudged, not that the machine was busy: a thread does it from then on.
"""

Shape: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]
Place: TypeAlias = tuple[float, int, Entry]


class Batcher:
    """A queue, and the workers that empty it.

    ``alone`` runs a batch that has the lane for itself, ``shared`` one of several at the same time.
    With ``batches`` False every entry is run whole, as it came.
    """

    def __init__(
        self,
        alone: Way,
        *,
        name: str,
        loop: asyncio.AbstractEventLoop,
        max_rows: int,
        max_queue_rows: int,
        shared: Way | None = None,
        workers: int = 1,
        turns: Turns | None = None,
        batches: bool = True,
        delay_s: float = 0.0,
        tell: Callable[[BatchReport], None] = lambda _: None,
    ) -> None:
        self._alone, self._shared, self.loop, self._tell = alone, shared or alone, loop, tell
        self.max_rows, self._max_queue_rows, self._delay_s = max_rows, max_queue_rows, delay_s
        self._name, self._batches = name, batches
        self._turns, self._share = turns or Turns(alone.threads), Share()
        self._queues: dict[Shape, list[Place]] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._closing = False
        self._flush_planned = False
        self._long_runs = 0
        self._running: dict[int, float] = {}
        """Who is in the middle of a run, and since when (monotonic seconds)."""
        self.queued_rows = 0
        self._threads: list[threading.Thread] = []
        # The event loop does not wait for company: it would have to be asked again and again.
        self._start(workers or int(delay_s > 0))

    def _start(self, workers: int) -> None:
        for number in range(workers):
            name = f"lane {self._name} {number}"
            self._threads.append(threading.Thread(target=self._live, name=name, daemon=True))
            self._threads[-1].start()

    # --- the event loop's side -----------------------------------------------------------------

    def submit(
        self, tensors: Tensors, deadline: float, done: Done, priority: Priority = Priority.NORMAL
    ) -> Entry:
        """Queue rows of one shape; ``done`` is called once, on the event loop, unless the entry is
        cancelled. Raises Overloaded, NotReady.
        """
        rows = count(tensors) if self._batches else 1
        if not rows:
            raise ValueError("expected at least one row; got none")
        entry = Entry(tensors, rows, deadline, done, time.monotonic())
        axis = 1 if self._batches else 0
        if len(tensors) == 1:
            ((name, array),) = tensors.items()
            shape: Shape = ((name, array.shape[axis:]),)
        else:
            shape = tuple([(name, tensors[name].shape[axis:]) for name in sorted(tensors)])
        with self._lock:
            if self._closing:
                raise NotReady("the model is being unloaded")
            if self.queued_rows + rows > self._max_queue_rows:
                raise Overloaded(
                    f"{self.queued_rows} rows are waiting; {rows} more would exceed"
                    f" {self._max_queue_rows}"
                )
            self.queued_rows += rows
            place = (entry.arrived - priority.value, next(self._numbers), entry)
            queue = self._queues.get(shape)
            if queue is None:
                self._queues[shape] = [place]
            else:
                heapq.heappush(queue, place)
            if self._threads:
                self._work.notify()
            elif not self._flush_planned:
                self._flush_planned = True
                self.loop.call_soon(self._flush)
        return entry

    def cancel(self, entry: Entry) -> None:
        """Give up: rows still waiting are never run, and ``done`` is not called."""
        with self._lock:
            self._settle(entry)
        entry.done = _nobody  # its outcome may be on its way already

    def close(self, *, timeout_s: float) -> None:
        """Refuse new rows, finish those waiting, end the threads. Blocks up to ``timeout_s``.

        Not on the event loop, which may be what finishes them.
        """
        with self._lock:
            self._closing = True
            self._work.notify_all()
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        while not self.idle and not self._threads and time.monotonic() < end:
            time.sleep(0.001)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not self._queues and not self._running

    @property
    def threaded(self) -> bool:
        """It runs in threads of its own and not on the event loop."""
        return bool(self._threads)

    @property
    def alive(self) -> bool:
        """Its threads are there; one that needs none always is."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def running_s(self) -> float:
        """How long the oldest run in hand has taken so far; 0 when none is."""
        since = min(list(self._running.values()), default=0.0)
        return time.monotonic() - since if since else 0.0

    def _settle(self, entry: Entry) -> bool:
        """Mark as answered and give back its place in the queue. True the first time."""
        if entry.settled:
            return False
        entry.settled = True
        self.queued_rows -= entry.rows - entry.taken
        entry.taken = entry.rows
        return True

    def _flush(self) -> None:
        """One batch on the event loop; what is left waits for the next round of polling."""
        self._flush_planned = False
        work = self._work_once(self._alone)
        if not any(report.compute_s > INLINE_LIMIT_S for report in work.reports):
            self._long_runs = 0
        else:
            self._long_runs += 1
        if self._long_runs >= MAX_LONG_RUNS:
            log.warning("%s holds the event loop too long: it gets a thread", self._name)
            self._start(1)
        elif self._queues:
            self._flush_planned = True
            self.loop.call_soon(self._flush)
        self._hand_out(work)

    # --- the workers' side ---------------------------------------------------------------------

    def _live(self) -> None:
        while True:
            try:
                if not self._await_work():
                    return
                self._work_while_due()
            except Exception:  # a worker that ended would leave its queue unanswered for ever
                if self.loop.is_closed():
                    return  # nobody is left to answer
                log.exception("%s: a worker stumbled and goes on", self._name)

    def _await_work(self) -> bool:
        """Wait until rows are due or late. False when closed and empty."""
        with self._lock:
            while True:
                waits_s = [self._wait_s(queue) for queue in self._queues.values()]
                if waits_s and min(waits_s) <= 0:
                    return True
                if self._closing and not self._queues:
                    return False
                self._work.wait(min(waits_s, default=None))

    def _work_while_due(self) -> None:
        """Batch after batch, each in a turn of its own."""
        way = self._way()
        with self._turns.take(self._share, way.threads) as turn:
            while True:
                # Taken only now: while others had their turn, the batch grew.
                work = self._work_once(way)
                if work.outcomes or work.reports:
                    self.loop.call_soon_threadsafe(self._hand_out, work)
                if not self._is_due():
                    return
                way = self._way()
                turn.renew(way.threads)

    def _is_due(self) -> bool:
        with self._lock:
            return any(self._wait_s(queue) <= 0 for queue in self._queues.values())

    def _way(self) -> Way:
        alone = not self._running and self.queued_rows <= self.max_rows
        return self._alone if alone else self._shared

    def _work_once(self, way: Way) -> Round:
        work, me = Round(), threading.get_ident()
        try:
            self._running[me] = time.monotonic()  # first: rows are in the queue or in hand
            self._collect(work)
            self._serve(way, work.batch, work)
        except Exception as error:  # whatever it is, the entries in hand are owed an answer
            log.exception("batch of %d entries failed in the loop itself", len(work.batch))
            fault = ModelFault(f"the batch could not be served ({type(error).__name__})")
            with self._lock:
                left = [entry for entry, _, _ in work.batch if self._settle(entry)]
            work.outcomes.extend((entry, fault) for entry in left)
        finally:
            self._running.pop(me, None)
        return work

    def _collect(self, work: Round) -> None:
        """Take up to ``max_rows`` of the shape that has waited longest; settle the late."""
        with self._lock:
            self._drop_dead(work.outcomes)
            due = [queue for queue in self._queues.values() if self._wait_s(queue) <= 0]
            if due:
                self._take(min(due, key=lambda queue: queue[0]), work.batch)
                self._drop_dead(work.outcomes)
            if self._queues and self._threads:
                self._work.notify()

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

    def _wait_s(self, queue: list[Place]) -> float:
        """How long the head still waits for company; 0 unless a delay was asked for."""
        if not self._delay_s or self._closing or not queue:
            return 0.0
        if queue[0][2].settled or sum(e.rows - e.taken for _, _, e in queue) >= self.max_rows:
            return 0.0
        now = time.monotonic()
        company_s = min(entry.arrived for _, _, entry in queue) + self._delay_s - now
        return min(company_s, queue[0][2].deadline - now)

    def _take(self, queue: list[Place], batch: list[Slice[Entry]]) -> None:
        room, now = self.max_rows if self._batches else 1, time.monotonic()
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

    def _serve(self, way: Way, batch: Sequence[Slice[Entry]], work: Round) -> None:
        """Run a batch; on failure halve it until single rows are left, and fail those alone."""
        batch = [piece for piece in batch if not piece[0].settled]
        if not batch:
            return
        rows = sum(stop - start for _, start, stop in batch)
        started = time.monotonic()
        try:
            outputs = way.run(join(batch) if self._batches else batch[0][0].tensors)
            if self._batches:
                checked(outputs, rows)
        except Exception as error:  # noqa: BLE001 - whatever a graph raises is the batch's matter
            work.reports.append(BatchReport(rows, time.monotonic() - started, failed=True))
            if rows == 1:
                self._fail(batch[0], error, work)
                return
            if isinstance(error, OutOfMemory):
                self.max_rows = max(1, min(self.max_rows, rows // 2))
                log.warning("%s: %d rows do not fit the memory; %d at most from now on",
                            self._name, rows, self.max_rows)  # fmt: skip
            for half in halves(batch, rows):
                self._serve(way, half, work)
            return
        spent = time.monotonic() - started
        waits = [entry.queue_s for entry, start, _ in batch if start == 0]
        work.reports.append(BatchReport(rows, spent, waits))
        self._give(batch, outputs, spent, work.outcomes)

    def _fail(self, piece: Slice[Entry], error: Exception, work: Round) -> None:
        entry, row, _ = piece
        log.error("%s: row failed alone: %s", self._name, error, exc_info=error)
        if not isinstance(error, ServiceError):
            error = ModelFault("the model failed on this input", row=row)
        with self._lock:
            if self._settle(entry):
                work.outcomes.append((entry, error))

    def _give(
        self, batch: Sequence[Slice[Entry]], outputs: Tensors, spent: float,
        outcomes: list[Outcome],
    ) -> None:  # fmt: skip
        """Each entry gets its own rows; one that was split waits until all of them are there."""
        offset = 0
        with self._lock:
            for entry, start, stop in batch:
                own = outputs
                if len(batch) > 1 or stop - start < entry.rows:
                    end = offset + stop - start
                    own = {name: array[offset:end] for name, array in outputs.items()}
                    offset = end
                entry.compute_s += spent
                outcome: Delivered | Exception
                try:
                    whole = own if stop - start == entry.rows else entry.add(start, own)
                except ValueError as error:
                    outcome = ModelFault(f"what several runs gave for it cannot be joined: {error}")
                else:
                    if whole is None:
                        continue
                    outcome = Delivered(whole, entry.queue_s, entry.compute_s)
                if self._settle(entry):
                    outcomes.append((entry, outcome))

    def _hand_out(self, work: Round) -> None:
        """On the event loop, once for the whole batch."""
        for report in work.reports:
            try:
                self._tell(report)
            except Exception:
                log.exception("a batch could not be counted")  # its answers are worth more
        for entry, outcome in work.outcomes:
            try:
                entry.done(outcome)
            except Exception:
                log.exception("an answer could not be delivered")  # the others still are


def _nobody(_: Delivered | Exception) -> None:
    """Whom an entry that was given up tells its outcome."""
