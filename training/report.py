"""Pictures and the card: what a person looks at before trusting a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from model_store.manifest import Draft, Provenance
from model_store.spec import Array
from training.fit import History
from training.recipe import Evaluation

DPI = 110
CARD_FILE = "card.md"


def write(
    folder: Path, name: str, draft: Draft, histories: Sequence[History], scores: Evaluation
) -> None:
    """Write ``card.md`` and one PNG per picture."""
    learned = [history for history in histories if history.losses]
    figures = {"learning_curve": learning_curve(learned)} if learned else {}
    figures |= scores.figures
    for stem, figure in figures.items():
        figure.savefig(folder / f"{stem}.png", dpi=DPI, bbox_inches="tight")
    (folder / CARD_FILE).write_text(
        card(name, draft, list(figures), scores.samples), encoding="utf-8"
    )


def card(name: str, draft: Draft, pictures: Sequence[str], samples: str = "") -> str:
    """The model card, after Mitchell et al. 2019 (arXiv 1810.03993): what, how good, from what."""
    rows = [["this model", *(f"{value:.4g}" for value in draft.metrics.values())]]
    for baseline, values in draft.baselines.items():
        cells = (f"{values[metric]:.4g}" if metric in values else "–" for metric in draft.metrics)
        rows.append([baseline.replace("_", " "), *cells])
    header = ["", *(metric.replace("_", " ") for metric in draft.metrics)]
    table = "\n".join(
        "| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]
    )
    worst = max((parity.max_difference for parity in draft.parity.values()), default=None)
    difference = "" if worst is None else f"ONNX Runtime differs from torch by at most {worst:.1e}."
    shown = "\n".join(f"![{stem.replace('_', ' ')}]({stem}.png)" for stem in pictures)
    pictures_section = f"\n## Pictures\n\n{shown}\n" if pictures else ""
    return f"""# {name}

{draft.description}

- Family: {draft.family}. Task: {draft.task}. Verbs: {", ".join(draft.verbs)}.
- Licence: {draft.license}.

## Scores on held-out data

{draft.evaluation}

{table}

{difference}

{f"## Samples{chr(10) * 2}{samples}{chr(10) * 2}" if samples else ""}## Origin

{_origin(draft.provenance)}

{pictures_section}"""


def _origin(origin: Provenance | None) -> str:
    if origin is None:
        return "Unknown."
    license_of_weights = f" (licence: {origin.weights_license})" if origin.weights_license else ""
    settings = ", ".join(f"{key}={value}" for key, value in origin.config.items())
    memory = (
        f" with {origin.peak_memory_bytes / 1e9:.1f} GB of memory at most"
        if origin.peak_memory_bytes
        else ""
    )
    return f"""- Data: {origin.data} (licence: {origin.data_license}).
- Weights: {origin.weights}{license_of_weights}.
- Made by `modelhub train {origin.order}` in \
{origin.train_seconds:.0f} s of training{memory} ({settings})."""


def learning_curve(histories: Sequence[History]) -> Figure:
    """Training and validation loss by epoch; a mark where the published weights come from."""
    figure = Figure(figsize=(6, 3.6))
    axes = figure.subplots()
    for place, history in enumerate(histories):
        fold = f" (fold {place + 1})" if len(histories) > 1 else ""
        epochs = range(1, history.epoch + 1)
        for name, losses in history.losses.items():
            axes.plot(epochs, losses, alpha=0.7, label=f"training, {name}{fold}")
        line = axes.plot(epochs, history.validation, "--", label=f"validation{fold}")[0]
        best = history.best_epoch
        axes.plot(best + 1, history.validation[best], "o", color=line.get_color())
    axes.set(xlabel="epoch", ylabel="loss")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def confusion_matrix(truth: Array, guess: Array, labels: Sequence[str]) -> Figure:
    """Counts of int ``[N]`` guesses against int ``[N]`` truths."""
    counts = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(counts, (truth, guess), 1)
    shades = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    side = max(3.2, 0.48 * len(labels) + 1.2)
    figure = Figure(figsize=(side, side))
    axes = figure.subplots()
    axes.imshow(np.sqrt(shades), cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= 20:
        for row, column in np.ndindex(*counts.shape):
            if counts[row, column]:
                colour = "white" if shades[row, column] > 0.4 else "black"
                axes.text(column, row, str(counts[row, column]), ha="center", va="center",
                          color=colour, fontsize=8)  # fmt: skip
    beside = len(labels) <= 10 and max(map(len, labels)) <= 6  # else they would run into another
    axes.set_xticks(range(len(labels)), labels, rotation=0 if beside else 90)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="answered", ylabel="true")
    return figure


def image_grid(images: Array, titles: Sequence[str] | None = None, columns: int = 10) -> Figure:
    """uint8 ``[N, C, H, W]`` as a sheet of thumbnails."""
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(0.75 * columns, (0.95 if titles else 0.75) * rows))
    cells = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for cell in cells:
        cell.axis("off")
    for place, (cell, image) in enumerate(zip(cells, images, strict=False)):
        options: Mapping[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}
        cell.imshow(image[0] if len(image) == 1 else image.transpose(1, 2, 0), **options)
        if titles:
            cell.set_title(titles[place], fontsize=7, pad=2)
    return figure
