"""Tecator with its own split, and a user's table of series and values."""

from pathlib import Path

import numpy as np
import pytest

from training.data import tecator
from training.errors import DataError


def write(path: Path, rows: list[str], header: str = "r1,r2,water,r3,r4") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def rows(count: int = 80) -> list[str]:
    return [f"{place},{place + 1},{place / 2},{place + 2},{place + 3}" for place in range(count)]


def test_tecator_keeps_its_test_part_and_what_is_learned_from_has_no_copy_of_it() -> None:
    spectra = tecator.load(None, "fat", seed=3)

    assert spectra.known.readings.shape == (150, 100)
    assert spectra.test.readings.shape == (43, 100)
    assert spectra.known.readings.dtype == spectra.known.targets.dtype == np.float32
    both = np.concatenate([spectra.known.readings, spectra.test.readings])
    assert len(np.unique(both, axis=0)) == len(both)
    assert 0.9 <= spectra.test.targets.min() < spectra.test.targets.max() <= 49.1


def test_every_column_but_the_target_is_a_reading_in_the_files_order(tmp_path: Path) -> None:
    spectra = tecator.load(write(tmp_path / "own.csv", rows()), "water", seed=0)

    assert (len(spectra.known), len(spectra.test)) == (64, 16)
    for part in (spectra.known, spectra.test):
        assert (part.readings[:, 0] == 2 * part.targets).all()
        assert (np.diff(part.readings, axis=1) == 1).all()
    first = {*spectra.known.targets.tolist(), *spectra.test.targets.tolist()}
    assert len(first) == 80, "a row is either learned from or held out"


@pytest.mark.parametrize(
    ("lines", "target", "words"),
    [
        (rows(), "fat", r"expected a column 'fat'; there are 'r1', 'r2', 'water', 'r3', 'r4'"),
        (rows(40), "water", r"expected at least 60 rows; got 40"),
        ([*rows(), "1,,3,4,5"], "water", r"finite number in column 'r2', row 82; got ''"),
        ([*rows(), "1,2,nan,4,5"], "water", r"finite number in column 'water', row 82; got 'nan'"),
        ([*rows(), "1,2,1e39,4,5"], "water", r"expected numbers of 32-bit size; got 1e\+39"),
        (["1,2,3,4,5"] * 70, "water", r"values that vary; column 'water' is constant"),
        (rows(59) * 2, "water", r"expected at least 60 different series; got 59"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(
    tmp_path: Path, lines: list[str], target: str, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        tecator.load(write(tmp_path / "own.csv", lines), target, seed=0)


def test_three_readings_are_no_series(tmp_path: Path) -> None:
    path = write(tmp_path / "own.csv", ["1,2,3,4"] * 70, header="r1,r2,water,r3")

    with pytest.raises(DataError, match=r"at least 4 columns of readings beside 'water'; got 3"):
        tecator.load(path, "water", seed=0)
