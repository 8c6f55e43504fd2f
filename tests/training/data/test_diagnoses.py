"""Breast cancer as scikit-learn has it, and a user's table in its place."""

from pathlib import Path

import numpy as np
import pytest

from training.data import diagnoses
from training.errors import DataError


def write(path: Path, rows: list[str], header: str = "age,pulse,verdict") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def rows(**counts: int) -> list[str]:
    return [f"{place},{60 + place % 9},{name}" for name, n in counts.items() for place in range(n)]


def test_breast_cancer_has_the_rows_and_labels_that_are_published() -> None:
    found = diagnoses.breast_cancer()

    assert found.values.shape == (569, 30)
    assert found.names == ("malignant", "benign")
    assert np.bincount(found.labels).tolist() == [212, 357]
    assert found.columns[0] == "mean_radius"


def test_own_labels_are_in_alphabetical_order_and_no_finding(tmp_path: Path) -> None:
    found = diagnoses.own(write(tmp_path / "own.csv", rows(well=40, ill=20)), "verdict")

    assert found.names == ("ill", "well")
    assert found.columns == ("age", "pulse")
    assert found.labels.tolist() == [1] * 40 + [0] * 20


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (rows(well=60), r"expected 2 to 50 different labels in column 'verdict'; got 1"),
        (rows(well=60, ill=9), r"at least 10 rows of each label; 'ill' has 9"),
        (rows(well=20, ill=20), r"expected at least 50 rows; got 40"),
        ([*rows(well=40, ill=20), "1,2,"], r"in column 'verdict'; row 62 has an empty cell"),
        ([*rows(well=40, ill=20), "1,x,ill"], r"number in column 'pulse', row 62; got 'x'"),
        ([*rows(well=40, ill=20), "1,nan,ill"], r"number in column 'pulse', row 62; got 'nan'"),
        ([*rows(well=40, ill=20), "1,1e39,ill"], r"expected numbers of 32-bit size; got 1e\+39"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        diagnoses.own(write(tmp_path / "own.csv", lines), "verdict")


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "own.csv", rows(well=40, ill=20))
    with pytest.raises(DataError, match="expected a column 'diagnosis'; there are 'age', 'pulse'"):
        diagnoses.own(path, "diagnosis")

    bare = write(tmp_path / "bare.csv", ["ill", "well"] * 30, header="verdict")
    with pytest.raises(DataError, match="columns of numbers beside 'verdict'; got none"):
        diagnoses.own(bare, "verdict")
