"""Every recipe trained once, and the table of what came of it.

What the store has is not trained again, and a run that was killed goes on from its checkpoint.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import onnx
from rich.console import Console
from safetensors import safe_open

from model_store.bundle import Bundle
from model_store.places import Place, open_store
from training import recipe as recipes
from training import side_by_side, weights

BEGIN, END = "<!-- every model: begin -->", "<!-- every model: end -->"
"""Where a Markdown file has both, the table replaces what is between."""
HEADER = (
    "model", "score", "best baseline, same run", "seconds", "peak GB", "parameters", "MB",
)  # fmt: skip


class Row(NamedTuple):
    """One model, as the table says it."""

    name: str
    score: str
    baseline: str
    seconds: str
    peak: str
    parameters: str
    size: str


def train(store: Place, console: Console) -> dict[str, str]:
    """Every recipe that the store has no version of. Which failed, and why."""
    present = set(open_store(store).names())
    wanted = [name for name in recipes.names() if name not in present]
    return side_by_side.train(wanted, store, console, resume=True)


def rows(store: Place, failed: Mapping[str, str]) -> list[Row]:
    """Of every recipe, by name: its newest version in the store, or why there is none."""
    opened = open_store(store)
    present = set(opened.names())
    return [
        _row(name, opened.open(name))
        if name in present
        else Row(name, failed.get(name, "not trained"), *[""] * 5)
        for name in recipes.names()
    ]


def _row(name: str, bundle: Bundle) -> Row:
    manifest, origin = bundle.manifest, bundle.manifest.provenance
    metric, value = next(iter(manifest.metrics.items()))
    found = {key: values[metric] for key, values in manifest.baselines.items() if metric in values}
    best = min if recipes.find(name).lower_is_better else max
    nearest = best(found, key=found.__getitem__) if found else ""
    return Row(
        name,
        f"{metric.replace('_', ' ')} {value:.4g}",
        f"{nearest.replace('_', ' ')} {found[nearest]:.4g}" if nearest else "",
        f"{origin.train_seconds:,.0f}" if origin else "",
        f"{origin.peak_memory_bytes / 1e9:.1f}" if origin and origin.peak_memory_bytes else "",
        f"{parameters(bundle):,}",
        f"{manifest.size_bytes / 1e6:.1f}",
    )


def parameters(bundle: Bundle) -> int:
    """Numbers in what was trained or, where nothing was, in its graphs."""
    if weights.FILE in bundle.manifest.files:
        with safe_open(bundle.path(weights.FILE), "pt") as file:
            keys = file.keys()
            return sum(math.prod(file.get_slice(key).get_shape()) for key in keys)
    return sum(
        math.prod(tensor.dims)
        for graph in bundle.manifest.graphs.values()
        for tensor in onnx.load(bundle.path(graph.file)).graph.initializer
    )


def markdown(found: list[Row]) -> str:
    lines = [HEADER, ("---", "---", "---", "--:", "--:", "--:", "--:")]
    cells = [*lines, *((f"`{row.name}`", *row[1:]) for row in found)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells) + "\n"


def write(table: str, path: Path) -> None:
    """Between the marks of a file that has them; else it is the file. Raises OSError."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        table = f"{before}{begin}\n\n{table}\n{end}{after}"
    path.write_text(table, encoding="utf-8")
