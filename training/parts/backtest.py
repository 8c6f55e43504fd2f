"""Held-out forecasts beside plain ones: scores and pictures. Knows no recipe and no network.

An origin is the step at which a forecast is made, from the steps before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from model_store.spec import Array

BLOCKS = 12  # of yesterday's errors, that the ridge looks at: two hours each
RIDGE = 10.0
LEVEL_RATIO = "week_ago_at_yesterdays_level"
NIGHTLY_RIDGE = "ridge_refitted_every_midnight"
WEEK_AGO = "same_as_a_week_ago"


@dataclass(frozen=True)
class Season:
    """The rhythms of a series, in steps."""

    day: int
    week: int


def week_ago(values: Array, origin: int, horizon: int, season: Season) -> Array:
    """The steps of a week before: what anyone would try first. ``[horizon]``"""
    return values[origin - season.week :][:horizon]


def at_level(values: Array, origin: int, horizon: int, season: Season, *, ratio: bool) -> Array:
    """A week ago, times (or plus) how yesterday differed from its own week ago. ``[horizon]``"""
    yesterday = values[origin - season.day : origin].mean()
    before = values[origin - season.week - season.day :][: season.day].mean()
    last = week_ago(values, origin, horizon, season)
    moved: Array = last * (yesterday / before) if ratio else last + (yesterday - before)
    return moved


def ridge(values: Array, origin: int, horizon: int, season: Season) -> Array:
    """A ridge regression for each step, fitted now on every earlier midnight, from yesterday's
    errors of the week-ago forecast to today's. ``[horizon]``
    """
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def look(at: int) -> tuple[list[float], Array]:
        start = at - season.day
        error = values[start:at] - week_ago(values, start, season.day, season)
        level = error.mean()
        blocks = np.array_split(error - level, min(BLOCKS, season.day))
        return [*(block.mean() for block in blocks), level], week_ago(
            values, at, horizon, season
        ) + level

    first = season.week + season.day
    known = range(first + origin % season.day, origin - horizon + 1, season.day)
    seen = [look(at) for at in known]
    missed = [values[at : at + horizon] - base for at, (_, base) in zip(known, seen, strict=True)]
    model = make_pipeline(StandardScaler(), Ridge(alpha=RIDGE))
    model.fit(np.array([features for features, _ in seen]), np.array(missed))
    features, base = look(origin)
    forecast: Array = base + model.predict(np.array([features]))[0]
    return forecast


@dataclass(frozen=True)
class Backtest:
    """Forecasts of one held-out part; every array ``[N, H]``, a row an origin.

    ``plain``: other forecasts of the same, by name; the first is the one to improve on.
    """

    plain: Mapping[str, Array]
    truth: Array
    values: Array
    lower: Array
    upper: Array

    @property
    def covered(self) -> Array:
        """Whether the truth lay in the interval."""
        inside: Array = (self.truth >= self.lower) & (self.truth <= self.upper)
        return inside

    def errors(self) -> dict[str, Array]:
        """Absolute errors of the plain forecasts."""
        return {name: np.abs(guess - self.truth) for name, guess in self.plain.items()}


def pooled(parts: list[Backtest]) -> Backtest:
    """All parts as one."""
    return Backtest(
        {name: np.concatenate([part.plain[name] for part in parts]) for name in parts[0].plain},
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.lower for part in parts]),
        np.concatenate([part.upper for part in parts]),
    )


def scores(test: Backtest) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Metrics of the model, and of each plain forecast."""
    errors = test.errors()
    naive = float(next(iter(errors.values())).mean())

    def judge(error: Array) -> dict[str, float]:
        mean = float(error.mean())
        gain = 1 - mean / naive if naive else 0.0
        return {"mean_absolute_error": mean, "improvement_on_week_ago": gain}

    metrics = judge(np.abs(test.values - test.truth)) | {
        "interval_coverage": float(test.covered.mean()),
        "interval_coverage_at_the_worst_step": float(test.covered.mean(0).min()),
        "mean_interval_width": float((test.upper - test.lower).mean()),
    }
    return metrics, {name: judge(error) for name, error in errors.items()}


def days(parts: list[Backtest], shown: int, step: str) -> Figure:
    """The last ``shown`` forecasts of each part on end, a row a part."""
    figure = Figure(figsize=(11, 2.6 * len(parts)))
    rows = figure.subplots(len(parts), 1, squeeze=False)[:, 0]
    for place, (axes, part) in enumerate(zip(rows, parts, strict=True)):
        pick = slice(-min(shown, len(part.truth)), None)
        at = np.arange(part.truth[pick].size)
        axes.fill_between(at, part.lower[pick].ravel(), part.upper[pick].ravel(),
                          color="tab:blue", alpha=0.3, linewidth=0, label="interval")  # fmt: skip
        name, naive = next(iter(part.plain.items()))
        axes.plot(at, naive[pick].ravel(), ":", color="tab:orange", linewidth=1.3,
                  label=name.replace("_", " "))  # fmt: skip
        axes.plot(at, part.values[pick].ravel(), color="tab:blue", linewidth=1, label="forecast")
        axes.plot(at, part.truth[pick].ravel(), color="black", linewidth=1, label="truth")
        for midnight in range(0, len(at) + 1, part.truth.shape[1]):
            axes.axvline(midnight, color="grey", linewidth=0.5)
        axes.set_title(f"end of held-out part {place + 1}", fontsize=9, loc="left")
        axes.set_xlim(0, len(at))
        axes.grid(alpha=0.2)
    figure.legend(*rows[0].get_legend_handles_labels(), fontsize=8, ncols=4, loc="upper right")
    rows[-1].set_xlabel(f"{step}; a new forecast at each line")
    figure.tight_layout()
    return figure


def by_step(test: Backtest, step: str, coverage: float) -> Figure:
    """Mean absolute error and coverage of each step ahead."""
    figure = Figure(figsize=(11, 3.4))
    left, right = figure.subplots(1, 2)
    ahead = np.arange(1, test.truth.shape[1] + 1)
    for name, error in test.errors().items():
        left.plot(ahead, error.mean(0), linewidth=1, alpha=0.8, label=name.replace("_", " "))
    ours = np.abs(test.values - test.truth).mean(0)
    left.plot(ahead, ours, color="black", linewidth=1.8, label="this model")
    left.set(xlabel=step, ylabel="mean absolute error", ylim=(0, 1.35 * left.get_ylim()[1]))
    left.legend(fontsize=7, ncols=2, loc="upper left")
    right.plot(ahead, test.covered.mean(0), color="black", label="covered")
    right.axhline(coverage, linestyle="--", color="grey", label="meant")
    right.set(xlabel=step, ylabel="share of truths in the interval", ylim=(0, 1.02))
    right.legend(fontsize=7)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    return figure
