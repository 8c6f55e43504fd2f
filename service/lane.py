"""One loaded graph of a version: a runner and the batcher in front of it."""

import asyncio
import itertools
import time
from collections.abc import Callable

import numpy as np

from model_store.bundle import Bundle
from model_store.manifest import Graph
from model_store.spec import Array, Encoded, Tensors
from service.batcher import Batcher
from service.runner import Runner
from service.schema import BatchReport, Delivered, Priority
from service.settings import Settings


class Lane:
    """Takes rows of any shape the graph allows; pads them where the manifest says it may."""

    def __init__(
        self,
        bundle: Bundle,
        graph_name: str,
        *,
        settings: Settings,
        threads: int,
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[BatchReport], None],
    ) -> None:
        """Load the graph. Raises NotReady, CorruptBundle."""
        self.graph: Graph = bundle.manifest.graphs[graph_name]
        self.max_rows = min(self.graph.batching.max_rows, settings.max_batch_rows)
        path = bundle.path(self.graph.file)
        self.runner = Runner(path, device=settings.device, threads=threads)
        self.batcher = Batcher(
            self.runner.run,
            name=f"{bundle.manifest.name}@{bundle.manifest.version}~{graph_name}",
            loop=loop,
            max_rows=self.max_rows,
            max_queue_rows=settings.max_queue_rows,
            delay_s=settings.batch_delay_ms / 1000,
            tell=tell,
        )

    def submit(
        self, tensors: Tensors, deadline: float, priority: Priority
    ) -> "asyncio.Future[Delivered]":
        """Queue rows that :meth:`pad` made of one shape. Raises Overloaded, NotReady."""
        return self.batcher.submit(tensors, deadline, priority)

    def pad(self, encoded: Encoded) -> Tensors:
        """Zeros up to the next length on each axis that may be padded, so that shapes meet."""
        rules = self.graph.batching.pad
        if not rules:
            return encoded.tensors
        return {
            spec.name: _pad(encoded.tensors[spec.name], spec.shape, rules)
            for spec in self.graph.inputs
        }

    def warm_up(self, example: Encoded) -> None:
        """Run one row and a full batch in every bucket, so that no caller is the first."""
        for lengths in self._buckets():
            tensors = {
                spec.name: _fit(encoded, spec.shape, lengths)
                for spec in self.graph.inputs
                for encoded in [example.tensors[spec.name][:1]]
            }
            for rows in {1, self.max_rows}:
                self.runner.run({key: np.repeat(a, rows, axis=0) for key, a in tensors.items()})

    def _buckets(self) -> list[dict[str, int]]:
        rules = self.graph.batching.pad
        lengths = itertools.product(*rules.values())
        return [dict(zip(rules, choice, strict=True)) for choice in lengths]

    @property
    def running_s(self) -> float:
        """How long the run in hand has taken so far; 0 when idle."""
        since = self.batcher.running_since
        return 0.0 if since is None else time.monotonic() - since

    def close(self, *, timeout_s: float) -> None:
        """Finish what is queued, then free the graph."""
        self.batcher.close(timeout_s=timeout_s)
        if not self.batcher.alive:
            self.runner.close()


def _pad(array: Array, shape: tuple[int | str, ...], rules: dict[str, tuple[int, ...]]) -> Array:
    lengths: dict[str, int] = {}
    for axis, label in enumerate(shape):
        steps = rules.get(str(label))
        if steps:
            size = array.shape[axis]
            lengths[str(label)] = next((step for step in steps if step >= size), size)
    return _fit(array, shape, lengths)


def _fit(array: Array, shape: tuple[int | str, ...], lengths: dict[str, int]) -> Array:
    """Cut or zero-pad the named axes to the given lengths."""
    for axis, label in enumerate(shape):
        length = lengths.get(label, array.shape[axis]) if isinstance(label, str) else None
        if length is None or length == array.shape[axis]:
            continue
        if length < array.shape[axis]:
            array = array.take(range(length), axis=axis)
        else:
            widths = [
                (0, length - n if place == axis else 0) for place, n in enumerate(array.shape)
            ]
            array = np.pad(array, widths)
    return array
