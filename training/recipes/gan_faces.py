"""Draws cartoon faces with the hair, skin, eyewear and mouth asked for: a GAN in colour.

Hinge loss, a projection discriminator with spectral norm that also reads the attributes, moved
pictures for it (DiffAugment), and a running average of the generator. A conditional variational
autoencoder with the very same generator is what it is held against. Quick, but for
``--rival-epochs 2``, seed 0, 1,200 test pictures; the autoencoder's step costs 0.71 of the GAN's,
so it had 1.4 times the compute. The profile's own 1.4 epochs, which are equal compute, were not
measured:

=========================  ================  ==================
what                       Fréchet distance  attributes read
=========================  ================  ==================
this one                              10.2   0.9998 of them
variational autoencoder               26.3   1
real training pictures                 4.2   1
=========================  ================  ==================

Another classifier gives the same drawings 16.7, real ones 5.0: compare within a run. Attributes at
a weight of 0.1 and four epochs more: 17.3 by that classifier, and 0.996 read. So nothing gained.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from model_store.answers.image import ImageAnswer
from model_store.inputs.image import ImageInput
from model_store.inputs.none import NoneInput
from model_store.manifest import Category, Family, Verb
from training import report
from training.data import attributed_pictures, avatars
from training.data.attributed_pictures import Pictures
from training.parts import picture_vae
from training.parts.adversary import frozen, hinge, level_then_down, optimizers
from training.parts.attribute_judge import AttributeJudge, read_error
from training.parts.distortion import shift
from training.parts.judge import energy_distance, flat
from training.parts.painter import HIDDEN, STEPS, Discriminator, Generator, looks
from training.recipe import MAIN_GRAPH, Config, Evaluation, GraphExport, Networks, Package, Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Pixels uint8 ``[B, 3, S, S]``, places ``[B, A]``; noise ``[B, Z]`` and the places to draw."""
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.05
VALIDATED = 200
"""Drawings that choose the epoch; the same number again of real ones."""
SHOWN = 60
N = TypeVar("N", bound=nn.Module)


class FacesConfig(Config):
    """Settings of ``gan_faces``."""

    faces: int = Field(default=6000, ge=100, description="cartoon faces, where none are given")
    side: int = Field(
        default=40, ge=2 * STEPS, multiple_of=STEPS, description="side of a picture in pixels"
    )
    noise_size: int = Field(default=64, ge=1, description="numbers a drawing is made from")
    width: int = Field(default=16, ge=1, description="channels of the generator's last layer")
    critic_width: int = Field(default=16, ge=1, description="of the discriminator's first layer")
    attribute_weight: float = Field(
        default=0.5, ge=0, description="how much a drawing's attributes count beside its looks"
    )
    rival_epochs: float = Field(
        default=1.4, gt=0, description="of the autoencoder for each of this; 1.4 cost as much"
    )


class Served(nn.Module):
    """What is exported: noise and places in, pixels out."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: Tensor, attributes: Tensor) -> Tensor:
        pixels: Tensor = (self.generator(noise, attributes) * 255).round().to(torch.uint8)
        return pixels


class GanFaces(Recipe[FacesConfig]):
    """Attributes → drawing."""

    family: ClassVar[Family] = "gan"
    category: ClassVar[Category] = "vision"
    lower_is_better = True
    task = "image-generation"
    description = "Draws pictures with the attributes asked for: a conditional GAN, in colour."
    data_formats = attributed_pictures.FORMAT
    profiles: ClassVar[Mapping[str, Config]] = {
        "quick": FacesConfig(
            epochs=20, batch_size=32, learning_rate=1e-3, average=0.995, patience=20, clip_norm=10,
        ),
        "full": FacesConfig(
            epochs=60, batch_size=32, learning_rate=1e-3, average=0.998, patience=60, clip_norm=10,
            width=32, critic_width=32, faces=12000,
        ),
    }  # fmt: skip
    smoke: ClassVar[Mapping[str, Any]] = {
        "epochs": 1, "faces": 300, "side": 16, "width": 2, "critic_width": 2,
    }  # fmt: skip

    def load(self, data: Path | None) -> None:
        side = self.config.side
        if data is None:
            found = avatars.load(self.config.faces, side)
        else:
            found = attributed_pictures.read(data, ImageInput(height=side, width=side))
        self.attributes = found.attributes
        self.counts = [len(attribute.values) for attribute in found.attributes]
        self.data_source, self.data_license = found.source, found.license
        order = np.random.default_rng(self.config.seed).permutation(len(found.pictures))
        tested, validated = (int(share * len(order)) for share in (TEST_SHARE, VALIDATION_SHARE))
        parts = np.split(order, [tested, tested + validated])
        self.test, self.validation, self.train = (
            found.pictures[torch.from_numpy(part)] for part in parts
        )

    def steps(self, fold: int) -> int:
        del fold
        return max(1, len(self.train) // self.config.batch_size)

    def batches(self, fold: int, epoch: int) -> Iterable[Batch]:
        size = self.config.batch_size
        random = np.random.default_rng([self.config.seed, fold, epoch])
        order = torch.from_numpy(random.permutation(len(self.train)))
        for step in range(self.steps(fold)):
            rows = order[step * size :][:size]
            noise = random.standard_normal((len(rows), self.config.noise_size), dtype=np.float32)
            wanted = self.train.places[
                torch.from_numpy(random.integers(len(order), size=len(rows)))
            ]
            yield self.train.images[rows], self.train.places[rows], torch.from_numpy(noise), wanted

    def build(self, fold: int) -> Networks:
        del fold
        config = self.config
        critic = Discriminator(config.critic_width, self.counts, config.side)
        return {
            "generator": self._generator(),
            "discriminator": _by_pixel(critic),
        }

    def _generator(self) -> Generator:
        config = self.config
        generator = Generator(config.noise_size, config.width, self.counts, config.side)
        return _by_pixel(generator)

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        return optimizers(networks, self.config.learning_rate)

    def learning_rate(self, progress: float) -> float:
        return level_then_down(progress)

    def step(self, networks: Networks, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        pixels, places, noise, wanted = batch
        weight, drawn = self.config.attribute_weight, networks["generator"](noise, wanted)
        shown = torch.cat([shift(pixels.float() / 255), shift(drawn.detach())])
        scores, read = networks["discriminator"](shown, torch.cat([places, wanted]))
        known = read_error([one[: len(places)] for one in read], places)
        yield "discriminator", hinge(scores) + weight * known
        with frozen(networks["discriminator"]) as critic:
            scores, read = critic(shift(drawn), wanted)
            yield "generator", weight * read_error(read, wanted) - scores.mean()

    def validate(self, networks: Networks, fold: int) -> float:
        """Energy distance of drawn to real pictures in pixels. A GAN's own losses only say who is
        ahead.
        """
        del fold
        real = self.validation[:VALIDATED]  # drawn with the same attributes
        drawn = self._draw(networks["generator"], real.places)
        return energy_distance(flat(drawn.images), flat(real.images))

    def _draw(self, generator: nn.Module, places: Tensor) -> Pictures:
        """One drawing for each row of places ``[N, A]``; the same for the same seed."""
        random = torch.Generator().manual_seed(self.config.seed)
        noise = torch.randn(len(places), self.config.noise_size, generator=random)
        device = next(generator.parameters()).device
        drawn = [
            Served(generator)(some.to(device), asked.to(device)).cpu()
            for some, asked in zip(torch.split(noise, 250), torch.split(places, 250), strict=True)
        ]
        return Pictures(torch.cat(drawn), places)

    # --- result --------------------------------------------------------------------------------

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        real, known = self.test, self.train + self.validation
        judge = AttributeJudge(known, self.counts)
        drawn = self._draw(fitted[-1]["generator"], real.places)
        rival = self._draw(self._rival(), real.places)
        return Evaluation(
            metrics=judge.score(drawn, real),
            baselines={
                "variational_autoencoder": judge.score(rival, real),
                "real_training_images": judge.score(known[: len(real)], real),
            },
            description=(
                f"A drawing for the attributes of each of {len(real):,} test pictures, split by"
                f" seed; {len(self.train):,} to learn from, {len(self.validation):,} to choose the"
                " epoch. Fréchet distance: to the test pictures in what a classifier sees that"
                " learned the attributes from real pictures only and had no part in the training;"
                " attribute accuracy: how often it reads what was asked for, the mean over the"
                " attributes, the lowest of them, and all of a picture at once. The variational"
                f" autoencoder has the same generator and {self.config.rival_epochs:g} epochs for"
                " each of the GAN's; 1.4 cost as much in the quick profile."
            ),
            figures={"samples": sheet(drawn), "autoencoder_samples": sheet(rival),
                     "real_samples": sheet(real)},
        )  # fmt: skip

    def _rival(self) -> nn.Module:
        """The same generator, trained as a variational autoencoder instead."""
        config = self.config
        epochs = max(1, round(config.rival_epochs * config.epochs))
        batches = (batch[:2] for epoch in range(epochs) for batch in self.batches(0, epoch))
        reader = nn.Sequential(
            looks(config.critic_width, config.side), nn.Linear(HIDDEN, 2 * config.noise_size)
        )
        return picture_vae.fit(self._generator(), reader, batches, epochs * self.steps(0))

    def package(self, networks: Networks, folder: Path) -> Package:
        del folder
        size, places = self.config.noise_size, (self.test + self.train).places
        kind = NoneInput(noise_size=size, attributes=self.attributes)

        def sample(rows: int) -> dict[str, Tensor]:
            noise = torch.randn(rows, size, generator=torch.Generator().manual_seed(rows))
            return {kind.noise: noise, kind.attribute: places[:rows]}

        graph = GraphExport(Served(networks["generator"]), sample, outputs=("image",))
        example: dict[str, Any] = {one.name: one.values[-1] for one in self.attributes}
        verb = Verb(input=kind, answer=ImageAnswer(), example=example | {"seed": 1})
        return Package(graphs={MAIN_GRAPH: graph}, verbs={"generate": verb})


def _by_pixel(network: N) -> N:
    """Channels last in memory: an eighth faster on a CPU."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def sheet(pictures: Pictures) -> "Figure":
    """The first of them, side by side."""
    return report.image_grid(pictures.images[:SHOWN].numpy(), columns=12)
