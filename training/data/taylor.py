"""Half-hourly electricity demand of England and Wales: one long series, or a user's own from a CSV.

Taylor, J. W. (2003): Short-term electricity demand forecasting using double seasonal exponential
smoothing. 4,032 half-hours, Monday 5 June to Sunday 27 August 2000, as pmdarima carries it.
"""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data import csv_file
from training.errors import DataError


@dataclass(frozen=True)
class Series:
    """Equidistant steps in the order of time, the first of them the first of a day."""

    values: npt.NDArray[np.float64]
    """``[steps]``"""
    source: str
    license: str


def load(data: Path | None, *, column: str, min_steps: int) -> Series:
    """The series in pmdarima, or ``column`` of the CSV file ``data``. Raises DataError."""
    series = _own(data, column) if data else _taylor()
    if len(series.values) < min_steps:
        raise DataError(
            f"{data or 'the Taylor series'}: expected at least {min_steps:,} steps;"
            f" got {len(series.values):,}"
        )
    if np.ptp(series.values) == 0:
        raise DataError(f"{data}: expected a series that varies; column {column!r} is constant")
    return series


def _taylor() -> Series:
    from pmdarima.datasets import load_taylor

    source = f"Taylor's half-hourly electricity demand, from pmdarima {version('pmdarima')}"
    return Series(np.asarray(load_taylor(), dtype=np.float64), source, "MIT (pmdarima's)")


def _own(path: Path, column: str) -> Series:
    return Series(csv_file.read(path).numbers(column), f"{path}, column {column}", "the user's own")
