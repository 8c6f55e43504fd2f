"""Reading Shuttle from its package, and a user's table in its place."""

from pathlib import Path

import numpy as np
import pytest

from training.data import shuttle
from training.data.labelled_rows import LabelledRows
from training.errors import DataError

HEADER = "speed,heat,broken"


def write(path: Path, rows: list[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def rows(normal: int = 300, anomalous: int = 20) -> list[str]:
    return [f"{place % 7},{place % 5}.5,0" for place in range(normal)] + ["90,-3,1"] * anomalous


def names(readings: LabelledRows) -> list[str]:
    return [column.name for column in readings.columns]


def test_shuttle_has_the_rows_and_anomalies_that_are_published() -> None:
    readings = shuttle.shuttle()

    assert readings.values.shape == (49_097, 9)
    assert readings.values.dtype == np.float32
    assert names(readings) == [f"f{place}" for place in range(1, 10)]
    assert readings.anomalous is not None
    assert readings.anomalous.sum() == 3_511


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuttle, "PACKAGE", "no_such_package")

    with pytest.raises(DataError, match=r"no_such_package; install it, or give --data"):
        shuttle.shuttle()


def test_label_column_is_no_reading(tmp_path: Path) -> None:
    readings = shuttle.own(write(tmp_path / "own.csv", rows()), "broken")

    assert names(readings) == ["speed", "heat"]
    assert readings.anomalous is not None
    assert readings.anomalous.tolist() == [False] * 300 + [True] * 20
    assert readings.values[-1].tolist() == [90, -3]


def test_without_a_label_column_every_column_is_a_reading(tmp_path: Path) -> None:
    readings = shuttle.own(write(tmp_path / "own.csv", rows()), None)

    assert names(readings) == ["speed", "heat", "broken"]
    assert readings.anomalous is None


@pytest.mark.parametrize(
    ("lines", "label", "words"),
    [
        (rows(), "faulty", r"expected a column 'faulty'; there are 'speed', 'heat', 'broken'"),
        ([*rows(), "1,2,3"], "broken", r"expected 0 or 1 in column 'broken', row 322; got 3"),
        ([*rows(), "1,hot,0"], "broken", r"number in column 'heat', row 322; got 'hot'"),
        ([*rows(), "1e39,1,0"], "broken", r"expected numbers of 32-bit size; got 1e\+39"),
        (rows(anomalous=3), "broken", r"at least 10 anomalous rows by column 'broken'; got 3"),
        (rows(150, 60), "broken", r"at least 200 normal rows by column 'broken'; got 150"),
        (rows(50, 12), "broken", r"expected at least 200 rows; got 62"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(
    tmp_path: Path, lines: list[str], label: str, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        shuttle.own(write(tmp_path / "own.csv", lines), label)


def test_a_table_of_labels_only_has_nothing_to_learn_from(tmp_path: Path) -> None:
    path = write(tmp_path / "own.csv", ["0"] * 300, header="broken")

    with pytest.raises(DataError, match="columns of numbers beside 'broken'; got none"):
        shuttle.own(path, "broken")
