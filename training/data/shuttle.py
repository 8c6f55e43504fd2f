"""Readings of nine sensors of a space shuttle, some anomalous, from `river`; or a user's table.

Statlog (Shuttle) as ODDS cast it: class 1 is normal, the rare ones are anomalies, class 4 is left
out. The file is read straight from the package: importing `river` costs seconds. Knows no model.
"""

import gzip
import importlib.util
from importlib.metadata import version
from pathlib import Path

import numpy as np

from model_store.inputs.table import Column
from model_store.spec import FLOAT32_MAX
from training.data import csv_file
from training.data.labelled_rows import MIN_ROWS, LabelledRows, labels
from training.errors import DataError

PACKAGE = "river"
FILE = "datasets/shuttle.csv.gz"
LABEL = "anomaly"
LICENSE = "BSD-3-Clause (package); UCI Statlog (Shuttle), CC BY 4.0"


def shuttle() -> LabelledRows:
    """49,097 rows of 9 columns, 3,511 of them anomalous. Raises DataError."""
    path = _packaged()
    with gzip.open(path, "rt") as file:
        header = file.readline().strip().split(",")
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    if header[-1] != LABEL:
        raise DataError(f"{path}: expected {LABEL!r} as the last column; got {header[-1]!r}")
    columns = tuple(Column(name=name) for name in header[:-1])
    source = f"{PACKAGE} {version(PACKAGE)}, Shuttle (Statlog, NASA)"
    return LabelledRows(columns, table[:, :-1], table[:, -1] == 1, source, LICENSE)


def own(path: Path, label_column: str | None) -> LabelledRows:
    """A user's CSV of numbers. ``label_column`` has 1 at an anomaly, 0 elsewhere; None says that
    nobody knows and nearly all rows are normal. Raises DataError.
    """
    table = csv_file.read(path, min_rows=MIN_ROWS)
    names = [name for name in table.header if name and name != label_column]
    if not names:
        raise DataError(f"{path}: expected columns of numbers beside {label_column!r}; got none")
    values = np.stack([table.numbers(name) for name in names], axis=1)
    if np.abs(values).max() > FLOAT32_MAX:
        raise DataError(f"{path}: expected numbers of 32-bit size; got {np.abs(values).max():.3g}")
    anomalous = labels(table, label_column) if label_column else None
    columns = tuple(Column(name=name) for name in names)
    return LabelledRows(columns, values.astype(np.float32), anomalous, str(path), "the user's own")


def _packaged() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / FILE).exists():
            return Path(folder) / FILE
    raise DataError(f"expected {FILE} of the package {PACKAGE}; install it, or give --data")
