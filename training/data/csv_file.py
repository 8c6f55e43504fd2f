"""A user's CSV file as named columns of strings or numbers. Knows no recipe and no meaning."""

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model_store.spec import show
from training.errors import DataError

DELIMITERS = ",;\t"


@dataclass(frozen=True)
class CsvFile:
    """What :func:`read` found. ``cells[i]`` has a string for each name in ``header``, stripped of
    the blanks around it; ``row_numbers[i]`` is its row as a spreadsheet counts (the header is 1).
    """

    path: Path
    header: tuple[str, ...]
    cells: list[list[str]]
    row_numbers: list[int]

    def __len__(self) -> int:
        return len(self.cells)

    def column(self, name: str) -> list[str]:
        """One column as text. Raises DataError if it is not there."""
        if name not in self.header:
            there = ", ".join(repr(column) for column in self.header if column)
            raise DataError(f"{self.path}: expected a column {name!r}; there are {there}")
        place = self.header.index(name)
        return [row[place] for row in self.cells]

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """One column as float64 ``[rows]``. Raises DataError naming the first cell that is none."""
        column = self.column(name)
        values = np.empty(len(column))
        for place, cell in enumerate(column):
            try:
                values[place] = float(cell)
            except ValueError:
                values[place] = np.nan
            if not np.isfinite(values[place]):
                raise DataError(
                    f"{self.path}: expected a finite number in column {name!r},"
                    f" row {self.row_numbers[place]}; got {show(cell)}"
                )
        return values


def label_names(
    path: Path,
    column: str,
    labels: Iterable[str],
    *,
    most: int,
    least_rows: int,
    rows: str = "rows",
) -> tuple[str, ...]:
    """The different labels in alphabetical order. Raises DataError for fewer than two or more than
    ``most``, and for one with fewer than ``least_rows``, which the message calls ``rows``.
    """
    counts = Counter(labels)
    if not 2 <= len(counts) <= most:
        raise DataError(
            f"{path}: expected 2 to {most} different labels in column {column!r}; got {len(counts)}"
        )
    rarest = min(counts, key=lambda name: counts[name])
    if counts[rarest] < least_rows:
        raise DataError(
            f"{path}: expected at least {least_rows} {rows} of each label; {rarest!r} has"
            f" {counts[rarest]}"
        )
    return tuple(sorted(counts))


def read(path: Path, *, min_rows: int = 1) -> CsvFile:
    """Read UTF-8 text with a header; cells apart by comma, semicolon or tab.

    Raises DataError for a path that is not a readable file, bytes that are not text, a header
    without names or with equal ones, rows of another length, and fewer than ``min_rows`` rows.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(DELIMITERS, key=first.count)  # a tie, none at all: the comma
            table = _parse(path, csv.reader(file, delimiter=delimiter))
    except OSError as error:
        raise DataError(f"{path}: expected a CSV file; {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text; byte {error.start} is not") from None
    except csv.Error as error:
        raise DataError(f"{path}: expected CSV; {error}") from None
    if len(table) < min_rows:
        raise DataError(f"{path}: expected at least {min_rows:,} rows; got {len(table):,}")
    return table


def _parse(path: Path, records: Iterable[list[str]]) -> CsvFile:
    header: tuple[str, ...] = ()
    cells: list[list[str]] = []
    row_numbers: list[int] = []
    for number, record in enumerate(records, start=1):
        row = [cell.strip() for cell in record]
        if not header:
            header = tuple(row)
            continue
        if not any(row) and len(row) != len(header):
            continue  # a blank line
        if len(row) != len(header):
            raise DataError(
                f"{path}: expected {len(header)} cells in each row; got {len(row)} in row {number}"
            )
        cells.append(row)
        row_numbers.append(number)
    names = [name for name in header if name]  # pandas writes its index under no name
    if not names:
        raise DataError(f"{path}: expected a header with names; got {list(header)}")
    if len(set(names)) != len(names):
        raise DataError(f"{path}: expected a header of distinct names; got {list(header)}")
    return CsvFile(path, header, cells, row_numbers)
