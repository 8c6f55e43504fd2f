"""Plain forecasts and scores, on series whose answers are known."""

import numpy as np
import pytest

from model_store.spec import Array
from training.parts import backtest
from training.parts.backtest import Backtest, Season

SEASON = Season(day=4, week=28)


def weekly(weeks: int, growth: float = 1.0) -> Array:
    """A week's pattern, each week ``growth`` times the one before."""
    pattern = 10 + np.random.default_rng(0).uniform(0, 5, SEASON.week)
    return np.concatenate([pattern * growth**week for week in range(weeks)])


def test_week_ago_is_right_where_each_week_is_like_the_last() -> None:
    values = weekly(4)

    assert np.array_equal(backtest.week_ago(values[:84], 84, 4, SEASON), values[84:88])


def test_level_by_ratio_is_right_where_a_series_grows_by_percent() -> None:
    values = weekly(4, growth=1.1)
    guess = backtest.at_level(values[:84], 84, 4, SEASON, ratio=True)

    assert guess == pytest.approx(values[84:88])


def test_level_by_difference_is_right_where_a_series_grows_by_an_amount() -> None:
    values = weekly(4) + 5.0 * (np.arange(112) // SEASON.week)
    guess = backtest.at_level(values[:84], 84, 4, SEASON, ratio=False)

    assert guess == pytest.approx(values[84:88])


def test_ridge_learns_what_follows_from_yesterdays_error() -> None:
    random = np.random.default_rng(1)
    error, values = np.zeros(SEASON.day), np.zeros(4 * 120)
    for day in range(120):  # each day's error is the turned one of the day before, and some noise
        error = 0.9 * error[::-1] + random.normal(size=SEASON.day)
        before = values[day * 4 - 28 : day * 4 - 24] if day >= 7 else np.zeros(4)
        values[day * 4 : day * 4 + 4] = before + error
    origins = range(4 * 90, 4 * 120, 4)
    truth = np.array([values[o : o + 4] for o in origins])
    guess = np.array([backtest.ridge(values, o, 4, SEASON) for o in origins])
    naive = np.array([backtest.week_ago(values, o, 4, SEASON) for o in origins])

    assert np.abs(guess - truth).mean() < 0.8 * np.abs(naive - truth).mean()


@pytest.mark.parametrize("forecast", ["week_ago", "at_level", "ridge"])
def test_no_plain_forecast_looks_beyond_its_origin(forecast: str) -> None:
    values = weekly(8) + np.random.default_rng(2).normal(size=224)
    hidden = values.copy()
    hidden[168:] = np.nan
    options = {"ratio": True} if forecast == "at_level" else {}
    guess = getattr(backtest, forecast)

    assert np.array_equal(
        guess(values, 168, 4, SEASON, **options), guess(hidden, 168, 4, SEASON, **options)
    )


def judged() -> Backtest:
    """Two forecasts of two steps: errors 1, the naive one's 4; three truths of four inside."""
    truth = np.array([[10.0, 20.0], [30.0, 40.0]])
    lower = np.array([[8.0, 18.0], [28.0, 40.5]])
    return Backtest({"naive": truth + 4}, truth, truth - 1, lower, lower + 4)


def test_scores_are_errors_gain_coverage_and_width() -> None:
    metrics, plain = backtest.scores(judged())

    assert metrics == {
        "mean_absolute_error": 1.0,
        "improvement_on_week_ago": 0.75,
        "interval_coverage": 0.75,
        "interval_coverage_at_the_worst_step": 0.5,
        "mean_interval_width": 4.0,
    }
    assert plain == {"naive": {"mean_absolute_error": 4.0, "improvement_on_week_ago": 0.0}}


def test_pooled_parts_count_by_their_forecasts() -> None:
    both = backtest.pooled([judged(), judged()])

    assert both.truth.shape == (4, 2)
    assert backtest.scores(both) == backtest.scores(judged())


def test_pictures_have_a_row_for_each_part_and_a_line_for_each_forecast() -> None:
    parts = [judged(), judged()]

    assert len(backtest.days(parts, shown=5, step="step").axes) == 2
    assert len(backtest.by_step(judged(), "step", 0.8).axes[0].lines) == 2
