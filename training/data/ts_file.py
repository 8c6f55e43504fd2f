"""Labelled series in sktime's wheel: files in the `.ts` form of the time-series archives. No model.

sktime itself is not installed: it would hold other packages back, and only its data is wanted here.
"""

import zipfile
from dataclasses import dataclass

import numpy as np

from model_store.spec import Array
from training.data import archive
from training.data.archive import Archive
from training.errors import DataError

SKTIME = Archive(
    "sktime==1.2.0",
    "sktime-1.2.0-py3-none-any.whl",
    "dbffc6731d2d683b668dceb5e2bbc5804bebc8446b4c580803a281684d90e4ae",
    size_bytes=8_201_107,
)
ARCHIVES = {"sktime": SKTIME}
SOURCE = "sktime 1.2.0"
LICENSE = "BSD-3-Clause (package)"


@dataclass(frozen=True)
class TsFile:
    """``series[i]`` is float32 ``[steps, dimensions]``; ``targets[i]`` what its line ends with."""

    series: list[Array]
    targets: list[str]

    def __len__(self) -> int:
        return len(self.series)


def read(name: str, part: str) -> TsFile:
    """A data set's given ``part``, TRAIN or TEST. Raises DataError."""
    member = f"sktime/datasets/data/{name}/{name}_{part}.ts"
    with zipfile.ZipFile(archive.fetch(SKTIME)) as wheel:
        if member not in wheel.namelist():
            raise DataError(f"{SKTIME.file}: expected a file {member}; it is not there")
        return parse(wheel.read(member).decode("utf-8"))


def parse(text: str) -> TsFile:
    """Lines of ``dimension:dimension:…:target``, each dimension numbers between commas, after a
    head of ``#`` and ``@``.
    """
    series, targets = [], []
    for line in text.splitlines():
        if not line.strip() or line[0] in "#@":
            continue
        *dimensions, target = line.split(":")
        columns = [np.array(cells.split(","), dtype=np.float32) for cells in dimensions]
        series.append(np.stack(columns, axis=1))
        targets.append(target.strip())
    return TsFile(series, targets)
