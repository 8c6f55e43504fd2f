"""Whether probabilities mean what they say: scores and a picture. Knows no model.

``probabilities`` are float ``[N, K]``, ``labels`` int ``[N]``.
"""

import numpy as np
from matplotlib.figure import Figure

from model_store.spec import Array

BINS = 10


def scores(probabilities: Array, labels: Array) -> dict[str, float]:
    """The Brier score is the mean over the classes, so that of two it is the usual one."""
    truth = np.eye(probabilities.shape[1])[labels]
    right = np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, 1)
    return {
        "accuracy": float((probabilities.argmax(1) == labels).mean()),
        "calibration_error": float(_gaps(probabilities, labels).sum()),
        "brier": float(np.square(probabilities - truth).mean()),
        "log_loss": float(-np.log(right).mean()),
    }


def _gaps(probabilities: Array, labels: Array) -> Array:
    """Each bin's part of the expected calibration error (Guo et al. 2017)."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return np.abs(np.bincount(place, right - confidence, minlength=BINS)) / len(labels)


def reliability(probabilities: Array, labels: Array) -> Figure:
    """How often an answer is right, by how sure it is; on the line it is as sure as it may be."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    figure = Figure(figsize=(4.6, 4))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for bin_ in np.unique(place):
        rows = place == bin_
        at, share = confidence[rows].mean(), right[rows].mean()
        axes.plot(at, share, "o", color="tab:blue")
        axes.annotate(f"{rows.sum():,}", (at, share), textcoords="offset points", xytext=(4, -10),
                      fontsize=8)  # fmt: skip
    axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1.03), ylim=(0, 1.03))
    axes.grid(alpha=0.3)
    return figure
