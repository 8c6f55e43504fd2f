"""The demand series, a user's own, and how a series is cut without letting the future in."""

from dataclasses import replace
from pathlib import Path

import pytest

from training.data import taylor
from training.data.taylor import Layout
from training.errors import DataError

HALF_HOURS = Layout(day=48, history=720, horizon=48, validation_days=7, test_days=14, test_parts=3)


def test_the_series_has_twelve_weeks_of_half_hours_and_says_where_it_is_from() -> None:
    series = taylor.load(None, "load")

    assert series.values.shape == (12 * 7 * 48,)
    assert series.values.min() > 0
    assert "Taylor 2003" in series.source
    assert "MIT" in series.license


def test_a_users_column_is_the_series(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("at,kw\n1,3\n2,5\n")
    series = taylor.load(path, "kw")

    assert series.values.tolist() == [3, 5]
    assert series.license == "the user's own"
    assert str(path) in series.source


def test_a_constant_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flat.csv"
    path.write_text("load\n3\n3\n")

    with pytest.raises(DataError, match="expected a series that varies; column 'load' is constant"):
        taylor.load(path, "load")


def test_held_out_parts_are_the_last_days_one_after_the_other() -> None:
    parts = taylor.split(4032, HALF_HOURS)

    assert [part.test for part in parts] == [
        range(42 * 48, 56 * 48, 48),
        range(56 * 48, 70 * 48, 48),
        range(70 * 48, 84 * 48, 48),
    ]
    assert [len(part.train) for part in parts] == [20, 34, 48]
    assert {len(part.validation) for part in parts} == {7}


@pytest.mark.parametrize("horizon", [1, 48, 49, 3 * 48])
def test_nothing_that_is_learned_from_reaches_into_what_is_judged(horizon: int) -> None:
    layout = replace(HALF_HOURS, horizon=horizon, test_parts=2)
    for part in taylor.split(4032, layout):
        assert part.train[0] >= layout.history
        assert part.train[-1] + horizon <= part.validation[0]
        assert part.validation[-1] + horizon <= part.test[0]
        assert part.test[-1] + horizon <= 4032


def test_steps_of_a_day_that_is_not_over_are_left_out() -> None:
    assert taylor.split(4032 + 47, HALF_HOURS) == taylor.split(4032, HALF_HOURS)


def test_a_series_too_short_is_told_with_both_counts() -> None:
    need = (15 + 14 + 7 + 42) * 48
    assert len(taylor.split(need, HALF_HOURS)) == 3

    with pytest.raises(DataError, match=f"expected at least {need:,} steps .*; got {need - 1:,}"):
        taylor.split(need - 1, HALF_HOURS)
