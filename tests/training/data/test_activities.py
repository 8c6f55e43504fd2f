"""The archives' sets with their own split, and a user's table of series."""

from pathlib import Path

import pytest

from training.data import activities
from training.errors import DataError

HEADER = "run,what,x,y"


def write(path: Path, rows: list[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def rows(**counts: int) -> list[str]:
    """Series of 3, 4, 5, 3, … steps."""
    return [
        f"{name}{run},{name},{step},{run}"
        for name, count in counts.items()
        for run in range(count)
        for step in range(3 + run % 3)
    ]


@pytest.mark.parametrize("key", activities.SETS)
def test_packaged_set_has_a_name_for_each_of_its_columns_and_classes(key: str) -> None:
    found = activities.packaged(key)

    assert {series.shape[1] for series in found.known.series} == {len(found.columns)}
    assert set(found.known.labels) == set(range(len(found.names)))
    assert set(found.test.labels) <= set(found.known.labels)


def test_series_keep_their_length_and_each_class_has_a_fifth_held_out(tmp_path: Path) -> None:
    found = activities.own(write(tmp_path / "o.csv", rows(walk=10, run=20)), "run", "what", 0)

    assert found.names == ("run", "walk")
    assert found.columns == ("x", "y")
    assert sorted(found.test.labels.tolist()) == [0] * 4 + [1] * 2
    assert len(found.known) == 24
    assert found.lengths == range(3, 6)
    for series in found.known.series:
        assert series[:, 0].tolist() == list(range(len(series)))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (rows(walk=9), r"expected 2 to 100 different labels in column 'what'; got 1"),
        (rows(walk=9, run=4), r"at least 5 series of each label; 'run' has 4"),
        ([*rows(walk=9, run=9), "walk0,run,1,1"], r"one class for all rows of series 'walk0'; got"),
        ([*rows(walk=5, run=5), ",run,1,1"], r"row 40 has an empty cell"),
        ([*rows(walk=5, run=5), "z,run,1,"], r"finite number in column 'y', row 40; got ''"),
        ([*rows(walk=5, run=5), "z,run,1,1e39"], r"expected numbers of 32-bit size; got 1e\+39"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        activities.own(write(tmp_path / "own.csv", lines), "run", "what", 0)


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "own.csv", rows(walk=9, run=9))

    with pytest.raises(DataError, match="expected a column 'series'; there are 'run', 'what'"):
        activities.own(path, "series", "what", 0)
    bare = write(tmp_path / "bare.csv", ["a,b"], header="run,what")
    with pytest.raises(DataError, match="columns of numbers beside 'run' and 'what'; got none"):
        activities.own(bare, "run", "what", 0)
