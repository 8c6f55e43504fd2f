"""What recipes share that know normal rows of a table and find those that do not fit: the split,
the autoencoders, the alarm, the baselines, the graph. Such a recipe adds its rows.

Trained on normal rows alone: to be rebuilt through a narrow middle, a cell must follow from the
others, and in an anomaly it does not. The score is the squared error over what a normal row has, so
it is about 1 on normal rows, and it is the sum of what each column adds; a recipe may have another
``detector``.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from model_store.answers.anomaly import AnomalyAnswer
from model_store.answers.vector import VectorAnswer
from model_store.inputs.table import TableInput
from model_store.manifest import Category, Family, Verb
from model_store.spec import Array
from training import report
from training.data.labelled_rows import LabelledRows
from training.parts import alarm
from training.parts.autoencoders import PART, Autoencoders, Detector, scores_of, strain
from training.parts.mixed_columns import MixedColumns
from training.recipe import (
    MAIN_GRAPH,
    Config,
    Evaluation,
    GraphExport,
    HeldOut,
    Networks,
    Package,
    Recipe,
)

NETWORK = "autoencoder"
TEST_SHARE, VALIDATION_SHARE = 0.4, 0.1


class NormalRowsConfig(Config):
    """Settings of the ensemble and of its alarm."""

    members: int = Field(default=4, ge=1, description="autoencoders whose errors are averaged")
    hidden: int = Field(default=64, ge=2, description="width of the widest layer")
    latent: int = Field(
        default=3, ge=1, description="width of the narrow middle, at most half of what is rebuilt"
    )
    hide: float = Field(default=0.2, ge=0, lt=1, description="share of readings hidden in training")
    false_alarm_rate: float = Field(
        default=0.01, gt=0, lt=1, description="share of normal rows that may raise an alarm"
    )


N = TypeVar("N", bound=NormalRowsConfig)


class NormalRows(Recipe[N]):
    """Such a recipe without its rows. Learns from normal ones alone."""

    family: ClassVar[Family] = "autoencoder"
    category: ClassVar[Category] = "tabular"
    task = "anomaly-detection"
    detector: ClassVar[type[Detector]] = Detector

    @abstractmethod
    def read(self, data: Path | None) -> LabelledRows:
        """The recipe's own rows, or the user's. Raises DataError."""

    # --- data ----------------------------------------------------------------------------------

    def load(self, data: Path | None) -> None:
        readings = self.read(data)
        self.columns, self.labelled = readings.columns, readings.anomalous is not None
        self.data_source, self.data_license = readings.source, readings.license
        rng = np.random.default_rng(self.config.seed)
        anomalous = readings.anomalous
        if anomalous is None:
            anomalous = np.zeros(len(readings), dtype=np.bool_)
        normal, strange = (
            rng.permutation(np.flatnonzero(anomalous == kind)) for kind in (False, True)
        )
        tests, validations = (int(share * len(normal)) for share in (TEST_SHARE, VALIDATION_SHARE))
        held_out, validation, train = np.split(normal, [tests, tests + validations])
        # As many anomalies among the held out as among all, or average precision would flatter.
        held_out = np.concatenate([held_out, strange[: int(TEST_SHARE * len(strange))]])
        held_out = rng.permutation(held_out)
        self.train, self.validation, self.test = (
            readings.values[part] for part in (train, validation, held_out)
        )
        self.truth = anomalous[held_out]
        self.transform = MixedColumns(self.columns, self.train)
        self.rows, self.validation_rows = (
            self._normal_scores(part) for part in (self.train, self.validation)
        )

    def _normal_scores(self, values: Array) -> Tensor:
        parts = [self.transform(part) for part in torch.split(torch.tensor(values), 4096)]
        return torch.cat(parts)

    def steps(self, fold: int) -> int:
        del fold
        return -(-len(self.rows) // self.config.batch_size)

    def batches(self, fold: int, epoch: int) -> Iterable[Tensor]:
        rng = np.random.default_rng((self.config.seed, fold, epoch))
        order = torch.tensor(rng.permutation(len(self.rows)))
        for part in torch.split(order, self.config.batch_size):
            yield self.rows[part]

    @property
    def _latent(self) -> int:
        return max(1, min(self.config.latent, self.rows.shape[1] // 2))

    def build(self, fold: int) -> Networks:
        del fold
        settings = self.config
        sizes = (settings.members, self.rows.shape[1], settings.hidden, self._latent)
        return {NETWORK: Autoencoders(*sizes)}

    def step(self, networks: Networks, batch: Tensor) -> Iterator[tuple[str, Tensor]]:
        yield NETWORK, strain(networks[NETWORK], batch, self.config.hide)

    def validate(self, networks: Networks, fold: int) -> float:
        del fold
        network = networks[NETWORK]
        rows = self.validation_rows.to(next(network.parameters()).device)
        return float((network(rows)[0] - rows).square().mean())

    def _detector(self, networks: Networks) -> tuple[Detector, float]:
        """What is served, and the score that so many normal rows of the validation part exceed."""
        normal = torch.tensor(self.train)
        detector = self.detector(self.transform, networks[NETWORK], normal, self.transform.groups)
        return detector.eval(), self._threshold(scores_of(detector, self.validation))

    def _threshold(self, normal_scores: Array) -> float:
        return float(np.quantile(normal_scores, 1 - self.config.false_alarm_rate))

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        detector, threshold = self._detector(fitted[-1])
        scores = scores_of(detector, self.test)
        baselines = {
            "isolation_forest": self._isolation_forest(self.transform.as_they_are),
            "isolation_forest_on_transform": self._isolation_forest(self.transform),
            "pca": self._pca(),
        }
        truth = self.truth if self.labelled else None
        figures = {"scores": alarm.histogram(scores, threshold, truth)}
        if truth is not None:
            curves = {"autoencoder": scores, **{k: v for k, (v, _) in baselines.items()}}
            figures["precision_recall"] = alarm.precision_recall(curves, truth)
            figures["confusion_matrix"] = report.confusion_matrix(
                truth.astype(int), (scores > threshold).astype(int), ("normal", "anomalous")
            )
        return Evaluation(
            alarm.metrics(scores, threshold, truth),
            {name: alarm.metrics(*found, truth) for name, found in baselines.items()},
            self._description(),
            figures,
        )

    def _description(self) -> str:
        strange = int(self.truth.sum())
        kinds = f"{len(self.test) - strange:,} normal and {strange:,} anomalous"
        return (
            f"{len(self.test):,} rows held out at random ({kinds if self.labelled else 'no labels'}"
            f"); trained on {len(self.train):,} normal rows. The threshold lets"
            f" {self.config.false_alarm_rate:.2%} of {len(self.validation):,} other normal rows"
            " raise an alarm; baselines have theirs by the same rule."
        )

    def _isolation_forest(self, encode: Callable[[Tensor], Tensor]) -> tuple[Array, float]:
        """Test scores and threshold of the usual first choice for such a table. ``encode``: raw
        rows ``[N, F]`` → what the forest splits.
        """
        from sklearn.ensemble import IsolationForest

        train, *parts = (
            torch.cat([encode(rows) for rows in torch.split(torch.tensor(part), PART)]).numpy()
            for part in (self.train, self.test, self.validation)
        )
        forest = IsolationForest(random_state=self.config.seed).fit(train)
        scores, normal = (-forest.score_samples(part) for part in parts)
        return scores, self._threshold(normal)

    def _pca(self) -> tuple[Array, float]:
        """The same by the best linear autoencoder of the same width, on the same transform."""
        from sklearn.decomposition import PCA

        pca = PCA(self._latent).fit(self.rows.numpy())

        def errors(values: Array) -> Array:
            rows = self._normal_scores(values).numpy()
            rebuilt = pca.inverse_transform(pca.transform(rows))
            squares: Array = np.square(rows - rebuilt).mean(1)
            return squares

        return errors(self.test), self._threshold(errors(self.validation))

    def package(self, networks: Networks, folder: Path) -> Package:
        del folder
        detector, threshold = self._detector(networks)
        columns = zip(self.columns, self.train.T, strict=True)
        table = TableInput(columns=tuple(column.learned_from(cells) for column, cells in columns))
        answer = AnomalyAnswer(
            features=tuple(table.names),
            threshold=threshold,
            false_alarm_rate=self.config.false_alarm_rate,
        )
        vector = VectorAnswer(size=self.config.members * self._latent)
        example = {
            column.name: column.categories[int(cell)] if column.categories else float(cell)
            for column, cell in zip(self.columns, self.test[0], strict=True)
        }
        graph = GraphExport(
            detector,
            lambda rows: {"table": torch.tensor(self.test[:rows])},
            ["score", "contributions", "embedding"],
            held_out=self._held_out() if self.labelled else None,
        )
        return Package(
            {MAIN_GRAPH: graph},
            {
                "score": Verb(input=table, answer=answer, example=example),
                "embed": Verb(input=table, answer=vector, example=example),
            },
        )

    def _held_out(self) -> HeldOut:
        return HeldOut(
            lambda: ({"table": part} for part in torch.split(torch.tensor(self.test), 4096)),
            lambda outputs: alarm.metrics(outputs["score"], 0.0, self.truth)["average_precision"],
            "average_precision",
        )
