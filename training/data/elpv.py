"""Photographs of solar cells under current, sound and defective, that the user has fetched.

elpv-dataset (Deitsch et al. 2019, arXiv 1807.02894): 2,624 cells of 44 modules. It is not for
commercial use, so nothing here fetches it unasked: ``modelhub data get elpv`` does. Neighbouring
files are of one module, and whole modules are nearly all sound or all defective: split by blocks.
"""

import zipfile
from collections.abc import Iterator

from training.data import archive
from training.data.archive import Archive
from training.errors import DataError

ARCHIVE = Archive(
    "elpv-dataset==1.0.0.post1",
    "elpv_dataset-1.0.0.post1-py3-none-any.whl",
    "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
    size_bytes=90_801_454,
)
SOURCE = "elpv-dataset 1.0.0.post1, solar cells that are surely sound or surely defective"
LICENSE = "CC-BY-NC-SA-4.0: not for commercial use"
NAMES = ("sound", "defective")
FOLDER = "elpv_dataset/data"


def cells() -> Iterator[tuple[bytes, int]]:
    """PNG and label of each cell that experts were sure of, in the order of the files: 1,508 sound
    and 715 defective ones. Raises DataError.
    """
    path = archive.kept(ARCHIVE)
    if path is None:
        raise DataError(
            f"expected {ARCHIVE.file}; it is not here. It is licensed {LICENSE}; if that suits you,"
            " fetch it by `modelhub data get elpv`, or give your own pictures with --data"
        )
    with zipfile.ZipFile(path) as package:
        for line in package.read(f"{FOLDER}/labels.csv").decode().splitlines():
            name, defective, _ = line.split()
            if float(defective) in (0, 1):
                yield package.read(f"{FOLDER}/{name}"), int(float(defective))
