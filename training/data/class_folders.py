"""A user's folder of class folders of pictures: ``<path>/<label>/<any name>.png``.

The pictures go through the same function as those sent to the server, so a model sees in training
what it will see in serving. Knows no recipe.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model_store.errors import ItemError
from model_store.inputs.image import FORMATS, ImageInput
from model_store.spec import show_names
from training.errors import DataError

FORMAT = f"a folder with one folder of {', '.join(FORMATS)} pictures for each class"
"""For a recipe's ``data_formats``."""
TEST_SHARE = 0.2
VALIDATION_SHARE = 0.1  # of what is left


@dataclass(frozen=True)
class Pictures:
    """``images`` uint8 ``[N, C, H, W]``, ``labels`` int64 ``[N]`` as places in a list of names."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor) -> "Pictures":
        return Pictures(self.images[rows], self.labels[rows])

    def __add__(self, other: "Pictures") -> "Pictures":
        return Pictures(
            torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels])
        )


@dataclass(frozen=True)
class ClassFolders:
    """What :func:`read` found. ``copies``: left out because the same picture was there already.
    ``broken``: files left out because they are no pictures.
    """

    pictures: Pictures
    names: tuple[str, ...]
    copies: int
    broken: tuple[str, ...] = ()


def read(
    path: Path, kind: ImageInput, *, min_per_class: int, most_broken: float = 0.0
) -> ClassFolders:
    """Every picture under ``path``, resized and flattened as ``kind`` does it for a caller.

    A picture that is there twice counts once: its copy could land in the test part. Files that are
    no pictures are left out where they are at most the share ``most_broken`` of all. Raises
    DataError for a path that is no folder, fewer than two classes, more files that are no picture,
    one picture in two classes, and fewer than ``min_per_class`` pictures in a class.
    """
    folders = _class_folders(path)
    images: list[npt.NDArray[np.uint8]] = []
    labels: list[int] = []
    seen: dict[bytes, Path] = {}
    copies = 0
    broken: list[str] = []
    allowed = most_broken * sum(len(_visible(folder)) for folder in folders)
    for label, folder in enumerate(folders):
        for file in _visible(folder):
            try:
                pixels = _pixels(file, kind)
            except DataError:
                if len(broken) + 1 > allowed:
                    raise
                broken.append(f"{folder.name}/{file.name}")
                continue
            earlier = seen.setdefault(pixels.tobytes(), file)
            if earlier.parent != folder:
                raise DataError(
                    f"{file}: expected each picture in one class; {earlier} is the same picture"
                )
            if earlier != file:
                copies += 1
                continue
            images.append(pixels)
            labels.append(label)
    _check_counts(path, folders, labels, min_per_class)
    names = tuple(folder.name for folder in folders)
    pictures = Pictures(torch.from_numpy(np.stack(images)), torch.tensor(labels))
    return ClassFolders(pictures, names, copies, tuple(broken))


def _class_folders(path: Path) -> list[Path]:
    if not path.is_dir():
        came = "a file" if path.exists() else "nothing there"
        raise DataError(f"{path}: expected {FORMAT}; got {came}")
    folders = [entry for entry in _visible(path) if entry.is_dir()]
    loose = [entry for entry in _visible(path) if entry not in folders]
    if folders and loose:
        raise DataError(f"{path}: expected only class folders; got the file {loose[0].name!r} too")
    if len(folders) < 2:
        found = show_names(folder.name for folder in folders)
        raise DataError(f"{path}: expected {FORMAT}, two at least; got {len(folders)} {found}")
    if all(folder.name.isdecimal() for folder in folders):
        folders.sort(key=lambda folder: int(folder.name))  # else "10" would come before "2"
    return folders


def _visible(folder: Path) -> list[Path]:
    """In an order that is the same on every machine, without what desktops leave behind."""
    entries = (entry for entry in folder.iterdir() if entry.name.lower() != "thumbs.db")
    return sorted(entry for entry in entries if not entry.name.startswith("."))


def _pixels(file: Path, kind: ImageInput) -> npt.NDArray[np.uint8]:
    """uint8 ``[C, H, W]``."""
    try:
        return kind.pixels(kind.open(file.read_bytes()))
    except OSError as error:
        raise DataError(f"{file}: expected a picture; {error.strerror or error}") from None
    except ItemError as error:
        raise DataError(f"{file}: {error.detail}") from None


def _check_counts(path: Path, folders: list[Path], labels: list[int], min_per_class: int) -> None:
    counts = np.bincount(np.array(labels, dtype=np.int64), minlength=len(folders))
    scarce = [
        f"{folder.name!r} has {count}"
        for folder, count in zip(folders, counts, strict=True)
        if count < min_per_class
    ]
    if scarce:
        more = f" and {len(scarce) - 5} more classes" if len(scarce) > 5 else ""
        raise DataError(
            f"{path}: expected at least {min_per_class} different pictures in each class;"
            f" {', '.join(scarce[:5])}{more}"
        )


def split(labels: npt.NDArray[np.int64], seed: int) -> list[Tensor]:
    """Rows to learn from, to validate and to test on; each class has the same share in each.
    int64 ``[N]``.
    """
    generator = np.random.default_rng(seed)
    parts: list[list[npt.NDArray[np.int64]]] = [[], [], []]
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        tested = max(1, round(len(rows) * TEST_SHARE))
        validated = max(1, round((len(rows) - tested) * VALIDATION_SHARE))
        test, validation, train = np.split(rows, [tested, tested + validated])
        for part, cut in zip(parts, (train, validation, test), strict=True):
            part.append(cut)
    # Mixed, so that the first rows of a part are not all of one class.
    return [torch.from_numpy(generator.permutation(np.concatenate(part))) for part in parts]
