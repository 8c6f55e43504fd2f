"""Rows of numbers and words, some of them known to be anomalous; or a user's CSV file of such.

Knows no model.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model_store.inputs.table import Column
from model_store.spec import FLOAT32_MAX, Array, show
from training.data import csv_file
from training.data.csv_file import CsvFile
from training.errors import DataError

FORMAT = (
    "a CSV file with a header: columns of numbers and of words, and one with 1 at anomalies and 0"
    " elsewhere (--label-column)"
)
MIN_ROWS = 200
MIN_ANOMALIES = 10
MAX_WORDS = 64


@dataclass(frozen=True)
class LabelledRows:
    """Float32 ``values`` ``[N, columns]``, a word as its place among its column's categories, and
    where known bool ``anomalous`` ``[N]``.
    """

    columns: tuple[Column, ...]
    values: npt.NDArray[np.float32]
    anomalous: npt.NDArray[np.bool_] | None
    source: str
    license: str

    def __len__(self) -> int:
        return len(self.values)


def own(path: Path, label_column: str) -> LabelledRows:
    """A user's CSV. A column is one of words if most of its cells are no numbers. Raises DataError
    for what :func:`csv_file.read` refuses, a column that is not there, numbers that are not finite
    or not of 32-bit size, empty cells, too many words, and too few rows of either label.
    """
    table = csv_file.read(path, min_rows=MIN_ROWS)
    anomalous = labels(table, label_column)
    names = [name for name in table.header if name and name != label_column]
    if not names:
        raise DataError(f"{path}: expected columns beside {label_column!r}; got none")
    found = [_column(table, name) for name in names]
    values = np.stack([cells for _, cells in found], axis=1).astype(np.float32)
    columns = tuple(column for column, _ in found)
    return LabelledRows(columns, values, anomalous, str(path), "the user's own")


def labels(table: CsvFile, column: str) -> npt.NDArray[np.bool_]:
    """True where ``column`` has 1. Raises DataError for anything but 0 and 1, and for too few rows
    of either.
    """
    numbers = table.numbers(column)
    strange = np.flatnonzero((numbers != 0) & (numbers != 1))
    if len(strange):
        place = strange[0]
        raise DataError(
            f"{table.path}: expected 0 or 1 in column {column!r}, row {table.row_numbers[place]};"
            f" got {numbers[place]:g}"
        )
    anomalous: npt.NDArray[np.bool_] = numbers == 1
    for count, kind in ((anomalous.sum(), "anomalous"), ((~anomalous).sum(), "normal")):
        least = MIN_ANOMALIES if kind == "anomalous" else MIN_ROWS
        if count < least:
            raise DataError(
                f"{table.path}: expected at least {least} {kind} rows by column {column!r};"
                f" got {count}"
            )
    return anomalous


def _column(table: CsvFile, name: str) -> tuple[Column, Array]:
    cells = table.column(name)
    if 2 * sum(map(_is_number, cells)) >= len(cells):
        numbers = table.numbers(name)
        if np.abs(numbers).max() > FLOAT32_MAX:
            raise DataError(
                f"{table.path}: expected numbers of 32-bit size in column {name!r};"
                f" got {np.abs(numbers).max():.3g}"
            )
        return Column(name=name), numbers
    if "" in cells:
        row = table.row_numbers[cells.index("")]
        raise DataError(f"{table.path}: expected a word in column {name!r}, row {row}; got nothing")
    words = sorted(set(cells))
    if len(words) > MAX_WORDS:
        raise DataError(
            f"{table.path}: expected at most {MAX_WORDS} different words in column {name!r};"
            f" got {len(words)}, as {show(words[0])}"
        )
    places = {word: place for place, word in enumerate(words)}
    return Column(name=name, categories=tuple(words)), np.array([places[cell] for cell in cells])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
