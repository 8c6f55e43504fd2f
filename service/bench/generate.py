"""``modelhub bench --generate``: texts streamed by many clients, beside the graph alone."""

import argparse
import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from model_store.manifest import MAIN_GRAPH
from model_store.store import Store
from service.bench import interruption, report, servers
from service.bench.bare_decoder import BareDecoder
from service.bench.control import Control
from service.bench.errors import BenchError
from service.bench.report import Column, Record
from service.bench.texts import Heard, Task, Tokenizer, listen, tasks
from service.bench.windows import AGREE, WITHIN, percentile
from service.runner import cpu_budget

CONCURRENCY, STREAMS = (1, 16), 8
TEXTS = 4
"""For each connection, in a window."""


@dataclass
class Cell:
    """One model said to so many clients: windows, each with the bare loop beside it."""

    model: str
    connections: int
    windows: list[Heard] = field(default_factory=list)
    alone: list[Heard] = field(default_factory=list)
    server_cpu_s: list[float] = field(default_factory=list)

    @property
    def last(self) -> list[Heard]:
        return self.windows[-AGREE:]

    @property
    def stable(self) -> bool:
        rates = [heard.tokens_per_s for heard in self.last]
        return len(rates) == AGREE and max(rates) <= WITHIN * min(rates)

    @property
    def ratios(self) -> list[float]:
        pairs = zip(self.windows, self.alone, strict=False)
        return [heard.tokens_per_s / alone.tokens_per_s for heard, alone in pairs]


def run(arguments: argparse.Namespace) -> Iterator[Cell]:
    """Yields each cell when it is done. Raises BenchError."""
    with _served(arguments) as (control, process, models):
        for model in models:
            with _tokenizer(control, model) as tokenizer:
                for connections in arguments.concurrency or CONCURRENCY:
                    cell = Cell(model, connections)
                    _measure(cell, arguments, control, tokenizer, process)
                    yield cell


def interrupt(arguments: argparse.Namespace) -> Iterator[Record]:
    """The same for a long prompt among so many streams. Raises BenchError."""
    with _served(arguments) as (control, _, models):
        for model in models:
            with _tokenizer(control, model) as tokenizer:
                for streams in arguments.concurrency or (STREAMS,):
                    yield interruption.measure(
                        control, model, tokenizer, streams, arguments.long_prompt,
                        arguments.max_windows, arguments.seed,
                    )  # fmt: skip


@contextlib.contextmanager
def _served(
    arguments: argparse.Namespace,
) -> Iterator[tuple[Control, servers.Process | None, list[str]]]:
    """A server, its process where it was started here, and the models to measure."""
    with contextlib.ExitStack() as stack:
        process = None if arguments.url else stack.enter_context(servers.hub(arguments.store))
        control = Control(process.url if process else arguments.url, dict(arguments.header))
        there = control.writers()
        models = arguments.models or there
        if not models:
            raise BenchError(f"{control.url} has no model that says text")
        for model in models:
            if model not in there:
                raise BenchError(f"model {model}: expected one of {', '.join(there) or 'none'}")
        yield control, process, models


def _measure(
    cell: Cell, arguments: argparse.Namespace, control: Control, tokenizer: Tokenizer,
    process: servers.Process | None,
) -> None:  # fmt: skip
    bare = _bare(arguments, cell) if arguments.limits else None
    number = arguments.texts or TEXTS * cell.connections
    for window in range(arguments.max_windows + 1):
        # Other prompts each time: those that were read before need not be read again.
        work = tasks(number, tokenizer, arguments.seed * 1000 + window)
        before = process.cpu_s() if process else None
        heard = listen(control, cell.model, work, cell.connections)
        if not window:
            continue  # warm-up
        after = process.cpu_s() if process else None
        cell.windows.append(heard)
        if before is not None and after is not None:
            cell.server_cpu_s.append((after - before) / heard.tokens)
        if bare:
            cell.alone.append(bare(work))
        if cell.stable:
            return


def _bare(arguments: argparse.Namespace, cell: Cell) -> Callable[[list[Task]], Heard]:
    if not arguments.store:
        raise BenchError("--limits needs --store: the graph is run from there")
    bundle = Store(arguments.store).open(cell.model)
    graphs = bundle.manifest.graphs
    verb = bundle.manifest.verbs.get("generate")
    graph = graphs[verb.graph if verb else MAIN_GRAPH]
    return BareDecoder(bundle, graph, cell.connections, cpu_budget()).say


@contextlib.contextmanager
def _tokenizer(control: Control, model: str) -> Iterator[Tokenizer]:
    """The model's own, from the server."""
    reply = control.call("GET", f"/v1/models/{model}/files/tokenizer.json")
    if reply.status != 200:
        raise BenchError(f"model {model}: its tokenizer is not there ({reply.reason})")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_bytes(reply.body)
        yield Tokenizer(str(path))


def record(cell: Cell) -> Record:
    """A cell's numbers: the last windows together, ratios of all."""
    seconds = sum(heard.seconds for heard in cell.last)
    tokens = sum(heard.tokens for heard in cell.last)
    first_s = [value for heard in cell.last for value in heard.first_s]
    gaps_s = [value for heard in cell.last for value in heard.gaps_s]
    found: Record = {
        "model": cell.model,
        "concurrency": cell.connections,
        "windows": len(cell.windows),
        "stable": cell.stable,
        "tokens_per_s": tokens / seconds if seconds else 0.0,
        **{f"first_p{n}_ms": percentile(first_s, n) * 1e3 for n in (50, 95)},
        **{f"gap_p{n}_ms": percentile(gaps_s, n) * 1e3 for n in (50, 95, 99)},
        "server_cpu_ms_per_token": median(cell.server_cpu_s) * 1e3 if cell.server_cpu_s else None,
        "bare_tokens_per_s": None,
        "ratio": None,
    }
    if cell.alone:
        found["bare_tokens_per_s"] = median(heard.tokens_per_s for heard in cell.alone)
        found["ratio"] = median(cell.ratios)
        found["ratio_low"], found["ratio_high"] = min(cell.ratios), max(cell.ratios)
    return found


def write(arguments: argparse.Namespace, records: list[Record], columns: Sequence[Column]) -> None:
    """What ``--json`` and ``--markdown`` ask for. Raises BenchError."""
    try:
        if arguments.json:
            document = {"machine": report.machine(), "cells": records}
            arguments.json.write_text(json.dumps(document, indent=1) + "\n")
        if arguments.markdown:
            arguments.markdown.write_text(report.markdown(records, list(columns)))
    except OSError as error:
        raise BenchError(f"cannot write: {error}") from None


def columns(*, limits: bool) -> list[Column]:
    """Those of a run, with or without the graph alone."""
    plain: tuple[tuple[str, int, str], ...] = (
        ("tokens/s", 8, "tokens_per_s"),
        ("first p50 ms", 12, "first_p50_ms"), ("first p95 ms", 12, "first_p95_ms"),
        ("gap p50 ms", 10, "gap_p50_ms"), ("gap p95 ms", 10, "gap_p95_ms"),
        ("gap p99 ms", 10, "gap_p99_ms"),
        *((("bare tokens/s", 13, "bare_tokens_per_s"),) if limits else ()),
    )  # fmt: skip
    found = [
        Column("model", 20, lambda found: str(found["model"])),
        Column("body", 6, lambda _: "text"),
        Column("load", 5, report.load),
        *(Column(title, width, _number(key)) for title, width, key in plain),
    ]
    if limits:
        found.append(Column("of it", 16, _ratio))
    return [*found, Column("remarks", 0, lambda found: "" if found["stable"] else "not stable")]


def _number(key: str) -> Callable[[Record], str]:
    return lambda found: report.number(found[key])


def _ratio(found: Record) -> str:
    if found["ratio"] is None:
        return report.NOTHING
    return f"{found['ratio']:.2f} ({found['ratio_low']:.2f}–{found['ratio_high']:.2f})"
