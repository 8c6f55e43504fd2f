"""Distances to the nearest known series."""

import numpy as np

from model_store.spec import Array
from training.data.activities import Labelled
from training.parts import neighbour


def plain(one: Array, other: Array) -> float:
    """Dynamic time warping as the textbook writes it."""
    table = np.full((len(one) + 1, len(other) + 1), np.inf)
    table[0, 0] = 0
    for i, step in enumerate(one, start=1):
        for j, seen in enumerate(other, start=1):
            cost = float(np.square(step - seen).sum())
            table[i, j] = cost + min(table[i - 1, j], table[i, j - 1], table[i - 1, j - 1])
    return float(table[-1, -1])


def part(lengths: list[int], seed: int) -> Labelled:
    rng = np.random.default_rng(seed)
    series: list[Array] = [rng.normal(size=(length, 2)).astype(np.float32) for length in lengths]
    return Labelled(series, np.arange(len(lengths)))


def test_warping_of_all_pairs_at_once_is_that_of_each_pair() -> None:
    known, test = part([5, 7, 3], seed=0), part([6, 2, 9, 4], seed=1)

    expected = [[plain(one, other) for other in known.series] for one in test.series]
    np.testing.assert_allclose(neighbour.warped(known, test), expected, rtol=1e-5)


def test_a_series_is_its_own_nearest_at_any_speed() -> None:
    known = part([8, 8, 8, 8], seed=0)
    slow = Labelled([np.repeat(series, 2, axis=0) for series in known.series], known.labels)

    assert neighbour.accuracies(known, known) == {"nearest_euclid": 1, "nearest_warped": 1}
    assert neighbour.accuracies(known, slow)["nearest_warped"] == 1
