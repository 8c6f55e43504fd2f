"""How good anomaly scores are, and pictures of it. Knows no model.

Scores are float ``[N]``, the larger the stranger; ``truth`` is bool ``[N]``, true at anomalies, or
None where nobody knows and every row counts as normal.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from model_store.spec import Array

BINS = 80
CLOSE_UP = 0.9  # an average precision above which only the upper corner is shown


def metrics(scores: Array, threshold: float, truth: Array | None) -> dict[str, float]:
    """What can be said with the labels there are."""
    alarms = scores > threshold
    if truth is None:
        return {"false_alarm_rate": float(alarms.mean())}
    from sklearn.metrics import average_precision_score, roc_auc_score

    return {
        "average_precision": float(average_precision_score(truth, scores)),
        "roc_auc": float(roc_auc_score(truth, scores)),
        "recall": float(alarms[truth].mean()),
        "false_alarm_rate": float(alarms[~truth].mean()),
    }


def histogram(scores: Array, threshold: float, truth: Array | None) -> Figure:
    """Scores above zero, both axes logarithmic: anomalies are few and far."""
    figure = Figure(figsize=(6, 3.6))
    axes = figure.subplots()
    least = max(float(scores.min()), 1e-4)
    bins = np.geomspace(least, max(float(scores.max()), 2 * least), BINS).tolist()
    strange = np.zeros(len(scores), dtype=np.bool_) if truth is None else truth
    axes.hist(scores[~strange], bins, alpha=0.7, label="normal")
    if strange.any():
        axes.hist(scores[strange], bins, alpha=0.7, label="anomalous")
    axes.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.3g}")
    axes.set(xscale="log", yscale="log", xlabel="score (1: a usual normal row)", ylabel="rows")
    axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    return figure


def precision_recall(curves: Mapping[str, Array], truth: Array) -> Figure:
    """One curve for each name's scores; only the upper corner where the best are all there."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    figure = Figure(figsize=(4.8, 4))
    axes = figure.subplots()
    best = 0.0
    for name, scores in curves.items():
        precision, recall, _ = precision_recall_curve(truth, scores)
        average = average_precision_score(truth, scores)
        best = max(best, float(average))
        axes.plot(recall, precision, label=f"{name.replace('_', ' ')}, average {average:.4f}")
    limits = (0.5 if best > CLOSE_UP else 0.0, 1.01)
    axes.set(xlabel="recall", ylabel="precision", xlim=limits, ylim=limits)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower left" if best > CLOSE_UP else "upper right")
    return figure
