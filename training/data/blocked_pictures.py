"""Pictures of classes for folds that keep neighbours together: solar cells, or class folders.

Pictures taken one after the other show the same thing in the same light; where some are learned
from and the next ones tested on, a score flatters. So files are cut into blocks in their order, and
a block is never torn apart. Knows no model.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model_store.inputs.image import ImageInput
from training.data import class_folders, elpv

BLOCKS, FOLDS = 20, 5
MIN_PER_CLASS = 10
FORMAT = f"{class_folders.FORMAT}, {MIN_PER_CLASS} pictures each at least, in the order of names"


@dataclass(frozen=True)
class BlockedPictures:
    """``images`` uint8 ``[N, C, H, W]``; int64 ``labels`` and ``blocks`` ``[N]``."""

    images: Tensor
    labels: npt.NDArray[np.int64]
    blocks: npt.NDArray[np.int64]
    names: tuple[str, ...]
    source: str
    license: str

    @property
    def folds(self) -> npt.NDArray[np.int64]:
        """In which fold a picture is held out: ``[N]``, 0 to 4."""
        return self.blocks % FOLDS

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """Blocks of a fold put together in another way, to hold out once more within a fold."""
        return self.blocks // FOLDS


def load(path: Path | None, kind: ImageInput) -> BlockedPictures:
    """The solar cells, or the user's folders. Raises DataError."""
    if path is None:
        return _cells(kind)
    found = class_folders.read(path, kind, min_per_class=MIN_PER_CLASS)
    labels = found.pictures.labels.numpy()
    blocks = np.empty_like(labels)
    for label in range(len(found.names)):
        rows = np.flatnonzero(labels == label)
        blocks[rows] = cut(len(rows))
    copies = f", {found.copies} copies left out" if found.copies else ""
    source = f"{path}: {len(labels):,} pictures in {len(found.names)} classes{copies}"
    return BlockedPictures(
        found.pictures.images, labels, blocks, found.names, source, "the user's own"
    )


def cut(count: int) -> npt.NDArray[np.int64]:
    """The block of each of so many pictures in a row."""
    return np.arange(count) * min(BLOCKS, count) // count


def _cells(kind: ImageInput) -> BlockedPictures:
    images: list[npt.NDArray[np.uint8]] = []
    labels: list[int] = []
    for png, label in elpv.cells():
        images.append(kind.pixels(kind.open(png)))
        labels.append(label)
    return BlockedPictures(
        torch.from_numpy(np.stack(images)),
        np.array(labels),
        cut(len(labels)),
        elpv.NAMES,
        elpv.SOURCE,
        elpv.LICENSE,
    )
