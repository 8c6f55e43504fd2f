"""Recipes that train in a moment, for tests of everything around a recipe."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from matplotlib.figure import Figure
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from model_store.answers.classes import ClassesAnswer
from model_store.answers.image import ImageAnswer
from model_store.inputs.none import NoneInput
from model_store.inputs.table import Column, TableInput
from model_store.manifest import Category, Family, Verb
from training.errors import DataError
from training.fit import Fitted, fit
from training.recipe import (
    MAIN_GRAPH,
    Config,
    Evaluation,
    GraphExport,
    InRounds,
    Learner,
    Networks,
    Package,
    Recipe,
    RoundsConfig,
)


class ToyConfig(Config):
    """One field of each kind that a flag can be."""

    hidden: int = Field(default=8, ge=1, description="width of the only layer")
    dropout: float = Field(default=0.25, ge=0, lt=1, description="share of units left out (50 %)")
    activation: Literal["relu", "tanh"] = Field(default="relu", description="what bends")
    bias: bool = Field(default=True, description="with an offset")
    label: str | None = Field(default=None, description="column of the answers")
    splits: tuple[int, ...] = Field(default=(160, 40, 40), description="rows of the three parts")
    parts: int = Field(default=1, ge=1, description="folds")


class Toy(Recipe[ToyConfig]):
    """Says which side of a line two numbers lie on."""

    family: ClassVar[Family] = "other"
    category: ClassVar[Category] = "tabular"
    task = "fault-diagnosis"
    description = "Tells a good part from a bad one."
    data_formats = "a CSV with columns a, b and bad"
    profiles: ClassVar[Mapping[str, Config]] = {
        "quick": ToyConfig(epochs=4, learning_rate=0.05, batch_size=32),
        "full": ToyConfig(epochs=12, learning_rate=0.02, batch_size=16, dropout=0.5),
    }

    @property
    def folds(self) -> int:
        return self.config.parts

    def load(self, data: Path | None) -> None:
        self.data_source, self.data_license = "made up", "CC0-1.0"
        if data is None:
            generator = torch.Generator().manual_seed(0)
            self.rows = torch.randn(sum(self.config.splits), 2, generator=generator)
            self.truth = (self.rows[:, 0] + self.rows[:, 1] > 0).long()
        else:
            self._read(data)

    def _read(self, data: Path) -> None:
        self.data_source, self.data_license = str(data), "not stated"
        try:
            with data.open(newline="") as file:
                lines = [[float(line[name]) for name in "ab"] for line in csv.DictReader(file)]
        except KeyError as error:
            raise DataError(f"{data}: expected columns a and b; no {error}") from None
        self.rows = torch.tensor(lines)
        self.truth = (self.rows.sum(1) > 0).long()

    def part(self, place: int) -> tuple[Tensor, Tensor]:
        start = sum(self.config.splits[:place])
        chosen = slice(start, start + self.config.splits[place])
        return self.rows[chosen], self.truth[chosen]

    def steps(self, fold: int) -> int:
        return self.config.splits[0] // self.config.batch_size

    def batches(self, fold: int, epoch: int) -> Iterable[Any]:
        rows, truth = self.part(0)
        generator = torch.Generator().manual_seed(self.config.seed * 100 + fold * 10 + epoch)
        order = torch.randperm(len(rows), generator=generator)
        for chosen in torch.split(order, self.config.batch_size)[: self.steps(fold)]:
            yield rows[chosen], truth[chosen]

    def build(self, fold: int) -> Networks:
        bend = nn.ReLU() if self.config.activation == "relu" else nn.Tanh()
        layers = [
            nn.Linear(2, self.config.hidden, bias=self.config.bias),
            nn.BatchNorm1d(self.config.hidden),
            bend,
            nn.Dropout(self.config.dropout),
            nn.Linear(self.config.hidden, 2),
        ]
        return {"classifier": nn.Sequential(*layers)}

    def step(self, networks: Networks, batch: Any) -> Iterator[tuple[str, Tensor]]:
        rows, truth = batch
        yield "classifier", F.cross_entropy(networks["classifier"](rows), truth)

    def validate(self, networks: Networks, fold: int) -> float:
        rows, truth = self.part(1)
        return float(F.cross_entropy(networks["classifier"](rows), truth))

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        rows, truth = self.part(2)
        right = [(n["classifier"](rows).argmax(1) == truth).float().mean() for n in fitted]
        figure = Figure()
        figure.subplots().plot([1, 2])
        return Evaluation(
            metrics={"accuracy": float(torch.stack(right).mean()), "folds": float(len(fitted))},
            baselines={"majority_class": {"accuracy": float(truth.float().mean())}},
            description=f"{len(rows)} rows held out",
            figures={"a_line": figure},
        )

    def package(self, networks: Networks, folder: Path) -> Package:
        (folder / "labels.txt").write_text("good\nbad\n")
        graph = GraphExport(
            self.served(networks["classifier"]),
            lambda rows: {"table": self.rows[:rows]},
            ["probabilities"],
        )
        verb = Verb(
            input=TableInput(columns=(Column(name="a"), Column(name="b"))),
            answer=ClassesAnswer(labels=("good", "bad")),
            example={"a": 1.0, "b": -0.5},
        )
        return Package({MAIN_GRAPH: graph}, {"predict": verb})

    def served(self, network: nn.Module) -> nn.Module:
        return nn.Sequential(network, nn.Softmax(1))


class ToyGan(Recipe[Config]):
    """Two networks that learn from one another, with a latent of two numbers."""

    family: ClassVar[Family] = "gan"
    category: ClassVar[Category] = "vision"
    task = "image-generation"
    description = "Draws grey squares."
    data_formats = "nothing"
    profiles: ClassVar[Mapping[str, Config]] = {
        "quick": Config(epochs=2, learning_rate=0.01),
        "full": Config(epochs=4, learning_rate=0.01),
    }

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.seen: list[dict[str, Tensor]] = []
        """The discriminator's weight before and after its own step, in each batch."""

    def load(self, data: Path | None) -> None:
        self.data_source, self.data_license = "made up", "CC0-1.0"

    def steps(self, fold: int) -> int:
        return 3

    def batches(self, fold: int, epoch: int) -> Iterable[Any]:
        generator = torch.Generator().manual_seed(epoch)
        for _ in range(self.steps(fold)):
            yield torch.rand(8, 4, generator=generator)

    def build(self, fold: int) -> Networks:
        return {"generator": nn.Linear(2, 4), "discriminator": nn.Linear(4, 1)}

    def step(self, networks: Networks, batch: Any) -> Iterator[tuple[str, Tensor]]:
        generator, discriminator = networks["generator"], networks["discriminator"]
        weight = discriminator.get_parameter("weight")
        made = generator(torch.randn(len(batch), 2))
        before = weight.detach().clone()
        real, fake = discriminator(batch), discriminator(made.detach())
        yield "discriminator", F.softplus(-real).mean() + F.softplus(fake).mean()
        self.seen.append({"before": before, "after": weight.detach().clone()})
        yield "generator", F.softplus(-discriminator(made)).mean()

    def validate(self, networks: Networks, fold: int) -> float:
        return float(networks["discriminator"](torch.ones(1, 4)).abs())

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        return Evaluation({"distance": 1.0}, {}, "nothing held out")

    def package(self, networks: Networks, folder: Path) -> Package:
        graph = GraphExport(
            Squares(networks["generator"]), lambda rows: {"noise": torch.randn(rows, 2)}, ["image"]
        )
        verb = Verb(
            graph="generator", input=NoneInput(noise_size=2), answer=ImageAnswer(), example={}
        )
        return Package({"generator": graph}, {"generate": verb})


class ToyRounds(InRounds[RoundsConfig], Toy):
    """Its weights walk at random; what a round is worth is given."""

    def __init__(self, values: Sequence[float], patience: int = 20) -> None:
        super().__init__(RoundsConfig(rounds=len(values), patience=patience))
        self.values = values
        self.rounds_done: list[int] = []

    @property
    def folds(self) -> int:
        return 1

    def load(self, data: Path | None) -> None:
        self.data_source, self.data_license = "made up", "CC0-1.0"

    def learner(self, fold: int) -> Learner:
        return Walk(self)


class Walk:
    """The learner of :class:`ToyRounds`: each round a step, drawn by the round's number."""

    def __init__(self, recipe: ToyRounds) -> None:
        self.recipe, self.place = recipe, torch.zeros(2, 2)

    def learn(self, number: int) -> float:
        generator = torch.Generator().manual_seed(number)
        self.place = self.place * 0.5 + torch.randn(2, 2, generator=generator)
        self.recipe.rounds_done.append(number)
        return self.recipe.values[number]

    def networks(self) -> Networks:
        network = nn.Linear(2, 2, bias=False)
        network.weight.data.copy_(self.place)
        return {"walker": network}

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.place = state["place"]


class Squares(nn.Module):
    """Noise ``[B, 2]`` → uint8 ``[B, 1, 2, 2]``."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: Tensor) -> Tensor:
        shades = torch.sigmoid(self.generator(noise)) * 255
        return shades.round().to(torch.uint8).reshape(-1, 1, 2, 2)


class Quiet:
    """A reporter that keeps what it is told; ``stop_after`` steps it breaks off the run."""

    def __init__(self, stop_after: int = 0) -> None:
        self.stop_after = stop_after
        self.starts: list[tuple[str, int]] = []
        self.losses: list[float] = []
        self.notes: list[str] = []
        self.words: list[str] = []

    def start(self, label: str, steps: int) -> None:
        self.starts.append((label, steps))

    def advance(self, loss: float, validation: float | None, steps: int = 1) -> None:
        self.losses += [loss] * steps
        if len(self.losses) == self.stop_after:
            raise KeyboardInterrupt

    def stop(self, note: str) -> None:
        self.notes.append(note)

    def say(self, words: str) -> None:
        self.words.append(words)


def config(**settings: Any) -> ToyConfig:
    return ToyConfig(**{"epochs": 4, "learning_rate": 0.05, "batch_size": 32, **settings})


def train(recipe: Recipe[Any], fold: int = 0, **options: Any) -> Fitted:
    recipe.load(None)
    return fit(recipe, fold, **{"device": "cpu", "progress": Quiet(), **options})


def weights(fitted: Fitted) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": tensor
        for name, network in fitted.networks.items()
        for key, tensor in network.state_dict().items()
    }


def same(one: Fitted, other: Fitted) -> bool:
    """To the last bit."""
    left, right = weights(one), weights(other)
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)
