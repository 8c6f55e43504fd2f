"""Says for each pixel of a photograph which emoji it is of, or none: a small U-Net (arXiv
1505.04597).

Four classes of those that ``training/data/emoji_scenes.py`` has, each drawn alike enough to be told
from a part of it, and the photograph; held out are whole emoji (both vendors' drawings) and whole
photographs. The white that pads a picture counts as photograph. On 300 pictures, quick profile,
seed 0 alone, 633 s of training on a busy core:

==========================================  ========  ===========
..                                          mean IoU  worst class
==========================================  ========  ===========
this one                                    0.802     0.642
logistic regression on colours of pixels    0.269     0.002
the commonest class everywhere              0.168     0.000
==========================================  ========  ===========

By class: none 0.95, button 0.88, face 0.79, clock 0.75, flag 0.64. With six epochs and width 6,
when the validation loss still fell, it was 0.712.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from model_store.answers.image import png
from model_store.answers.mask import MaskAnswer
from model_store.inputs.image import ImageInput
from model_store.manifest import Batching, Category, Family, Verb
from training.data import emoji_scenes, own_masks, scenes
from training.data.scenes import Scenes
from training.parts import unet
from training.parts.pixel_colours import PixelColours
from training.recipe import MAIN_GRAPH, Config, Evaluation, GraphExport, Networks, Package, Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Batch = tuple[Tensor, Tensor]
"""Pixels uint8 ``[B, 3, S, S]`` and masks uint8 ``[B, S, S]``."""
CLASSES = ("button", "clock", "face", "flag")
"""Of those in ``training/data/emoji_scenes.py``, whose members look alike."""
GROUND = "none"
MAX_ROWS = 16
WEIGHED = 64
"""Pictures that tell how rare each class is."""
SHOWN = 8
NETWORK = "unet"


class SegmenterConfig(Config):
    """Settings of ``cnn_segmenter``."""

    size: int = Field(default=96, ge=32, multiple_of=16, description="side of the pictures seen")
    width: int = Field(default=8, ge=2, description="channels of the finest level")
    epoch_steps: int = Field(default=100, ge=1, description="batches an epoch")
    held_out: int = Field(default=300, ge=2, description="pictures composed to test on")


class CnnSegmenter(Recipe[SegmenterConfig]):
    """Image → a class for each pixel."""

    family: ClassVar[Family] = "cnn"
    category: ClassVar[Category] = "vision"
    task = "image-segmentation"
    description = (
        "Says for each pixel of a photograph which emoji it is of: a button, a clock, a face, a"
        " flag, or none."
    )
    data_formats = own_masks.MASKS_FORMAT
    profiles: ClassVar[Mapping[str, Config]] = {
        "quick": SegmenterConfig(
            epochs=14, batch_size=16, learning_rate=4e-3, weight_decay=0.02, clip_norm=5.0,
            average=0.98,
        ),
        "full": SegmenterConfig(
            epochs=40, batch_size=16, learning_rate=4e-3, weight_decay=0.02, clip_norm=5.0,
            average=0.995, patience=40, size=128, width=8,
        ),
    }  # fmt: skip
    smoke: ClassVar[Mapping[str, Any]] = {
        "epochs": 1, "epoch_steps": 3, "batch_size": 8, "held_out": 24, "size": 48, "width": 3,
    }  # fmt: skip

    def load(self, data: Path | None) -> None:
        size, seed = self.config.size, self.config.seed
        self.input = ImageInput(height=size, width=size, fit="pad")
        if data is None:
            self.parts = emoji_scenes.composed(size, seed, self.config.held_out, CLASSES)
            self.names: tuple[str, ...] = (GROUND, *CLASSES)
        else:
            found = own_masks.read(data, self.input)
            self.parts = scenes.own(found.scenes, found.names, found.source, seed)
            self.names = found.names
        self.data_source, self.data_license = self.parts.source, self.parts.license
        some = self.parts.train.compose(WEIGHED, np.random.default_rng([seed, 5]))
        self.balance = unet.weights(some.masks, len(self.names))

    def steps(self, fold: int) -> int:
        del fold
        return self.config.epoch_steps

    def batches(self, fold: int, epoch: int) -> Iterable[Batch]:
        for step in range(self.config.epoch_steps):
            random = np.random.default_rng([self.config.seed, fold, epoch, step])
            made = self.parts.train.compose(self.config.batch_size, random)
            yield made.images, made.masks

    def build(self, fold: int) -> Networks:
        del fold
        return {NETWORK: unet.UNet(self.config.width, len(self.names))}

    def step(self, networks: Networks, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        pixels, masks = batch
        yield NETWORK, unet.loss(networks[NETWORK](pixels.float() / 255), masks, self.balance)

    def validate(self, networks: Networks, fold: int) -> float:
        del fold
        network, held = networks[NETWORK], self.parts.validation
        device = next(network.parameters()).device
        total = 0.0
        for rows in torch.split(torch.arange(len(held)), MAX_ROWS):
            logits = network(held.images[rows].to(device).float() / 255)
            total += float(unet.loss(logits, held.masks[rows].to(device), self.balance)) * len(rows)
        return total / len(held)

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        test, seed = self.parts.test, self.config.seed
        served = unet.Masks(fitted[-1][NETWORK])
        found = torch.cat([served(part) for part in torch.split(test.images, MAX_ROWS)])
        learned = self.parts.train.compose(WEIGHED, np.random.default_rng([seed, 7]))
        colours = PixelColours(learned.images, learned.masks, seed)
        each = unet.overlaps(test.masks, found, len(self.names))
        return Evaluation(
            metrics=self._score(found),
            baselines={
                "colour_of_each_pixel": self._score(colours.masks(test.images)),
                "one_class_everywhere": self._score(self._commonest()),
            },
            description=(
                f"{self.parts.split}. Intersection over union of each class, over all pixels of"
                f" pictures of {self.config.size} × {self.config.size}:"
                f" {scenes.told(self.names, each)}. The colour of each pixel is a logistic"
                " regression on it and on mean colours around it."
            ),
            figures={"masks": _shown(test, found, len(self.names))},
        )

    def _score(self, found: Tensor) -> dict[str, float]:
        each = unet.overlaps(self.parts.test.masks, found, len(self.names))
        return {"mean_iou": float(np.nanmean(each)), "worst_class": float(np.nanmin(each))}

    def _commonest(self) -> Tensor:
        """The commonest class of the pictures that decide when to stop, at each pixel."""
        masks = self.parts.validation.masks
        commonest = int(torch.bincount(masks[masks != scenes.IGNORED]).argmax())
        return torch.full_like(self.parts.test.masks, commonest)

    def package(self, networks: Networks, folder: Path) -> Package:
        del folder
        shown = torch.cat([self.parts.test.images, self.parts.validation.images])
        graph = GraphExport(
            module=unet.Masks(networks[NETWORK]),
            sample=lambda rows: {self.input.tensor: shown[:rows]},
            outputs=("mask",),
            batching=Batching(max_rows=min(MAX_ROWS, len(shown))),
        )
        verb = Verb(
            input=self.input,
            answer=MaskAnswer(labels=self.names),
            example={"b64": png(shown[0].numpy())},
        )
        return Package(graphs={MAIN_GRAPH: graph}, verbs={"predict": verb})


def _shown(test: Scenes, found: Tensor, classes: int) -> "Figure":
    """The first test pictures, above what is in them and what was said."""
    from matplotlib.figure import Figure

    count = min(SHOWN, len(test))
    figure = Figure(figsize=(1.6 * count, 5))
    strips = ("image", test.images), ("truth", test.masks), ("answer", found)
    for row, (name, strip) in enumerate(strips):
        for place in range(count):
            axes = figure.add_subplot(3, count, row * count + place + 1)
            axes.set_xticks([])
            axes.set_yticks([])
            if strip.ndim == 4:
                axes.imshow(strip[place].permute(1, 2, 0).numpy())
            else:
                axes.imshow(strip[place].numpy(), vmin=0, vmax=classes - 1, cmap="turbo",
                            interpolation="nearest")  # fmt: skip
            if not place:
                axes.set_ylabel(name)
    figure.tight_layout(pad=0.4)
    return figure
