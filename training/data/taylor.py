"""Half-hourly electricity demand of England and Wales: one long series, or a user's own from a CSV.

Taylor, J. W. (2003): Short-term electricity demand forecasting using double seasonal exponential
smoothing. 4,032 half-hours, Monday 5 June to Sunday 27 August 2000, in MW, as pmdarima carries it.
"""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data import csv_file
from training.errors import DataError

FORMAT = (
    "a CSV with one row a step in the order of time, without gaps, the first row the first step of"
    " a day, and a column of numbers (--column, --steps-per-day)"
)
MIN_TRAINING_DAYS = 14


@dataclass(frozen=True)
class Series:
    """Equidistant steps in the order of time, the first of them the first of a day."""

    values: npt.NDArray[np.float64]
    """``[steps]``"""
    source: str
    license: str


@dataclass(frozen=True)
class Layout:
    """How a series is cut. ``day``, ``history`` and ``horizon`` count steps."""

    day: int
    history: int
    horizon: int
    validation_days: int
    test_days: int
    test_parts: int


@dataclass(frozen=True)
class Part:
    """One held-out part and what comes before it. Each range holds origins: the step of midnight
    at which a forecast is made from the steps before it.
    """

    train: range
    validation: range
    test: range


def load(data: Path | None, column: str) -> Series:
    """The series in pmdarima, or ``column`` of the CSV file ``data``. Raises DataError."""
    if data is None:
        return _taylor()
    values = csv_file.read(data).numbers(column)
    if np.ptp(values) == 0:
        raise DataError(f"{data}: expected a series that varies; column {column!r} is constant")
    return Series(values, f"{data}, column {column}", "the user's own")


def _taylor() -> Series:
    from pmdarima.datasets import load_taylor

    values = np.asarray(load_taylor(), dtype=np.float64)
    name = f"half-hourly electricity demand (Taylor 2003), pmdarima {version('pmdarima')}"
    return Series(values, f"{name}, {len(values):,} steps", "MIT, as part of pmdarima")


def split(steps: int, layout: Layout) -> list[Part]:
    """The held-out parts, oldest first; the last one ends with the series. What is trained on ends
    before what is validated on, and that before what is held out. Raises DataError.
    """
    overhang = (layout.horizon - 1) // layout.day  # days a forecast reaches beyond its first
    first = -(-layout.history // layout.day)
    held_out = layout.test_days * layout.test_parts
    need = first + MIN_TRAINING_DAYS + layout.validation_days + held_out + overhang
    if steps // layout.day < need:
        raise DataError(
            f"expected at least {need * layout.day:,} steps ({need} days of {layout.day});"
            f" got {steps:,}"
        )
    parts = []
    for left in reversed(range(layout.test_parts)):
        end = steps // layout.day - overhang - left * layout.test_days
        test = end - layout.test_days
        validation = test - layout.validation_days
        spans = [(first, validation - overhang), (validation, test - overhang), (test, end)]
        parts.append(Part(*(range(a * layout.day, b * layout.day, layout.day) for a, b in spans)))
    return parts
