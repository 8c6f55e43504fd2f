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
from tests.service.players import asking
from tests.service.server import MODELHUB, serving
from training import recipe as recipes
from training.data import archive, bearings, elpv
from training.parts.environment import TEST_SEEDS, find, play
from training.starter import STARTER


class Promise(NamedTuple):
    """A metric's bound; a string is the baseline it has to be as good as. ``of`` is a baseline too,
    where the promise is not of the model itself.
    """

    recipe: str
    metric: str
    holds: Callable[[float, float], bool]
    bound: float | str
    of: str = ""

    def check(self, *manifests: Manifest) -> None:
        """The mean over the runs."""
        values = [self._score(manifest, self.of) for manifest in manifests]
        bound = self.bound
        if isinstance(bound, str):
            bound = mean(self._score(manifest, bound) for manifest in manifests)
        assert self.holds(mean(values), bound), f"{self}: {values}, {bound}"

    def _score(self, manifest: Manifest, baseline: str) -> float:
        return (manifest.baselines[baseline] if baseline else manifest.metrics)[self.metric]


PROMISES = [
    Promise("cnn_digits", "accuracy", operator.ge, 0.983),
    Promise("rnn_demand", "improvement_on_week_ago", operator.ge, 0.30),
    Promise("rnn_demand", "mean_absolute_error", operator.lt, "week_ago_at_yesterdays_level"),
    Promise("rnn_demand", "interval_coverage", operator.ge, 0.70),
    Promise("rnn_demand", "interval_coverage", operator.le, 0.90),
    Promise("transformer_sentiment", "accuracy", operator.ge, 0.765),
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


def at_most_half(value: float, bound: float) -> bool:
    """For errors, where less is better."""
    return value <= bound / 2


def two_points_above(value: float, bound: float) -> bool:
    return value >= bound + 0.02


def nearly(value: float, bound: float) -> bool:
    """At most half a point below."""
    return value >= bound - 0.005


LIGHTLY = ("--noise", "0.3", "--dropout", "0.2", "--label-smoothing", "0")

APPLICATIONS: dict[tuple[str, ...], list[Promise]] = {
    ("rnn_sensor",): [
        Promise("rnn_sensor", "rmse", operator.le, 1.2),
        Promise("rnn_sensor", "rmse", at_most_half, "pls_raw"),
        Promise("rnn_sensor", "rmse", at_most_half, "pls_snv"),
        Promise("rnn_sensor", "rmse", at_most_half, "pls_snv_first_derivative"),
        Promise("rnn_sensor", "rmse", at_most_half, "pls_second_derivative"),
        Promise("rnn_sensor", "rmse", operator.lt, "gru"),
    ],
    **{
        ("rnn_activity", "--dataset", dataset, *flags): [
            Promise("rnn_activity", "accuracy", operator.ge, least),
            Promise("rnn_activity", "accuracy", operator.ge, "nearest_euclid"),
            Promise("rnn_activity", "accuracy", operator.ge, "nearest_warped"),
        ]
        for dataset, flags, least in (
            ("basic_motions", (), 0.98),
            ("japanese_vowels", (), 0.98),
            ("italy_power", LIGHTLY, 0.95),
        )
    },
    ("cnn_detector",): [  # seed 0 alone was measured: 0.866
        Promise("cnn_detector", "mean_average_precision", operator.ge, 0.70),
        Promise("cnn_detector", "mean_average_precision", operator.gt, "sliding_window"),
    ],
    ("cnn_segmenter",): [  # seed 0 alone was measured: 0.802
        Promise("cnn_segmenter", "mean_iou", operator.ge, 0.75),
        Promise("cnn_segmenter", "mean_iou", operator.gt, "colour_of_each_pixel"),
    ],
    ("autoencoder_latent",): [Promise("autoencoder_latent", "probe_accuracy", operator.gt, "pca")],
    # The GAN's own drawings promise nothing: -0.3 points over none (-0.7 to +0.1) with seed 0.
    ("gan_augment",): [
        Promise("gan_augment", "accuracy", two_points_above, "none", of="ordinary_augmentation")
    ],
    ("gan_faces",): [
        Promise("gan_faces", "attribute_accuracy", operator.ge, 0.95),
        Promise("gan_faces", "lowest_attribute_accuracy", operator.ge, 0.85),
        Promise("gan_faces", "frechet_distance", at_most_half, "variational_autoencoder"),
    ],
    # On 90 frauds a seed alone decides little; only of the means is it said.
    ("autoencoder_fraud",): [
        Promise("autoencoder_fraud", "average_precision", operator.ge, "isolation_forest"),
        Promise("autoencoder_fraud", "average_precision", operator.gt, "pca"),
    ],
    ("mlp_diagnosis",): [
        Promise("mlp_diagnosis", "accuracy", operator.ge, 0.975),
        Promise("mlp_diagnosis", "accuracy", nearly, "logistic_regression"),
        Promise("mlp_diagnosis", "calibration_error", operator.le, 0.025),
        Promise("mlp_diagnosis", "brier", operator.le, 0.022),
    ],
    ("transformer_speller",): [
        Promise("transformer_speller", "phoneme_error", operator.le, 0.08),
        Promise("transformer_speller", "word_error", operator.le, 0.33),
        Promise("transformer_speller", "phoneme_error", operator.lt, "table_of_letter_windows"),
        Promise("transformer_speller", "word_error", operator.lt, "table_of_letter_windows"),
    ],
    # More than word for word by chrF too was wished for, but never seen: a quarter of the
    # Transformer's quick profile has 38.4, half of the other's 39.8, and word for word 39.8.
    ("transformer_translator",): [Promise("transformer_translator", "bleu", operator.ge, 10.0)],
    ("rnn_translator",): [
        Promise("rnn_translator", "bleu", operator.ge, 10.0),
        Promise("rnn_translator", "chrf", operator.gt, "word_for_word"),
    ],
    ("rnn_writer",): [Promise("rnn_writer", "bits_per_byte", operator.lt, "5_gram_of_bytes")],
    ("transformer_writer",): [
        Promise("transformer_writer", "bits_per_byte", operator.lt, "4_gram_of_bytes")
    ],
    ("transformer_writer", "--profile", "full"): [
        Promise("transformer_writer", "bits_per_byte", operator.lt, 1.95),
        Promise("transformer_writer", "bits_per_byte", operator.lt, "5_gram_of_the_same_tokens"),
        Promise("transformer_writer", "bits_per_byte", operator.lt, "9_gram_of_bytes"),
    ],
    # Seed 0 alone was measured: 0.152, 0.181 and 0.194. 0.05 was wished for.
    ("rnn_speech",): [
        Promise("rnn_speech", "word_error", operator.le, 0.20),
        Promise("rnn_speech", "word_error_8khz", operator.le, 0.24),
        Promise("rnn_speech", "word_error", at_most_half, "templates_by_time_warping"),
        Promise("rnn_speech", "word_error_noisy", at_most_half, "templates_by_time_warping"),
    ],
    ("policy_cartpole",): [
        Promise("policy_cartpole", "mean_return", operator.ge, 475),
        Promise("policy_cartpole", "mean_return", operator.gt, "angle_and_velocity"),
    ],
    ("policy_lunarlander",): [
        Promise("policy_lunarlander", "mean_return", operator.ge, 200),
        Promise("policy_lunarlander", "mean_return", operator.gt, "gymnasium_heuristic"),
    ],
    ("policy_pendulum",): [Promise("policy_pendulum", "mean_return", operator.ge, -200)],
}
"""A recipe with its flags → what the mean over three seeds keeps; the quick profile, where no flag
names another.
"""


def four_points_above(value: float, bound: float) -> bool:
    return value >= bound + 0.04


def ten_points_above(value: float, bound: float) -> bool:
    return value >= bound + 0.10


def within_a_hundredth(value: float, other: float) -> bool:
    return abs(value - other) <= 0.01


PRETRAINED = {
    "cnn_classifier": [
        Promise("cnn_classifier", "accuracy", operator.ge, 0.77),
        Promise("cnn_classifier", "accuracy", operator.ge, 0.72, of="frozen_features"),
        Promise("cnn_classifier", "accuracy", ten_points_above, "from_scratch"),
    ],
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
    "gan_style": [
        Promise("gan_style", "style_loss", at_most_half, "unchanged"),
        Promise("gan_style", "total_loss", at_most_half, "unchanged"),
        Promise("gan_style", "milliseconds_a_picture", at_most_half, "optimisation"),
    ],
    "autoencoder_inspection": [
        Promise("autoencoder_inspection", "roc_auc", operator.ge, 0.82),
        Promise("autoencoder_inspection", "roc_auc", four_points_above, "darkness"),
        Promise("autoencoder_inspection", "false_alarm_rate", operator.le, 0.08),
    ],
    "svm_features": [
        Promise("svm_features", "roc_auc", operator.ge, 0.83),
        Promise("svm_features", "roc_auc", within_a_hundredth, "scikit_learn_itself"),
        Promise("svm_features", "roc_auc", four_points_above, "logistic_regression_on_pixels"),
    ],
    "autoencoder_machine": [
        Promise("autoencoder_machine", "caught_in_worst_recording", operator.ge, 0.95),
        Promise("autoencoder_machine", "worst_false_alarm_rate", operator.le, 0.08),
        Promise("autoencoder_machine", "false_alarm_rate", operator.le, 0.03),
        Promise("autoencoder_machine", "noisy_roc_auc", operator.ge, 0.95),
        Promise("autoencoder_machine", "noisy_roc_auc", operator.gt, "pca_of_log_spectrum"),
    ],
}
"""Of one run with the quick profile, which takes minutes."""
CONSENT = {"autoencoder_inspection": elpv, "svm_features": elpv, "autoencoder_machine": bearings}
"""Recipes whose data is not for commercial use, and so is fetched by its own command only."""


PLAYED = {"policy_cartpole": 475, "policy_lunarlander": 200, "policy_pendulum": -200}
"""Mean return of episodes that are played by asking a server."""
PLAYED_SEEDS = range(TEST_SEEDS + 1000, TEST_SEEDS + 1100)
"""Not those of the score either."""


def test_every_starter_model_has_a_promise() -> None:
    assert {promise.recipe for promise in PROMISES} == set(STARTER)
    assert {recipe for recipe, _ in FULL} == set(STARTER)


def test_every_recipe_has_a_promise() -> None:
    beside = {order[0] for order in APPLICATIONS} | set(PRETRAINED)
    assert beside | set(STARTER) == set(recipes.names())
    for name, promises in PRETRAINED.items():
        assert {promise.recipe for promise in promises} == {name}
    for (name, *_), promises in APPLICATIONS.items():
        assert {promise.recipe for promise in promises} == {name}


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
    manifests = _three_seeds((recipe, "--profile", "full"), tmp_path, request)
    scores = [manifest.metrics[metric] for manifest in manifests]
    assert mean(scores) >= FULL[recipe, metric], scores


@pytest.mark.slow
@pytest.mark.parametrize("order", APPLICATIONS, ids="_".join)
def test_application_keeps_its_promises_over_three_seeds(
    order: tuple[str, ...], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    manifests = _three_seeds(order, tmp_path, request)
    for promise in APPLICATIONS[order]:
        promise.check(*manifests)


def _three_seeds(
    order: tuple[str, ...], store: Path, request: pytest.FixtureRequest
) -> list[Manifest]:
    """What training as ordered publishes with the seeds 0, 1 and 2."""
    if not request.config.getoption("--full"):
        pytest.skip("takes two hours: make prove")
    runs = [
        subprocess.Popen([MODELHUB, "train", *order, "--store", store, "--seed", str(seed)])
        for seed in range(3)
    ]
    assert [run.wait() for run in runs] == [0, 0, 0]
    name = order[0]
    versions = Store(store).versions(name)
    assert len(versions) == 3
    return [Store(store).open(f"{name}@{version}").manifest for version in versions]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", PRETRAINED)
def test_recipe_on_pretrained_weights_keeps_its_promises(
    recipe: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--full"):
        pytest.skip("takes ten minutes: make prove")
    source = CONSENT.get(recipe)
    if source and archive.kept(source.ARCHIVE) is None:
        name = source.__name__.rpartition(".")[2]
        pytest.skip(f"needs the user's own consent: modelhub data get {name}")
    subprocess.run([MODELHUB, "train", recipe, "--store", str(tmp_path)], check=True)
    manifest = Store(tmp_path).open(recipe).manifest
    for promise in PRETRAINED[recipe]:
        promise.check(manifest)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", PLAYED)
def test_policy_keeps_its_promise_over_100_fresh_episodes_played_through_a_server(
    recipe: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--full"):
        pytest.skip("takes five minutes: make prove")
    store = tmp_path / "store"
    subprocess.run([MODELHUB, "train", recipe, "--store", store, "--seed", "3"], check=True)
    origin = Store(store).open(recipe).manifest.provenance
    assert origin
    environment = find(str(origin.config["environment"]))
    with serving(store, tmp_path) as server:
        returns = play(environment, asking(server, recipe), PLAYED_SEEDS)
    assert returns.mean() >= PLAYED[recipe], returns
