"""What the README promises of the models is what the models reach on held-out data."""

import operator
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import pytest

from model_store.manifest import Manifest
from model_store.store import Store
from tests.service.server import MODELHUB
from training.data import archive, elpv
from training.starter import STARTER


class Promise(NamedTuple):
    """A metric's bound; a string is the baseline it has to be as good as."""

    recipe: str
    metric: str
    holds: Callable[[float, float], bool]
    bound: float | str

    def check(self, manifest: Manifest) -> None:
        value = manifest.metrics[self.metric]
        bound = self.bound
        if isinstance(bound, str):
            bound = manifest.baselines[bound][self.metric]
        assert self.holds(value, bound), f"{self}: {value}, {bound}"


PROMISES = [
    Promise("cnn_digits", "accuracy", operator.ge, 0.983),
    Promise("rnn_demand", "improvement_on_week_ago", operator.ge, 0.30),
    Promise("rnn_demand", "mean_absolute_error", operator.lt, "week_ago_at_yesterdays_level"),
    Promise("rnn_demand", "interval_coverage", operator.ge, 0.70),
    Promise("rnn_demand", "interval_coverage", operator.le, 0.90),
    Promise("transformer_sentiment", "accuracy", operator.ge, 0.77),
    Promise("gan_digits", "label_accuracy", operator.ge, 0.90),
    Promise("gan_digits", "diversity", operator.ge, 0.50),
    Promise("autoencoder_telemetry", "roc_auc", operator.ge, 0.998),
    Promise("autoencoder_telemetry", "average_precision", operator.ge, 0.985),
    Promise("autoencoder_telemetry", "roc_auc", operator.ge, "isolation_forest"),
    Promise("autoencoder_telemetry", "average_precision", operator.ge, "isolation_forest"),
]
FULL = {
    ("cnn_digits", "accuracy"): 0.988,
    ("transformer_sentiment", "accuracy"): 0.79,
    ("rnn_demand", "improvement_on_week_ago"): 0.30,
    ("gan_digits", "label_accuracy"): 0.90,
    ("autoencoder_telemetry", "average_precision"): 0.985,
}
"""Of the mean over three seeds, with ``--profile full``."""


def four_points_above(value: float, bound: float) -> bool:
    return value >= bound + 0.04


def within_a_hundredth(value: float, other: float) -> bool:
    return abs(value - other) <= 0.01


PRETRAINED = {
    "transformer_embedder": [
        Promise("transformer_embedder", "few_shot_accuracy", operator.ge, 0.74),
        Promise("transformer_embedder", "few_shot_accuracy", four_points_above, "tfidf"),
    ],
    "transformer_sentiment_finetuned": [
        Promise("transformer_sentiment_finetuned", "accuracy", operator.ge, 0.85),
        Promise(
            "transformer_sentiment_finetuned",
            "accuracy",
            four_points_above,
            "tfidf_logistic_regression",
        ),
    ],
    "svm_features": [
        Promise("svm_features", "roc_auc", operator.ge, 0.83),
        Promise("svm_features", "roc_auc", within_a_hundredth, "scikit_learn_itself"),
        Promise("svm_features", "roc_auc", four_points_above, "logistic_regression_on_pixels"),
    ],
}
"""Of one run with the quick profile, which takes minutes."""


def test_every_starter_model_has_a_promise() -> None:
    assert {promise.recipe for promise in PROMISES} == set(STARTER)
    assert {recipe for recipe, _ in FULL} == set(STARTER)


@pytest.mark.slow
@pytest.mark.parametrize("promise", PROMISES, ids=lambda p: f"{p.recipe}-{p.metric}-{p.bound}")
def test_starter_model_keeps_its_promise(promise: Promise, starter_store: Path) -> None:
    promise.check(Store(starter_store).open(promise.recipe).manifest)


@pytest.mark.slow
def test_starter_set_is_one_model_of_each_of_five_families(starter_store: Path) -> None:
    store = Store(starter_store)
    families = {store.open(name).manifest.family for name in store.names()}
    assert families == {"cnn", "rnn", "transformer", "gan", "autoencoder"}


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "metric"), FULL)
def test_full_profile_keeps_its_promise_over_three_seeds(
    recipe: str, metric: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--full"):
        pytest.skip("takes half an hour: make prove")
    flags = ["--profile", "full", "--store", str(tmp_path)]
    runs = [
        subprocess.Popen([MODELHUB, "train", recipe, *flags, "--seed", str(seed)])
        for seed in range(3)
    ]
    assert [run.wait() for run in runs] == [0, 0, 0]
    store = Store(tmp_path)
    manifests = [store.open(f"{recipe}@{version}").manifest for version in store.versions(recipe)]
    scores = [manifest.metrics[metric] for manifest in manifests]
    assert len(scores) == 3
    assert mean(scores) >= FULL[recipe, metric], scores


@pytest.mark.slow
@pytest.mark.parametrize("recipe", PRETRAINED)
def test_recipe_on_pretrained_weights_keeps_its_promises(
    recipe: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--full"):
        pytest.skip("takes ten minutes: make prove")
    if recipe == "svm_features" and archive.kept(elpv.ARCHIVE) is None:
        pytest.skip("needs the user's own consent: modelhub data get elpv")
    subprocess.run([MODELHUB, "train", recipe, "--store", str(tmp_path)], check=True)
    manifest = Store(tmp_path).open(recipe).manifest
    for promise in PRETRAINED[recipe]:
        promise.check(manifest)
