"""The networks that draw digits of a label that is asked for, and what the recipes of them share:
everything but what is learned from and what the drawings are judged by.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from model_store.answers.image import ImageAnswer
from model_store.inputs.none import NoneInput
from model_store.manifest import Category, Family, Verb
from training import report
from training.data import digits
from training.data.class_folders import Pictures
from training.parts.adversary import frozen, hinge, level_then_down, optimizers
from training.parts.judge import energy_distance, flat
from training.recipe import MAIN_GRAPH, Config, GraphExport, Networks, Package, Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Pixels uint8 ``[B, 1, 28, 28]``, labels ``[B]``; noise ``[B, Z]`` and the labels to draw."""
VALIDATED = 40
"""Drawings of each label that choose the epoch."""


class LabelNorm(nn.Module):
    """Batch norm whose scale and shift depend on the label (de Vries et al. 2017)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.style = nn.Embedding(classes, 2 * channels)
        nn.init.normal_(self.style.weight, std=0.1)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        scale, shift = self.style(label)[:, :, None, None].chunk(2, 1)  # [B, C, 1, 1] each
        styled: Tensor = self.norm(x) * (1 + scale) + shift
        return styled


class Generator(nn.Module):
    """Noise ``[B, Z]`` and labels ``[B]`` → pictures ``[B, 1, 28, 28]`` from 0 to 1."""

    def __init__(self, noise_size: int, width: int, classes: int) -> None:
        super().__init__()
        self.label = nn.Embedding(classes, 32)
        # Quiet beside the noise: at torch's own scale all drawings of a label came out alike.
        nn.init.normal_(self.label.weight, std=0.2)
        self.dense = nn.Linear(noise_size + 32, 2 * width * 7 * 7, bias=False)
        self.norm_7 = LabelNorm(2 * width, classes)
        self.up_14 = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False)
        self.norm_14 = LabelNorm(width, classes)
        self.up_28 = nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1)

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        x = self.dense(torch.cat([noise, self.label(label)], 1)).unflatten(1, (-1, 7, 7))
        x = self.up_14(self.norm_7(x, label).relu())  # [B, W, 14, 14]
        pixels: Tensor = self.up_28(self.norm_14(x, label).relu()).sigmoid()
        return pixels


class Discriminator(nn.Module):
    """Pictures and the labels they are to show → how real ``[B]``, and labels read ``[B, K]``."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            spectral_norm(nn.Conv2d(1, width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),  # [B, W, 14, 14]
            spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),  # [B, 2W, 7, 7]
            spectral_norm(nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1)),
            nn.LeakyReLU(0.2),  # [B, 4W, 4, 4]
            nn.Flatten(),
            spectral_norm(nn.Linear(64 * width, 128)),
            nn.LeakyReLU(0.2),
        )
        self.real = spectral_norm(nn.Linear(128, 1))
        self.fits = spectral_norm(nn.Embedding(classes, 128))
        self.reads = nn.Linear(128, classes)

    def forward(self, images: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        x = self.features(images)  # [B, 128]
        # Projection (Miyato and Koyama 2018): real as such, and fitting the label.
        return self.real(x)[:, 0] + (x * self.fits(label)).sum(1), self.reads(x)


class Served(nn.Module):
    """What is exported: noise and label in, pixels out."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        pixels: Tensor = (self.generator(noise, label) * 255).round().to(torch.uint8)
        return pixels


def contest(
    networks: Networks, batch: Batch, weight: float, distort: Callable[[Tensor], Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """A recipe's step: the discriminator's loss, then the generator's. The label counts ``weight``
    beside the looks; real and drawn pictures are shown distorted (Zhao et al. 2020, DiffAugment).
    """
    pixels, labels, noise, wanted = batch
    drawn = networks["generator"](noise, wanted)
    shown = torch.cat([distort(pixels.float() / 255), distort(drawn.detach())])
    scores, read = networks["discriminator"](shown, torch.cat([labels, wanted]))
    yield "discriminator", hinge(scores) + weight * F.cross_entropy(read[: len(labels)], labels)
    with frozen(networks["discriminator"]) as critic:
        scores, read = critic(distort(drawn), wanted)
        yield "generator", weight * F.cross_entropy(read, wanted) - scores.mean()


class DigitGanConfig(Config):
    """Settings of any of them."""

    noise_size: int = Field(default=64, ge=1, description="numbers a drawing is made from")
    width: int = Field(default=24, ge=1, description="channels of the generator's last layer")
    critic_width: int = Field(default=24, ge=1, description="of the discriminator's first layer")
    label_weight: float = Field(
        default=0.2, ge=0, description="how much a drawing's label counts beside its looks"
    )


G = TypeVar("G", bound=DigitGanConfig)


class DigitGan(Recipe[G]):
    """Label → drawing."""

    family: ClassVar[Family] = "gan"
    category: ClassVar[Category] = "vision"
    data_formats = digits.FORMAT

    def load(self, data: Path | None) -> None:
        self.digits = digits.load(data, self.config.seed)
        self.data_source, self.data_license = self.digits.source, self.digits.license

    def build(self, fold: int) -> Networks:
        del fold
        config, classes = self.config, len(self.digits.names)
        return {
            "generator": Generator(config.noise_size, config.width, classes),
            "discriminator": Discriminator(config.critic_width, classes),
        }

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        return optimizers(networks, self.config.learning_rate)

    def learning_rate(self, progress: float) -> float:
        return level_then_down(progress)

    def _draw(self, networks: Networks, fold: int, per_label: int) -> Pictures:
        """So many drawings of each label in its order; the same for the same seed and fold."""
        wanted = torch.arange(len(self.digits.names)).repeat_interleave(per_label)
        random = torch.Generator().manual_seed(self.config.seed + fold)
        noise = torch.randn(len(wanted), self.config.noise_size, generator=random)
        generator = networks["generator"]
        device = next(generator.parameters()).device
        pixels = Served(generator)(noise.to(device), wanted.to(device))
        return Pictures(pixels.cpu(), wanted)

    def _distance(self, networks: Networks, fold: int, real: Pictures) -> float:
        """Energy distance of drawn to real pictures in pixels, label by label. A GAN's own losses
        only say who is ahead.
        """
        drawn = self._draw(networks, fold, VALIDATED)
        return fmean(
            energy_distance(*(flat(part.images[part.labels == label]) for part in (drawn, real)))
            for label in range(len(self.digits.names))
        )

    def package(self, networks: Networks, folder: Path) -> Package:
        del folder
        names, size = self.digits.names, self.config.noise_size
        kind = NoneInput(noise_size=size, labels=names)

        def sample(rows: int) -> dict[str, Tensor]:
            random = torch.Generator().manual_seed(rows)
            noise = torch.randn(rows, size, generator=random)
            return {kind.noise: noise, kind.label: torch.arange(rows) % len(names)}

        graph = GraphExport(Served(networks["generator"]), sample, outputs=("image",))
        verb = Verb(input=kind, answer=ImageAnswer(), example={"label": names[-1], "seed": 1})
        return Package(graphs={MAIN_GRAPH: graph}, verbs={"generate": verb})


def sheet(pictures: Pictures) -> "Figure":
    """Ten pictures in a row for each of the first ten labels."""
    rows = [pictures.images[pictures.labels == label][:10] for label in range(10)]
    return report.image_grid(torch.cat(rows).numpy())
