"""Short series of known class: sets of the UCR and UEA archives, or a user's own from a CSV.

The archives' sets come with a split, which is kept. Series may differ in length. Knows no model.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_store.spec import FLOAT32_MAX, Array
from training.data import csv_file, ts_file
from training.data.csv_file import CsvFile
from training.errors import DataError

FORMAT = (
    "a CSV file with one row a step, in the order of time: which series it belongs to"
    " (--series-column), the series' class (--label-column), and a number in every other column"
)
TEST_SHARE = 0.2
MIN_SERIES_PER_CLASS = 5
MAX_CLASSES = 100


@dataclass(frozen=True)
class PackagedSet:
    """A set inside sktime's wheel, with names for its numbers."""

    name: str
    about: str
    columns: tuple[str, ...]
    labels: tuple[str, ...] = ()
    """In the order of the file's own labels; empty where those are names already."""


SETS = {
    "basic_motions": PackagedSet(
        "BasicMotions",
        "four activities on a smart watch",
        tuple(f"{sensor}_{axis}" for sensor in ("acceleration", "rotation") for axis in "xyz"),
    ),
    "japanese_vowels": PackagedSet(
        "JapaneseVowels",
        "nine speakers saying /ae/ (Kudo et al. 1999)",
        tuple(f"lpc_{place}" for place in range(1, 13)),
        tuple(f"speaker {place}" for place in range(1, 10)),
    ),
    "italy_power": PackagedSet(
        "ItalyPowerDemand",
        "days of electricity demand in Italy",
        ("demand",),
        ("October to March", "April to September"),
    ),
}


@dataclass(frozen=True)
class Labelled:
    """``series[i]`` is float32 ``[steps, columns]``; int64 ``labels[i]`` a place among names."""

    series: list[Array]
    labels: Array

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, rows: Array) -> "Labelled":
        return Labelled([self.series[row] for row in rows], self.labels[rows])


@dataclass(frozen=True)
class Activities:
    """What there is to learn from, what is held out, and where both come from."""

    known: Labelled
    test: Labelled
    columns: tuple[str, ...]
    names: tuple[str, ...]
    source: str
    license: str
    split: str

    @property
    def lengths(self) -> range:
        """From the shortest series to the longest."""
        lengths = [len(series) for series in (*self.known.series, *self.test.series)]
        return range(min(lengths), max(lengths) + 1)


def packaged(key: str) -> Activities:
    """One of :data:`SETS`. Raises DataError."""
    found = SETS[key]
    files = [ts_file.read(found.name, part) for part in ("TRAIN", "TEST")]
    own_names = sorted(set(files[0].targets))
    known, test = (
        Labelled(file.series, np.array([own_names.index(name) for name in file.targets]))
        for file in files
    )
    source = f"{ts_file.SOURCE}, {found.name}: {found.about}"
    return Activities(
        known,
        test,
        found.columns,
        found.labels or tuple(own_names),
        source,
        f"{ts_file.LICENSE}; it states no other for {found.name}",
        "the split that comes with the data",
    )


def own(path: Path, series_column: str, label_column: str, seed: int) -> Activities:
    """A user's CSV; classes in alphabetical order, a fifth of each held out. Raises DataError."""
    table = csv_file.read(path)
    columns = tuple(n for n in table.header if n and n not in (series_column, label_column))
    rows_of, label_of = _grouped(table, series_column, label_column)
    if not columns:
        raise DataError(
            f"{path}: expected columns of numbers beside {series_column!r} and {label_column!r};"
            " got none"
        )
    values = np.stack([table.numbers(name) for name in columns], axis=1)
    if np.abs(values).max() > FLOAT32_MAX:
        raise DataError(f"{path}: expected numbers of 32-bit size; got {np.abs(values).max():.3g}")
    names = csv_file.label_names(
        path, label_column, label_of.values(), most=MAX_CLASSES, least_rows=MIN_SERIES_PER_CLASS,
        rows="series",
    )  # fmt: skip
    everything = Labelled(
        [values[rows].astype(np.float32) for rows in rows_of.values()],
        np.array([names.index(label_of[key]) for key in rows_of]),
    )
    test, known = _split(everything.labels, seed)
    return Activities(
        everything[known],
        everything[test],
        columns,
        names,
        f"{path}: {len(everything)} series",
        "the user's own",
        "a fifth of each class, held out at random",
    )


def _grouped(
    table: CsvFile, series_column: str, label_column: str
) -> tuple[dict[str, list[int]], dict[str, str]]:
    """Each series' rows in their order, and its label."""
    rows_of: dict[str, list[int]] = {}
    label_of: dict[str, str] = {}
    keys, labels = table.column(series_column), table.column(label_column)
    for row, (key, label, number) in enumerate(zip(keys, labels, table.row_numbers, strict=True)):
        if not key or not label:
            raise DataError(
                f"{table.path}: expected a series in column {series_column!r} and a class in"
                f" {label_column!r}; row {number} has an empty cell"
            )
        if label_of.setdefault(key, label) != label:
            raise DataError(
                f"{table.path}: expected one class for all rows of series {key!r}; got"
                f" {label_of[key]!r} and, in row {number}, {label!r}"
            )
        rows_of.setdefault(key, []).append(row)
    return rows_of, label_of


def _split(labels: Array, seed: int) -> tuple[Array, Array]:
    """Rows held out and rows to learn from; each class has the same share in both."""
    rng = np.random.default_rng(seed)
    held_out = [
        rng.permutation(rows)[: max(1, round(TEST_SHARE * len(rows)))]
        for rows in (np.flatnonzero(labels == label) for label in np.unique(labels))
    ]
    test = rng.permutation(np.concatenate(held_out))
    return test, rng.permutation(np.setdiff1d(np.arange(len(labels)), test))
