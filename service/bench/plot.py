"""The picture of a bench: throughput under its ceilings, and latency. The only file that draws."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from service.bench.errors import BenchError
from service.bench.report import Record, load

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"binary": "tab:blue", "json": "tab:orange"}
CEILINGS = {"onnxruntime": ("graph alone", "--"), "echo": ("HTTP echo", ":")}
WIDTH_IN, HEIGHT_IN = 12.0, 3.4


def check_library() -> None:
    """Raises BenchError where matplotlib is missing; better now than when all is measured."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise BenchError("--plot needs matplotlib: pip install 'modelhub[bench]'") from None


def draw(records: Sequence[Record], path: Path) -> None:
    """A row of two pictures for each model. Raises OSError, ValueError (an unknown ending)."""
    from matplotlib.figure import Figure

    shown = [record for record in records if record["p50_ms"] is not None]
    models = list(dict.fromkeys(record["model"] for record in shown))
    rows = max(1, len(models))
    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN * rows), layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False)
    for model, (left, right) in zip(models, grid, strict=False):
        of_model = [record for record in shown if record["model"] == model]
        for series in _series(of_model):
            _draw_throughput(left, series)
            _draw_latency(right, series)
        _finish(left, f"{model}: rows/s")
        _finish(right, f"{model}: latency in ms")
    figure.savefig(path)


def _series(records: Sequence[Record]) -> list[list[Record]]:
    """What is joined by a line: one kind of body, closed or open loop."""
    found: dict[tuple[str, bool], list[Record]] = {}
    for record in records:
        found.setdefault((record["body"], "rate" in record), []).append(record)
    return list(found.values())


def _draw_throughput(axes: "Axes", series: Sequence[Record]) -> None:
    body, loads = series[0]["body"], [load(record) for record in series]
    colour = COLOURS[body]
    axes.plot(loads, [record["rows_per_s"] for record in series], "o-", color=colour, label=body)
    for name, (words, style) in CEILINGS.items():
        if all(name in record["ceilings"] for record in series):
            values = [record["ceilings"][name]["rows_per_s"] for record in series]
            axes.plot(loads, values, style, color=colour, alpha=0.7, label=f"{words}, {body}")


def _draw_latency(axes: "Axes", series: Sequence[Record]) -> None:
    body, loads = series[0]["body"], [load(record) for record in series]
    for percent, style in ((50, "o-"), (99, "o:")):
        values = [record[f"p{percent}_ms"] for record in series]
        axes.plot(loads, values, style, color=COLOURS[body], label=f"p{percent}, {body}")


def _finish(axes: "Axes", title: str) -> None:
    axes.set_title(title, fontsize="medium")
    axes.set_yscale("log")
    axes.grid(which="both", axis="y", alpha=0.2)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
