"""Tells a picture in a few numbers and draws pictures from such numbers.

A variational autoencoder: ``embed`` gives the numbers of a digit (the mean the encoder aims at),
``generate`` draws from normal noise. The numbers are judged by how well a straight cut tells the
digits apart in them, beside PCA with as many.

Digits, seed 0, quick, eight numbers: a linear probe names 84.7 % of the test digits, 78.6 % on the
eight of PCA. Drawings from noise are blurred, as such models' are: ``gan_digits`` draws sharper.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from model_store.answers.image import ImageAnswer, png
from model_store.answers.vector import VectorAnswer
from model_store.inputs.none import NoneInput
from model_store.manifest import Batching, Category, Family, Verb
from model_store.spec import Array
from training import report
from training.data import digits
from training.data.class_folders import Pictures
from training.parts.distortion import distort
from training.parts.judge import flat
from training.recipe import Config, Evaluation, GraphExport, Networks, Package, Recipe

NETWORK = "autoencoder"
SHOWN = 20


class LatentConfig(Config):
    """Settings of ``autoencoder_latent``."""

    latent: int = Field(default=8, ge=2, le=16, description="numbers that a picture is told in")
    width: int = Field(default=16, ge=1, description="channels at full detail")
    beta: float = Field(
        default=1.0, ge=0, description="weight of keeping close to the noise that is drawn from"
    )
    distortion: float = Field(
        default=0.7, ge=0, description="how far training images are bent and moved; 0 is not"
    )


class Autoencoder(nn.Module):
    """Pictures from 0 to 1 → how bright each pixel is thought to be, and where the picture lies."""

    def __init__(self, latent: int, width: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2, padding=1), nn.GELU(),  # [B, W, 14, 14]
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), nn.GELU(),  # [B, 2W, 7, 7]
            nn.Flatten(),
            nn.Linear(98 * width, 128), nn.GELU(),
            nn.Linear(128, 2 * latent),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(latent, 128), nn.GELU(),
            nn.Linear(128, 98 * width), nn.GELU(),
            nn.Unflatten(1, (2 * width, 7, 7)),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1), nn.GELU(),
            nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1),
        )  # fmt: skip

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``[B, 1, 28, 28]`` → logits of the same shape, means and log variances ``[B, Z]``"""
        mean, spread = self.encoder(images).chunk(2, 1)
        place = mean
        if self.training:
            place = mean + (spread / 2).exp() * torch.randn_like(mean)
        return self.decoder(place), mean, spread


class Encoder(nn.Module):
    """What ``embed`` runs: pixels in, means out."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.encoder = network.encoder

    def forward(self, image: Tensor) -> Tensor:
        mean: Tensor = self.encoder(image.float() / 255).chunk(2, 1)[0]
        return mean


class Decoder(nn.Module):
    """What ``generate`` runs: noise in, pixels out."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.decoder = network.decoder

    def forward(self, noise: Tensor) -> Tensor:
        pixels: Tensor = (self.decoder(noise).sigmoid() * 255).round().to(torch.uint8)
        return pixels


class AutoencoderLatent(Recipe[LatentConfig]):
    """Image → a few numbers, and noise → image."""

    family: ClassVar[Family] = "autoencoder"
    category: ClassVar[Category] = "vision"
    task = "dimension-reduction"
    description = (
        "Tells a handwritten digit in eight numbers and draws digits from noise: a variational"
        " autoencoder."
    )
    data_formats = digits.FORMAT
    profiles: ClassVar[Mapping[str, Config]] = {
        "quick": LatentConfig(epochs=30, learning_rate=2e-3, average=0.99, patience=30),
        "full": LatentConfig(epochs=120, learning_rate=2e-3, average=0.995, patience=120, width=24),
    }

    def load(self, data: Path | None) -> None:
        self.digits = digits.load(data, self.config.seed)
        self.data_source, self.data_license = self.digits.source, self.digits.license

    def steps(self, fold: int) -> int:
        del fold
        return -(-len(self.digits.train) // self.config.batch_size)

    def batches(self, fold: int, epoch: int) -> Iterable[Tensor]:
        """Pixels uint8 ``[B, 1, 28, 28]``; no labels: the numbers are found without."""
        rng = np.random.default_rng([self.config.seed, fold, epoch])
        order = rng.permutation(len(self.digits.train))
        for rows in np.array_split(order, self.steps(fold)):
            yield self.digits.train.images[torch.from_numpy(rows)]

    def build(self, fold: int) -> Networks:
        del fold
        return {NETWORK: Autoencoder(self.config.latent, self.config.width)}

    def step(self, networks: Networks, batch: Tensor) -> Iterator[tuple[str, Tensor]]:
        images = batch.float() / 255
        if self.config.distortion:
            images = distort(images, self.config.distortion)
        yield NETWORK, self._loss(networks[NETWORK], images)

    def _loss(self, network: nn.Module, images: Tensor) -> Tensor:
        """What the picture costs when told by its numbers, and the numbers themselves, a pixel."""
        logits, mean, spread = network(images)
        told = F.binary_cross_entropy_with_logits(logits, images, reduction="none").sum((1, 2, 3))
        surplus = 0.5 * (mean.square() + spread.exp() - spread - 1).sum(1)
        cost: Tensor = (told + self.config.beta * surplus).mean() / images[0].numel()
        return cost

    def validate(self, networks: Networks, fold: int) -> float:
        del fold
        device = next(networks[NETWORK].parameters()).device
        images = self.digits.validation.images.to(device).float() / 255
        return float(self._loss(networks[NETWORK], images))

    # --- result --------------------------------------------------------------------------------

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        from sklearn.decomposition import PCA

        network: Any = fitted[-1][NETWORK]
        known, test = self.digits.train + self.digits.validation, self.digits.test
        encode = Encoder(network)
        ours = probe(encode(known.images).numpy(), known, encode(test.images).numpy(), test)
        rebuilt = network.decoder(encode(test.images)).sigmoid()
        pca = PCA(self.config.latent, random_state=0).fit(flat(known.images).numpy())
        plain, plain_test = (pca.transform(flat(part.images).numpy()) for part in (known, test))
        by_pca = torch.from_numpy(pca.inverse_transform(plain_test)).view_as(rebuilt)
        noise = torch.randn(
            5 * SHOWN, self.config.latent, generator=torch.Generator().manual_seed(0)
        )
        pairs = torch.cat([test.images[:SHOWN], to_pixels(rebuilt[:SHOWN])])
        return Evaluation(
            {"probe_accuracy": ours, "rebuilding_error": error(rebuilt, test)},
            {
                "pca": {
                    "probe_accuracy": probe(plain, known, plain_test, test),
                    "rebuilding_error": error(by_pca, test),
                }
            },
            f"{self.digits.counts}. Probe: logistic regression on the {self.config.latent} numbers,"
            " learned from the first two parts and asked about the test part; PCA has as many"
            " numbers, and its probe the same rows. Rebuilding error: mean squared, of pixels from"
            " 0 to 1.",
            {
                "rebuilt": report.image_grid(pairs.numpy(), columns=SHOWN),
                "samples": report.image_grid(Decoder(network)(noise).numpy(), columns=SHOWN),
            },
        )

    def package(self, networks: Networks, folder: Path) -> Package:
        del folder
        network, size = networks[NETWORK], self.config.latent
        shown = (self.digits.test + self.digits.validation + self.digits.train).images
        kind = NoneInput(noise_size=size)
        encoder = GraphExport(
            Encoder(network),
            lambda rows: {digits.IMAGE.tensor: shown[:rows]},
            ["embedding"],
            batching=Batching(max_rows=min(64, len(shown))),
        )

        def noise(rows: int) -> dict[str, Tensor]:
            generator = torch.Generator().manual_seed(rows)
            return {kind.noise: torch.randn(rows, size, generator=generator)}

        return Package(
            {"encoder": encoder, "decoder": GraphExport(Decoder(network), noise, ["image"])},
            {
                "embed": Verb(
                    graph="encoder",
                    input=digits.IMAGE,
                    answer=VectorAnswer(size=size),
                    example={"b64": png(shown[0].numpy())},
                ),
                "generate": Verb(
                    graph="decoder", input=kind, answer=ImageAnswer(), example={"seed": 1}
                ),
            },
        )


def probe(known: Array, labels: Pictures, test: Array, truth: Pictures) -> float:
    """How often a linear classifier on numbers ``[N, Z]`` names the class of held-out ones."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    classifier.fit(known, labels.labels.numpy())
    return float(classifier.score(test, truth.labels.numpy()))


def error(rebuilt: Tensor, real: Pictures) -> float:
    """Mean squared, of floats ``[N, 1, 28, 28]`` and pixels, both from 0 to 1."""
    return float((rebuilt - real.images.float() / 255).square().mean())


def to_pixels(images: Tensor) -> Tensor:
    """Floats from 0 to 1 → uint8"""
    return (images * 255).round().to(torch.uint8)
