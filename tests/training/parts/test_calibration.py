"""Whether probabilities mean what they say."""

import numpy as np
import pytest

from training.parts import calibration


def test_one_who_is_right_as_often_as_sure_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 1, 20_000)
    labels = (rng.uniform(size=20_000) > first).astype(int)
    honest = np.stack([first, 1 - first], axis=1)
    boastful = np.eye(2)[honest.argmax(1)]

    assert calibration.scores(honest, labels)["calibration_error"] < 0.01
    assert calibration.scores(boastful, labels)["calibration_error"] == pytest.approx(
        0.25, abs=0.01
    )


def test_brier_score_of_two_classes_is_the_usual_one() -> None:
    found = calibration.scores(np.array([[0.8, 0.2], [0.4, 0.6]]), np.array([0, 0]))

    assert found["brier"] == pytest.approx((0.2**2 + 0.6**2) / 2)
    assert found["accuracy"] == 0.5


def test_one_who_is_surely_wrong_has_a_finite_loss() -> None:
    found = calibration.scores(np.array([[0.0, 1.0]]), np.array([0]))

    assert found["calibration_error"] == 1
    assert np.isfinite(found["log_loss"])
