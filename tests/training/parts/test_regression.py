"""Scores of told values, and the usual methods beside them."""

import numpy as np
import pytest

from training.data.tecator import Samples
from training.parts import regression


def samples(count: int, seed: int) -> Samples:
    """Two peaks whose heights add up to the target, on a base that has nothing to do with it."""
    rng = np.random.default_rng(seed)
    steps = np.linspace(0, 1, 30)
    peaks = np.exp(-np.square((steps - np.array([[0.3], [0.7]])) / 0.1))
    heights = rng.uniform(1, 2, (count, 2))
    readings = heights @ peaks + rng.uniform(0, 1, (count, 1)) + rng.normal(0, 0.01, (count, 30))
    return Samples(readings.astype(np.float32), heights.sum(1).astype(np.float32))


def test_interval_holds_the_error_and_narrows_with_more_samples() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for count in (40, 400):
        truth = rng.normal(size=count).astype(np.float32)
        found = regression.scores(truth + rng.normal(0, 0.5, count), truth, seed=0)
        assert found["rmse_lower"] < found["rmse"] < found["rmse_upper"]
        assert found["rmse"] == pytest.approx(0.5, abs=0.1)
        widths.append(found["rmse_upper"] - found["rmse_lower"])
    assert widths[1] < widths[0] / 2


def test_mean_explains_nothing_and_the_truth_everything() -> None:
    truth = np.arange(10, dtype=np.float32)

    assert regression.scores(np.full(10, 4.5), truth, 0)["r2"] == pytest.approx(0)
    perfect = regression.scores(truth, truth, 0)
    assert (perfect["rmse"], perfect["r2"]) == (0, 1)


def test_usual_methods_read_peaks_far_better_than_the_mean_does() -> None:
    known, test = samples(80, seed=1), samples(40, seed=2)
    told = regression.classical(known, test)

    error = {name: np.abs(guess - test.targets).mean() for name, guess in told.items()}
    assert set(error) == {
        "pls_raw", "pls_snv", "pls_snv_first_derivative", "pls_second_derivative",
        "gaussian_process", "mean_of_the_known",
    }  # fmt: skip
    assert error["pls_raw"] < error["mean_of_the_known"] / 5
