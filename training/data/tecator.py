"""Near-infrared spectra of 215 pieces of meat and their fat, or a user's series and values.

Borggaard and Thodberg (Analytical Chemistry 64, 1992): absorbance at 100 wavelengths from 850 to
1,050 nm; fat in percent by chemical analysis. The split is the one that comes with the data, but 8
of its 43 test samples are in its training part as well, to the last digit: their copies are dropped
there, and so is every second copy of a sample within it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_store.spec import FLOAT32_MAX, Array
from training.data import csv_file, ts_file
from training.errors import DataError

FORMAT = (
    "a CSV file with one row a sample: the readings of its series in their order, and the value to"
    " tell from them in a column of its own (--target-column)"
)
TEST_SHARE = 0.2
MIN_ROWS = 60
MIN_READINGS = 4


@dataclass(frozen=True)
class Samples:
    """Float32 ``readings`` ``[rows, steps]`` and their ``targets`` ``[rows]``."""

    readings: Array
    targets: Array

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, rows: Array) -> "Samples":
        return Samples(self.readings[rows], self.targets[rows])


@dataclass(frozen=True)
class Spectra:
    """What there is to learn from, what is held out, and where both come from."""

    known: Samples
    test: Samples
    source: str
    license: str
    split: str


def load(data: Path | None, target_column: str, seed: int) -> Spectra:
    """Tecator, or the CSV at ``data``. Raises DataError."""
    return _tecator() if data is None else _own(data, target_column, seed)


def _tecator() -> Spectra:
    known, test = (_samples(ts_file.read("Tecator", part)) for part in ("TRAIN", "TEST"))
    given = len(known)
    known = _without_copies(known, of=test)
    source = f"{ts_file.SOURCE}, Tecator: fat of meat from near-infrared absorbance"
    license_text = f"{ts_file.LICENSE}; it states no other for Tecator"
    split = f"the split that comes with the data, less {given - len(known)} copies in what is known"
    return Spectra(known, test, source, license_text, split)


def _without_copies(samples: Samples, of: Samples) -> Samples:
    """The first of each series that ``of`` has none of."""
    seen = {series.tobytes() for series in of.readings}
    kept = []
    for row, series in enumerate(samples.readings):
        if series.tobytes() not in seen:
            seen.add(series.tobytes())
            kept.append(row)
    return samples[np.array(kept, dtype=np.int64)]


def _samples(file: ts_file.TsFile) -> Samples:
    readings = np.stack([series[:, 0] for series in file.series])
    return Samples(readings, np.array(file.targets, dtype=np.float32))


def _own(path: Path, target_column: str, seed: int) -> Spectra:
    table = csv_file.read(path, min_rows=MIN_ROWS)
    targets = table.numbers(target_column)
    names = [name for name in table.header if name and name != target_column]
    if len(names) < MIN_READINGS:
        raise DataError(
            f"{path}: expected at least {MIN_READINGS} columns of readings beside"
            f" {target_column!r}; got {len(names)}"
        )
    readings = np.stack([table.numbers(name) for name in names], axis=1)
    largest = max(np.abs(readings).max(), np.abs(targets).max())
    if largest > FLOAT32_MAX:
        raise DataError(f"{path}: expected numbers of 32-bit size; got {largest:.3g}")
    if np.ptp(targets) == 0:
        raise DataError(f"{path}: expected values that vary; column {target_column!r} is constant")
    samples = Samples(readings.astype(np.float32), targets.astype(np.float32))
    samples = _without_copies(samples, of=samples[np.array([], dtype=np.int64)])
    if len(samples) < MIN_ROWS:
        raise DataError(
            f"{path}: expected at least {MIN_ROWS} different series; got {len(samples)}"
        )
    order = np.random.default_rng(seed).permutation(len(samples))
    test, known = np.split(order, [round(TEST_SHARE * len(order))])
    return Spectra(samples[known], samples[test], str(path), "the user's own", "held out at random")
