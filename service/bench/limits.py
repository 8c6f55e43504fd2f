"""The graph itself, run in this process without a server: the most rows any server could answer.

Knows no HTTP. Threads, batch size and session are searched for, so that the ceiling is a fair one.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from model_store.manifest import MAIN_GRAPH
from model_store.places import Place, open_store
from service.bench.errors import BenchError
from service.bench.tensors import Tensors
from service.devices import cuda_of
from service.sessions import open_session
from service.settings import Settings

MAX_BATCH_ROWS = 64
TRY_S = 0.15
TRIES = 3
"""Each layout is tried this often, in turns, and its best time counts: a neighbour on the machine
may spoil one of them.
"""
CLOSE = 0.8
"""A way to share the cores that comes this near to the best is looked at beside it each time."""
ERROR = 3


@dataclass(frozen=True)
class Layout:
    """How the graph is run: by ``callers`` at a time, each with ``threads`` threads and ``batch``
    requests a run.
    """

    callers: int
    threads: int
    batch: int

    def __str__(self) -> str:
        return f"{self.callers} × {self.threads} threads, batch {self.batch}"


def layouts(concurrency: int, rows: int, cores: int, *, batches: bool) -> list[Layout]:
    """All that so many requests in flight can fill, each of so many rows: one caller that has
    every core, or callers with a core each.
    """
    most = max(1, MAX_BATCH_ROWS // rows) if batches else 1
    sides = {(1, cores): None, (min(concurrency, cores), 1): None}
    return [
        Layout(callers, threads, batch)
        for callers, threads in sides
        for batch in _sizes(min(concurrency // callers, most))
    ]


def _sizes(most: int) -> Iterator[int]:
    """1, 2, 4, … and ``most`` itself."""
    size = 1
    while size < most:
        yield size
        size *= 2
    yield most


class Graph:
    """One ONNX file and real requests for it. Sessions are made when they are first needed."""

    def __init__(self, path: Path, bodies: list[Tensors]) -> None:
        self._path, self._bodies = path, bodies
        self._sessions: dict[int, Any] = {}
        self._rates: dict[Layout, float] = {}

    def best(self, candidates: list[Layout]) -> list[Layout]:
        """The fastest of these, and the fastest of the other ways to share the cores where it comes
        close. What was tried for other candidates is remembered.
        """
        new = [layout for layout in candidates if layout not in self._rates]
        for _ in range(TRIES):
            for layout in new:
                rate = self.requests_per_s(layout, TRY_S)
                self._rates[layout] = max(rate, self._rates.get(layout, 0.0))
        ranked = sorted(candidates, key=lambda layout: -self._rates[layout])
        first = {layout.threads: layout for layout in reversed(ranked)}
        least = CLOSE * self._rates[ranked[0]]
        return [layout for layout in first.values() if self._rates[layout] >= least]

    def most_per_s(self, layouts: list[Layout], seconds: float) -> float:
        """The best of these now, in requests a second; they share the time."""
        return max(self.requests_per_s(layout, seconds / len(layouts)) for layout in layouts)

    def requests_per_s(self, layout: Layout, seconds: float) -> float:
        """Raises BenchError where the graph cannot be run here."""
        session = self._session(layout.threads)
        feed = self._feed(layout.batch)

        def call(_: int) -> float:
            begin_s = time.perf_counter()
            now_s, runs = begin_s, 0
            while now_s - begin_s < seconds:
                session.run(None, feed)
                runs += 1
                now_s = time.perf_counter()
            return runs * layout.batch / (now_s - begin_s)

        with ThreadPoolExecutor(layout.callers) as pool:
            return sum(pool.map(call, range(layout.callers)))

    def _session(self, threads: int) -> Any:
        if threads not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            # The server leaves the cores to others while it waits; so does its ceiling.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.log_severity_level = ERROR
            settings = Settings()  # those of the server that it is compared with
            try:
                session = open_session(self._path, options, settings.device, cuda_of(settings))
                session.run(None, self._feed(1))
            except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a class per kind of damage
                raise BenchError(f"{self._path} cannot be run here: {error}") from None
            self._sessions[threads] = session
        return self._sessions[threads]

    def _feed(self, batch: int) -> Tensors:
        if batch == 1:
            return self._bodies[0]
        chosen = [self._bodies[place % len(self._bodies)] for place in range(batch)]
        return {name: np.concatenate([body[name] for body in chosen]) for name in chosen[0]}


def graph_path(store: Place, model: str) -> Path:
    """The file behind a model's name in the V2 protocol. Raises StoreError, BenchError."""
    ref, _, graph = model.partition("~")
    bundle = open_store(store).open(ref)
    graphs = bundle.manifest.graphs
    found = graphs.get(graph or MAIN_GRAPH)
    if found is None and graph:
        raise BenchError(f"model {model}: {ref} has the graphs {', '.join(graphs)}")
    for name in bundle.manifest.files:
        bundle.path(name)  # of a bucket, what the graph reads beside it is fetched, too
    return bundle.path((found or next(iter(graphs.values()))).file)
