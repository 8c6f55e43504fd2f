"""A support vector machine on what a pretrained CNN sees; nothing of the CNN is changed.

For a few hundred pictures or more of any kind, in the time it takes to look at each once. Both are
one graph. Judged in five folds of blocks: consecutive files never cross, as neighbours of one solar
module would give the answer away. Mean area under the ROC curve on the solar cells, quick:

===============================================  =====
this one                                         0.844
the same by scikit-learn                         0.844
logistic regression on the same features         0.854
logistic regression on 32 × 32 pixels            0.761
this one on random folds: neighbours cross       0.937
===============================================  =====

The folds lie between 0.72 and 0.94, so the first three are equal as far as can be told.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from model_store.answers.classes import ClassesAnswer
from model_store.answers.image import png
from model_store.answers.vector import VectorAnswer
from model_store.inputs.image import ImageInput
from model_store.manifest import Batching, Category, Family, Verb
from model_store.spec import Array
from training import report
from training.data import blocked_pictures, efficientnet, elpv
from training.data.blocked_pictures import FOLDS
from training.parts.efficientnet import FEATURES, STRIDE, pretrained, scaled
from training.parts.svm import Svm, learn
from training.recipe import (
    MAIN_GRAPH,
    Evaluation,
    GraphExport,
    Networks,
    OneShot,
    Package,
    Settings,
)

BACKBONE, MACHINE = "backbone", "svm"
MAX_ROWS = 32
RAW_SIDE = 32
MAX_SHOWN_LABELS = 20


class SvmConfig(Settings):
    """Settings of the pictures and of the machine."""

    size: int = Field(
        default=192, ge=STRIDE, multiple_of=STRIDE, description="side of the pictures in pixels"
    )
    regularization: float = Field(
        default=1.0, gt=0, description="C: how much a wrong training picture costs"
    )


class Served(nn.Module):
    """Pixels → probabilities and the features behind them."""

    def __init__(self, backbone: nn.Module, machine: nn.Module) -> None:
        super().__init__()
        self.backbone, self.machine = backbone, machine

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(scaled(image))
        return self.machine(features), features


class SvmFeatures(OneShot[SvmConfig]):
    """Image → class, and image → features."""

    family: ClassVar[Family] = "classical"
    category: ClassVar[Category] = "vision"
    task = "image-classification"
    description = (
        "Tells sound solar cells from defective ones: an SVM on a pretrained CNN's features."
    )
    data_formats = blocked_pictures.FORMAT
    profiles: ClassVar[Mapping[str, Settings]] = {
        "quick": SvmConfig(),
        "full": SvmConfig(size=288),
    }
    smoke: ClassVar[Mapping[str, Any]] = {"size": 64}
    weights = efficientnet.SOURCE
    weights_license = efficientnet.LICENSE

    @property
    def folds(self) -> int:
        return FOLDS

    def load(self, data: Path | None) -> None:
        self.input = ImageInput(height=self.config.size, width=self.config.size)
        self.pictures = blocked_pictures.load(data, self.input)
        self.data_source, self.data_license = self.pictures.source, self.pictures.license
        if data is None:
            self.license = elpv.LICENSE  # its support vectors are made from the pictures
        self.backbone = pretrained(efficientnet.read())
        self.machines: list[Any] = []

    @cached_property
    def features(self) -> Array:
        """Of all pictures: float32 ``[N, D]``. Nothing of them depends on the fold."""
        with torch.no_grad():
            parts = [self.backbone(scaled(p)) for p in torch.split(self.pictures.images, MAX_ROWS)]
        features: Array = torch.cat(parts).numpy()
        return features

    def build(self, fold: int) -> Networks:
        known = self.pictures.folds != fold
        learned = learn(
            self.features[known],
            self.pictures.labels[known],
            self.pictures.groups[known],
            self.config.regularization,
        )
        self.machines[fold:] = [learned]
        return {BACKBONE: self.backbone, MACHINE: Svm(learned)}

    # --- result --------------------------------------------------------------------------------

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        labels, names = self.pictures.labels, self.pictures.names
        folds = self.pictures.folds
        features = torch.tensor(self.features)
        answers = np.empty((len(labels), len(names)))
        for fold, networks in enumerate(fitted):
            answers[folds == fold] = networks[MACHINE](features[folds == fold]).numpy()
        by_fold = [area(answers[folds == fold], labels[folds == fold]) for fold in range(FOLDS)]
        figures = {}
        if len(names) <= MAX_SHOWN_LABELS:
            guess = answers.argmax(1)
            figures["confusion_matrix"] = report.confusion_matrix(labels, guess, names)
        return Evaluation(
            self._scores(answers, folds),
            self._baselines(),
            f"{len(labels):,} pictures in {FOLDS} folds of blocks of consecutive files, each tested"
            " by a machine that learned from the other four folds (area under the ROC curve"
            f" {', '.join(f'{value:.3f}' for value in by_fold)}; their mean is the score). The last"
            " one is published. On random folds, where neighbours cross, the score is optimistic:"
            " it is given for comparison with others' figures.",
            figures,
        )

    def _scores(self, answers: Array, folds: Array) -> dict[str, float]:
        labels = self.pictures.labels
        right = answers.argmax(1) == labels
        parts = [folds == fold for fold in range(FOLDS)]
        return {
            "roc_auc": float(np.mean([area(answers[part], labels[part]) for part in parts])),
            "balanced_accuracy": float(
                np.mean(
                    [right[labels == label].mean() for label in range(len(self.pictures.names))]
                )
            ),
        }

    def _baselines(self) -> dict[str, dict[str, float]]:
        """The same by scikit-learn itself, by plainer means, and on folds that leak."""
        folds = self.pictures.folds
        itself = np.empty((len(folds), len(self.pictures.names)))
        for fold, learned in enumerate(self.machines):
            itself[folds == fold] = learned.predict_proba(self.features[folds == fold])
        mixed = np.random.default_rng(self.config.seed).permutation(folds)
        return {
            "scikit_learn_itself": self._scores(itself, folds),
            "logistic_regression": self._crossed(linear, self.features, folds),
            "logistic_regression_on_pixels": self._crossed(linear, self._pixels(), folds),
            "optimistic_random_folds": self._crossed(self._learn, self.features, mixed),
        }

    def _learn(self, rows: Array, labels: Array) -> Any:
        return learn(rows, labels, np.arange(len(rows)) % 4, self.config.regularization)

    def _pixels(self) -> Array:
        """Small and grey: float ``[N, 1024]``."""
        grey = [
            part.float().mean(1, keepdim=True) for part in torch.split(self.pictures.images, 256)
        ]
        small = F.interpolate(torch.cat(grey), (RAW_SIDE, RAW_SIDE), mode="area")
        pixels: Array = small.flatten(1).numpy()
        return pixels

    def _crossed(
        self, fit: Callable[[Array, Array], Any], rows: Array, folds: Array
    ) -> dict[str, float]:
        labels = self.pictures.labels
        answers = np.empty((len(labels), len(self.pictures.names)))
        for fold in range(FOLDS):
            known = folds != fold
            answers[~known] = fit(rows[known], labels[known]).predict_proba(rows[~known])
        return self._scores(answers, folds)

    def package(self, networks: Networks, folder: Path) -> Package:
        del folder
        images = self.pictures.images
        # Spread over the classes, which lie one after the other in a user's folders.
        order = torch.tensor(np.random.default_rng(0).permutation(len(images))[:MAX_ROWS])
        graph = GraphExport(
            Served(networks[BACKBONE], networks[MACHINE]),
            lambda rows: {self.input.tensor: images[order[:rows]]},
            ["probabilities", "embedding"],
            batching=Batching(max_rows=len(order)),
        )
        example = {"b64": png(images[order[0]].numpy())}
        classes = ClassesAnswer(labels=self.pictures.names)
        vector = VectorAnswer(size=FEATURES)
        return Package(
            {MAIN_GRAPH: graph},
            {
                "predict": Verb(input=self.input, answer=classes, example=example),
                "embed": Verb(input=self.input, answer=vector, example=example),
            },
        )


def linear(rows: Array, labels: Array) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    machine = LogisticRegression(C=0.01, max_iter=2000, class_weight="balanced")
    return make_pipeline(StandardScaler(), machine).fit(rows, labels)


def area(probabilities: Array, labels: Array) -> float:
    """Under the ROC curve of ``[N, K]`` against ``[N]``; of more than two labels, the mean of each
    against the others.
    """
    from sklearn.metrics import roc_auc_score

    truth = labels[:, None] == np.arange(probabilities.shape[1])  # [N, K]
    return float(
        np.mean([roc_auc_score(t, p) for t, p in zip(truth.T, probabilities.T, strict=True)])
    )
