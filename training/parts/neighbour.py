"""The nearest known series gives its class: what a new way to classify series is compared with.

Distances are over raw values; series may differ in length. Knows no network.
"""

import numpy as np

from model_store.spec import Array
from training.data.activities import Labelled

MAX_CELLS = 2_000_000_000
"""Steps × steps × pairs of series that warping is tried on: some seconds."""


def accuracies(known: Labelled, test: Labelled) -> dict[str, float]:
    """Of the usual neighbours, by name; warping only where it takes no minutes."""
    longest = max(len(series) for series in (*known.series, *test.series))
    found = {"nearest_euclid": euclid(known, test)}
    if longest**2 * len(known) * len(test) <= MAX_CELLS:
        found["nearest_warped"] = warped(known, test)
    return {
        name: float((known.labels[distances.argmin(1)] == test.labels).mean())
        for name, distances in found.items()
    }


def euclid(known: Labelled, test: Labelled) -> Array:
    """Squared, of series stretched to one length: ``[test, known]``"""
    length = max(len(series) for series in (*known.series, *test.series))
    ours, theirs = (_stretched(part.series, length) for part in (test, known))
    squares: Array = np.stack([np.square(row - theirs).sum(1) for row in ours])
    return squares


def _stretched(series: list[Array], length: int) -> Array:
    """``[N, length · columns]``"""
    places = [np.linspace(0, len(one) - 1, length) for one in series]
    rows = [
        np.concatenate([np.interp(at, np.arange(len(one)), column) for column in one.T])
        for at, one in zip(places, series, strict=True)
    ]
    return np.stack(rows)


def warped(known: Labelled, test: Labelled) -> Array:
    """Dynamic time warping with squared steps and no window: ``[test, known]``

    All pairs at once, cell by cell. What lies beyond a series' end never reaches its last cell.
    """
    ours, theirs = _padded(test.series), _padded(known.series)  # [N, T, C], [M, S, C]
    ends = np.array([len(series) - 1 for series in known.series])
    distances = np.full((len(ours), len(theirs)), np.inf)
    above = np.full((theirs.shape[1], *distances.shape), np.inf)  # [S, N, M]
    for i in range(ours.shape[1]):
        row = np.empty_like(above)
        for j in range(theirs.shape[1]):
            cost = np.square(ours[:, None, i] - theirs[None, :, j]).sum(2)
            row[j] = cost + _cheapest(above, row, i, j)
        ended = [place for place, series in enumerate(test.series) if len(series) == i + 1]
        for place in ended:
            distances[place] = row[ends, place, np.arange(len(theirs))]
        above = row
    return distances


def _cheapest(above: Array, row: Array, i: int, j: int) -> Array | float:
    """The cheapest way to the cell before ``(i, j)``."""
    if j == 0:
        return 0.0 if i == 0 else above[0]
    if i == 0:
        before: Array = row[j - 1]
        return before
    least: Array = np.minimum(np.minimum(above[j], above[j - 1]), row[j - 1])
    return least


def _padded(series: list[Array]) -> Array:
    padded = np.zeros((len(series), max(map(len, series)), series[0].shape[1]))
    for place, one in enumerate(series):
        padded[place, : len(one)] = one
    return padded
