"""What a bench found: records for programs, tables for people. Prints nothing, draws nothing."""

import math
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import reduce
from importlib.metadata import version
from statistics import median
from typing import Any, NamedTuple, TypeAlias

from service.bench.plan import Plan
from service.bench.split import STAGES, Split
from service.bench.windows import Ceiling, Cell, percentile

Record: TypeAlias = dict[str, Any]
NOTHING = "–"


def record(cell: Cell) -> Record:
    """A cell's numbers: throughput and latency of the last windows together, ratios of all."""
    takes = [window.take for window in cell.last]
    seconds, completed = sum(take.seconds for take in takes), sum(take.completed for take in takes)
    latencies_s = [value for take in takes for value in take.latencies_s]
    refused_s = [value for take in takes for value in take.refused_s]
    requests_per_s = completed / seconds if seconds else 0.0
    return {
        "model": cell.model,
        "body": cell.body,
        cell.kind: cell.load,
        "rows_per_request": cell.rows,
        "windows": len(cell.windows),
        "stable": cell.stable,
        "requests_per_s": requests_per_s,
        "rows_per_s": requests_per_s * cell.rows,
        **{f"p{n}_ms": _ms(percentile(latencies_s, n)) for n in (50, 90, 99)},
        "server": _server(cell),
        "late": sum(take.late for take in takes),
        "dropped": sum(take.dropped for take in takes),
        "refused": len(refused_s),
        "refused_p99_ms": _ms(percentile(refused_s, 99)),
        "of_peak": requests_per_s / cell.peak_per_s if cell.peak_per_s else None,
        "errors": dict(cell.errors),
        "answers_compared": cell.checked,
        "client_cpu_us_per_request": _us(sum(take.client_cpu_s for take in takes), completed),
        "server_cpu_us_per_request": _server_cpu(cell),
        "ceilings": {name: _ceiling(cell, found) for name, found in cell.ceilings.items()},
    }


def _ms(seconds: float) -> float | None:
    return None if math.isnan(seconds) else seconds * 1e3


def _us(seconds: float, number: int) -> float | None:
    return seconds / number * 1e6 if number else None


def _server(cell: Cell) -> Record | None:
    splits = [window.split for window in cell.last if window.split]
    if not splits:
        return None
    split = reduce(Split.and_also, splits)
    return {f"{stage}_ms": split.ms(stage) for stage in STAGES} | {
        "rows_per_run": split.rows_per_run
    }


def _server_cpu(cell: Cell) -> float | None:
    used = [(w.server_cpu_s, w.take.answered) for w in cell.last if w.server_cpu_s is not None]
    return _us(sum(cpu_s for cpu_s, _ in used), sum(number for _, number in used))


def _ceiling(cell: Cell, found: Ceiling) -> Record:
    per_s = median(found.per_s) if found.per_s else None
    ratios = found.ratios
    return {
        "requests_per_s": per_s,
        "rows_per_s": None if per_s is None else per_s * cell.rows,
        "ratio": median(ratios) if ratios else None,
        "ratio_low": min(ratios, default=None),
        "ratio_high": max(ratios, default=None),
        "pairs": len(ratios),
        "detail": found.detail,
    }


def machine() -> Record:
    """What it was measured on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "modelhub": version("modelhub"),
    }


def document(records: Sequence[Record], plan: Plan, url: str, notes: Sequence[str]) -> Record:
    """All of a run, for ``--json``."""
    return {
        "url": url,
        "machine": machine(),
        "plan": asdict(plan),
        "notes": list(notes),
        "cells": list(records),
    }


# --- tables ------------------------------------------------------------------------------------


class Column(NamedTuple):
    """A column of the table."""

    title: str
    width: int
    show: Callable[[Record], str]


def columns(*, limits: bool) -> list[Column]:
    """Those of a run, with or without the ceilings."""
    return [*_COLUMNS, *(_LIMITS if limits else ()), Column("remarks", 0, _remarks)]


def row(record: Record, columns: Sequence[Column]) -> list[str]:
    return [column.show(record) for column in columns]


def line(cells: Sequence[str], columns: Sequence[Column]) -> str:
    """A row for the terminal: words to the left, numbers to the right."""
    parts = [
        cell.ljust(column.width) if place < WORDS else cell.rjust(column.width)
        for place, (cell, column) in enumerate(zip(cells, columns, strict=True))
    ]
    return "  ".join(parts).rstrip()


def markdown(records: Sequence[Record], columns: Sequence[Column]) -> str:
    """The same as a table in Markdown."""
    rows = [[column.title for column in columns], ["---"] * WORDS]
    rows[1] += ["--:"] * (len(columns) - WORDS)
    rows += [row(record, columns) for record in records]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def number(value: float | None) -> str:
    """Three digits that count; no more is known."""
    if value is None:
        return NOTHING
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def load(record: Record) -> str:
    rate = record.get("rate")
    return f"c={record['concurrency']:.0f}" if rate is None else f"{rate:g}/s"


def _stage(name: str) -> Callable[[Record], str]:
    return lambda record: number((record["server"] or {}).get(name))


def _plain(name: str) -> Callable[[Record], str]:
    return lambda record: number(record[name])


def _limit(ceiling: str, name: str) -> Callable[[Record], str]:
    return lambda record: number(record["ceilings"].get(ceiling, {}).get(name))


def _ratio(ceiling: str) -> Callable[[Record], str]:
    def show(record: Record) -> str:
        found = record["ceilings"].get(ceiling, {})
        if found.get("ratio") is None:
            return NOTHING
        return f"{found['ratio']:.2f} ({found['ratio_low']:.2f}–{found['ratio_high']:.2f})"

    return show


def _remarks(record: Record) -> str:
    found = [f"{number} × {what}" for what, number in record["errors"].items()]
    found += [f"{record[what]} {what}" for what in ("late", "dropped") if record[what]]
    if record["refused"]:
        found.append(f"{record['refused']} refused, p99 {number(record['refused_p99_ms'])} ms")
    if record["of_peak"] is not None:
        found.append(f"{record['of_peak']:.2f} of the peak")
    if not record["stable"]:
        found.append("not stable")
    return ", ".join(found)


WORDS = 3
"""So many columns hold words."""
_COLUMNS = (
    Column("model", 14, lambda record: str(record["model"])),
    Column("body", 6, lambda record: str(record["body"])),
    Column("load", 7, load),
    Column("requests/s", 10, _plain("requests_per_s")),
    Column("rows/s", 7, _plain("rows_per_s")),
    Column("p50 ms", 6, _plain("p50_ms")),
    Column("p90 ms", 6, _plain("p90_ms")),
    Column("p99 ms", 6, _plain("p99_ms")),
    Column("queue ms", 8, _stage("queue_ms")),
    Column("in ms", 6, _stage("compute_input_ms")),
    Column("infer ms", 8, _stage("compute_infer_ms")),
    Column("out ms", 6, _stage("compute_output_ms")),
    Column("rows/run", 8, _stage("rows_per_run")),
)
_LIMITS = (
    Column("graph rows/s", 12, _limit("onnxruntime", "rows_per_s")),
    Column("of it", 16, _ratio("onnxruntime")),
    Column("echo req/s", 10, _limit("echo", "requests_per_s")),
    Column("of it", 16, _ratio("echo")),
)
