"""Tables of findings and their diagnosis: the breast cancer set in scikit-learn, or a user's CSV.

Wolberg, Street and Mangasarian (1995): 30 measures of cell nuclei of 569 tumours. Knows no model.
"""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from model_store.spec import FLOAT32_MAX, Array
from training.data import csv_file
from training.errors import DataError

FORMAT = "a CSV file with a header: numbers, and a column with the diagnosis (--label-column)"
MIN_ROWS = 50
MIN_ROWS_PER_LABEL = 10
MAX_LABELS = 50


@dataclass(frozen=True)
class Diagnoses:
    """Float32 ``values`` ``[N, F]`` and int64 ``labels`` ``[N]``, places among ``names``."""

    columns: tuple[str, ...]
    values: Array
    labels: Array
    names: tuple[str, ...]
    source: str
    license: str

    def __len__(self) -> int:
        return len(self.labels)


def breast_cancer() -> Diagnoses:
    """569 tumours, 357 of them benign."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    columns = tuple(str(name).replace(" ", "_") for name in found.feature_names)
    return Diagnoses(
        columns,
        found.data.astype(np.float32),
        found.target.astype(np.int64),
        tuple(str(name) for name in found.target_names),
        f"scikit-learn {version('scikit-learn')}, breast cancer Wisconsin (diagnostic)",
        "BSD-3-Clause (package); UCI Breast Cancer Wisconsin (Diagnostic), CC BY 4.0",
    )


def own(path: Path, label_column: str) -> Diagnoses:
    """A user's CSV; labels in alphabetical order. Raises DataError."""
    table = csv_file.read(path, min_rows=MIN_ROWS)
    cells = table.column(label_column)
    if "" in cells:
        row = table.row_numbers[cells.index("")]
        raise DataError(
            f"{path}: expected a diagnosis in column {label_column!r}; row {row} has an empty cell"
        )
    columns = tuple(name for name in table.header if name and name != label_column)
    if not columns:
        raise DataError(f"{path}: expected columns of numbers beside {label_column!r}; got none")
    names = csv_file.label_names(
        path, label_column, cells, most=MAX_LABELS, least_rows=MIN_ROWS_PER_LABEL
    )
    values = np.stack([table.numbers(name) for name in columns], axis=1)
    if np.abs(values).max() > FLOAT32_MAX:
        raise DataError(f"{path}: expected numbers of 32-bit size; got {np.abs(values).max():.3g}")
    labels = np.array([names.index(cell) for cell in cells])
    return Diagnoses(columns, values.astype(np.float32), labels, names, str(path), "the user's own")
