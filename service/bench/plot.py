"""The picture of a bench: throughput under its ceilings, and latency. The only file that draws."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.bench.errors import BenchError
from service.bench.report import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"binary": "tab:blue", "json": "tab:orange"}
CEILINGS = {"onnxruntime": ("graph alone", "--"), "echo": ("echo", ":")}
WIDTH_IN, HEIGHT_IN = 11.0, 3.4


def check_library() -> None:
    """Raises BenchError where matplotlib is missing; better now than after an hour."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise BenchError("--plot needs matplotlib: pip install 'modelhub[bench]'") from None


def draw(records: Sequence[Record], path: Path) -> None:
    """A row of two pictures for each model. Raises OSError, ValueError (an unknown ending)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [record for record in records if record["p50_ms"] is not None]
    models = list(dict.fromkeys(record["model"] for record in shown))
    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN * max(1, len(models))), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(max(1, len(models)), 2, squeeze=False)
    for model, (left, right) in zip(models, grid, strict=False):
        of_model = [record for record in shown if record["model"] == model]
        _throughput(left, of_model)
        _latency(right, of_model)
        left.set_title(model)
    figure.savefig(path)


def _throughput(axes: "Axes", records: Sequence[Record]) -> None:
    for body, series in _series(records).items():
        loads = [_load(record) for record in series]
        axes.plot(loads, [r["rows_per_s"] for r in series], "o-", color=COLOURS[body], label=body)
        for name, (words, style) in CEILINGS.items():
            pairs = [
                (load, record["ceilings"][name]["rows_per_s"])
                for load, record in zip(loads, series, strict=True)
                if name in record["ceilings"]
            ]
            if pairs:
                axes.plot(*zip(*pairs, strict=True), style, color=COLOURS[body], alpha=0.7,
                          label=f"{words}, {body}")  # fmt: skip
    _finish(axes, "rows/s")


def _latency(axes: "Axes", records: Sequence[Record]) -> None:
    for body, series in _series(records).items():
        loads = [_load(record) for record in series]
        for percent, style in ((50, "o-"), (99, "o:")):
            values = [record[f"p{percent}_ms"] for record in series]
            axes.plot(loads, values, style, color=COLOURS[body], label=f"p{percent}, {body}")
    _finish(axes, "ms")


def _finish(axes: "Axes", unit: str) -> None:
    axes.set_ylabel(unit)
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _series(records: Sequence[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record["body"], []).append(record)
    return found


def _load(record: dict[str, Any]) -> str:
    rate = record.get("rate")
    return f"{record['concurrency']:.0f} connections" if rate is None else f"{rate:g}/s"
