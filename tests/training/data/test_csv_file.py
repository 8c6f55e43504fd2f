"""A user's CSV: what is read, and how every fault in it is told."""

from pathlib import Path

import numpy as np
import pytest

from training.data import csv_file
from training.errors import DataError


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_columns_come_back_as_text_or_numbers(tmp_path: Path) -> None:
    table = csv_file.read(write(tmp_path, "name,load\nnoon,1.5\n1984, 2e3\n"))

    assert table.header == ("name", "load")
    assert table.column("name") == ["noon", "1984"]
    assert table.numbers("load").tolist() == [1.5, 2000.0]
    assert table.numbers("load").dtype == np.float64
    assert len(table) == 2


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_comma_semicolon_and_tab_part_the_cells(tmp_path: Path, delimiter: str) -> None:
    table = csv_file.read(write(tmp_path, f"a{delimiter}b\n1{delimiter}2\n"))

    assert table.numbers("b").tolist() == [2.0]


def test_quotes_hold_commas_and_line_breaks(tmp_path: Path) -> None:
    table = csv_file.read(write(tmp_path, 'text,mark\n"good, and\nlong",1\n'))

    assert table.column("text") == ["good, and\nlong"]


def test_byte_order_mark_and_windows_line_ends_are_no_part_of_the_data(tmp_path: Path) -> None:
    table = csv_file.read(write(tmp_path, b"\xef\xbb\xbfload\r\n3\r\n"))

    assert table.numbers("load").tolist() == [3.0]


def test_the_nameless_index_column_of_pandas_is_tolerated(tmp_path: Path) -> None:
    table = csv_file.read(write(tmp_path, ",load\n0,3\n"))

    assert table.numbers("load").tolist() == [3.0]
    with pytest.raises(DataError, match=r"there are 'load'$"):
        table.column("demand")


def test_blank_lines_are_skipped_but_counted(tmp_path: Path) -> None:
    table = csv_file.read(write(tmp_path, "load\n1\n\nx\n"))

    assert len(table) == 2
    with pytest.raises(DataError, match="column 'load', row 4; got 'x'"):
        table.numbers("load")


@pytest.mark.parametrize("cell", ["", "12 MW", "nan", "inf", "1,5"])
def test_a_cell_that_is_no_finite_number_is_named_by_column_and_row(
    tmp_path: Path, cell: str
) -> None:
    table = csv_file.read(write(tmp_path, f'at,load\na,1\nb,"{cell}"\n'))

    with pytest.raises(DataError, match=r"column 'load', row 3; got '.*'"):
        table.numbers("load")


def test_a_missing_column_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    table = csv_file.read(write(tmp_path, "at,demand\n1,2\n"))

    with pytest.raises(DataError, match="expected a column 'load'; there are 'at', 'demand'"):
        table.numbers("load")


def test_a_path_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv: expected a CSV file; No such file"):
        csv_file.read(tmp_path / "nowhere.csv")


def test_a_folder_is_not_a_csv_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a CSV file; Is a directory"):
        csv_file.read(tmp_path)


def test_bytes_that_are_not_text_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected UTF-8 text"):
        csv_file.read(write(tmp_path, b"\x89PNG\r\n\x1a\n\x00\xff"))


def test_a_ragged_row_is_told_with_its_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected 2 cells in each row; got 3 in row 3"):
        csv_file.read(write(tmp_path, "a,b\n1,2\n1,2,3\n"))


def test_a_cell_longer_than_csv_allows_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected CSV; field larger than"):
        csv_file.read(write(tmp_path, "text\n" + "x" * 200_000 + "\n"))


def test_too_few_rows_are_told_with_both_counts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected at least 1,000 rows; got 1"):
        csv_file.read(write(tmp_path, "a\n1\n"), min_rows=1000)


@pytest.mark.parametrize("text", ["", "\n\n", ",\n1,2\n"])
def test_a_header_without_names_is_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="expected a header with names"):
        csv_file.read(write(tmp_path, text))


def test_a_header_with_equal_names_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"distinct names; got \['a', 'a'\]"):
        csv_file.read(write(tmp_path, "a,a\n1,2\n"))
