"""A batcher that makes spans of its work. Where no traces are made nothing here is used."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from model_store.spec import Tensors
from service.batcher import Batcher
from service.entry import Done, Entry, Round, Way
from service.schema import Delivered, Priority
from service.slices import Slice
from service.tracing import Piece, Tracing


class TracedBatcher(Batcher):
    """Each entry remembers the trace it was submitted in, each run becomes a batch's span."""

    def __init__(self, tracing: Tracing, alone: Way, **options: Any) -> None:
        self._tracing = tracing
        super().__init__(alone, **options)

    def submit(
        self, tensors: Tensors, deadline: float, done: Done, priority: Priority = Priority.NORMAL
    ) -> Entry:
        context = self._tracing.current()
        return super().submit(tensors, deadline, _Traced(done, context), priority)

    def _serve(self, way: Way, batch: Sequence[Slice[Entry]], work: Round) -> None:
        batch = [piece for piece in batch if not piece[0].settled]
        pieces = [
            Piece(entry.done.context, entry.arrived, entry.arrived + entry.queue_s, start == 0)
            for entry, start, _ in batch
            if isinstance(entry.done, _Traced)
        ]
        place, started = len(work.reports), time.monotonic()
        super()._serve(way, batch, work)
        if place < len(work.reports):
            own = work.reports[place]  # those behind it are of the halves, where it failed
            ended = started + own.compute_s
            self._tracing.batch(self._name, pieces, started, ended, failed=own.failed)


class _Traced:
    """Whom to tell of an outcome, and the trace of the request it is for."""

    __slots__ = ("_tell", "context")

    def __init__(self, tell: Callable[[Delivered | Exception], None], context: Any) -> None:
        self._tell, self.context = tell, context

    def __call__(self, outcome: Delivered | Exception) -> None:
        self._tell(outcome)
