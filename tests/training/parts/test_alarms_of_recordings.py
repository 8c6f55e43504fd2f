"""Alarms that are set across recordings."""

import numpy as np
import pytest

from model_store.spec import Array
from training.parts import alarms_of_recordings as alarms
from training.parts.alarms_of_recordings import Rotation, Scorer, Verdict

SHAPE = (200, 64)


def loud(level: float, seed: int) -> Array:
    noise = np.random.default_rng(seed).normal(0, level, SHAPE)
    return noise.astype(np.float32)


def unlike(known: Array) -> Scorer:
    """By loudness."""
    usual = float(alarms.rms(known).mean())

    def score(windows: Array) -> Array:
        distance: Array = np.abs(alarms.rms(windows) - usual)
        return distance

    return score


def rotation() -> Rotation:
    return Rotation((loud(1, 0), loud(2, 1)), loud(1, 2), {"cracked": loud(8, 3)})


def test_an_alarm_is_set_where_each_half_is_strange_to_what_learned_from_the_other() -> None:
    halves = rotation().halves
    one, other = (unlike(half) for half in halves)
    limit = alarms.threshold(one, other, rotation(), 0.05)

    strange = np.concatenate([one(halves[1]), other(halves[0])])
    assert (strange > limit).mean() == pytest.approx(0.05, abs=0.005)
    assert limit > max(one(halves[0]).max(), other(halves[1]).max()), "its own half is no measure"


def test_noise_is_as_loud_as_each_window() -> None:
    windows = loud(1, 0) * np.linspace(0.1, 9, len(loud(1, 0)), dtype=np.float32)[:, None]
    noise = alarms.with_noise(windows, np.random.default_rng(1)) - windows
    assert alarms.rms(noise) == pytest.approx(alarms.rms(windows), rel=0.5)
    assert np.mean(alarms.rms(noise) / alarms.rms(windows)) == pytest.approx(1, abs=0.02)


def verdict(sound: list[float], **faulty: list[float]) -> Verdict:
    """The alarm is at 1; with noise every window scores one more."""
    scores = {name: np.array(part) for name, part in faulty.items()}
    noisy = {name: part + 1 for name, part in scores.items()}
    return Verdict(1.0, np.array(sound), scores, np.array(sound) + 1, noisy)


def test_the_worst_recording_in_the_worst_rotation_counts() -> None:
    verdicts = [
        verdict([0.0, 0.5], inner=[2.0, 2.0], outer=[2.0, 0.9]),
        verdict([0.0, 1.5], inner=[2.0, 2.0], outer=[2.0, 2.0]),
    ]
    found = alarms.metrics(verdicts, ["inner"])

    assert found["caught_in_worst_recording"] == 0.5
    assert found["false_alarm_rate"] == 0.25
    assert found["worst_false_alarm_rate"] == 0.5
    assert found["roc_auc"] == pytest.approx((1 + 1) / 2)
    assert found["noisy_false_alarm_rate"] == 0.5
    assert found["caught_at_same_load"] == 1
    assert "rotation 2" in alarms.table(verdicts)
    assert "| outer | 50.0% | 100.0% |" in alarms.table(verdicts)


def test_blows_raise_the_kurtosis() -> None:
    still = loud(1, 0)
    struck = still.copy()
    struck[:, 10] = 12
    assert alarms.kurtosis(still).mean() == pytest.approx(3, abs=0.3)
    assert alarms.kurtosis(struck).min() > alarms.kurtosis(still).max()


def test_what_no_main_direction_of_the_known_has_is_left_over() -> None:
    known = loud(1, 0)[:, :4] @ loud(1, 1)[:4] + loud(0.01, 2)
    score = alarms.pca(known, lambda windows: windows)
    assert score(2 * known).max() < score(known + loud(1, 3)).min()
