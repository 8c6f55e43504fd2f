"""Pictures with attributes, each one of a few words: a user's folder with a table beside them, or
class folders. Knows no recipe.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from torch import Tensor

from model_store.errors import ItemError
from model_store.inputs.image import ImageInput
from model_store.inputs.none import Attribute, NoneInput
from training.data import class_folders, csv_file
from training.data.csv_file import CsvFile
from training.errors import DataError

TABLE, FILE = "attributes.csv", "file"
CLASS = "kind"
"""The one attribute of class folders."""
MAX_ATTRIBUTES = 12
MAX_VALUES = 64
MIN_PER_VALUE = 20
MAX_UNREADABLE = 0.01
FORMAT = (
    f"a folder of pictures with {TABLE}: a column {FILE!r}, the others attributes of 2 to"
    f" {MAX_VALUES} words, {MIN_PER_VALUE} pictures of each at least; or {class_folders.FORMAT}"
)
"""For a recipe's ``data_formats``."""


@dataclass(frozen=True)
class Pictures:
    """``images`` uint8 ``[N, 3, H, W]``; ``places`` int64 ``[N, A]`` in each attribute's values."""

    images: Tensor
    places: Tensor

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Tensor | slice) -> "Pictures":
        return Pictures(self.images[rows], self.places[rows])

    def __add__(self, other: "Pictures") -> "Pictures":
        return Pictures(
            torch.cat([self.images, other.images]), torch.cat([self.places, other.places])
        )


@dataclass(frozen=True)
class AttributedPictures:
    """Pictures, what can be said of them, and where all of it comes from."""

    pictures: Pictures
    attributes: tuple[Attribute, ...]
    source: str
    license: str


def read(path: Path, kind: ImageInput) -> AttributedPictures:
    """A user's pictures, made ``kind``'s size. Raises DataError for a path that is no such folder,
    attributes that are too many, too rare or ill named, a file that is not there, and more than one
    unreadable picture in a hundred. Fewer are skipped, and named in ``source``.
    """
    if not (path / TABLE).is_file():
        found = class_folders.read(path, kind, min_per_class=MIN_PER_VALUE)
        pictures = Pictures(found.pictures.images, found.pictures.labels[:, None])
        attributes = _attributes(path, {CLASS: found.names})
        return AttributedPictures(pictures, attributes, _counted(path, pictures), "the user's own")
    table = csv_file.read(path / TABLE)
    images, skipped = _images(path, table, kind)
    kept = [place for place, image in enumerate(images) if image is not None]
    names = [name for name in table.header if name != FILE]
    if not 1 <= len(names) <= MAX_ATTRIBUTES:
        raise DataError(
            f"{table.path}: expected 1 to {MAX_ATTRIBUTES} columns beside {FILE!r}; got"
            f" {len(names)}"
        )
    columns = {name: [table.column(name)[place] for place in kept] for name in names}
    for name, cells in columns.items():
        if not all(cells):
            raise DataError(f"{table.path}: expected a word in each cell of {name!r}; one is empty")
    values = {
        name: csv_file.label_names(
            table.path, name, cells, most=MAX_VALUES, least_rows=MIN_PER_VALUE, rows="pictures"
        )
        for name, cells in columns.items()
    }
    places = [[values[name].index(cell) for cell in cells] for name, cells in columns.items()]
    pictures = Pictures(
        torch.from_numpy(np.stack([image for image in images if image is not None])),
        torch.tensor(places).T.contiguous(),
    )
    words = f", {len(skipped)} skipped as unreadable: {', '.join(skipped[:10])}" if skipped else ""
    attributes = _attributes(table.path, values)
    return AttributedPictures(
        pictures, attributes, _counted(path, pictures) + words, "the user's own"
    )


def _images(
    folder: Path, table: CsvFile, kind: ImageInput
) -> tuple[list[npt.NDArray[np.uint8] | None], list[str]]:
    """uint8 ``[3, H, W]`` of each row, None where it was there already or cannot be read, and the
    names of those that cannot.
    """
    images: list[npt.NDArray[np.uint8] | None] = []
    skipped: list[str] = []
    seen: set[bytes] = set()
    for name, number in zip(table.column(FILE), table.row_numbers, strict=True):
        file = folder / name
        if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
            raise DataError(f"{table.path}: row {number}: expected a file beside it; got {name!r}")
        image = None
        try:
            image = kind.pixels(kind.open(file.read_bytes()))
        except (ItemError, OSError):
            skipped.append(name)
        if image is not None and image.tobytes() in seen:
            image = None  # the same picture again could land in the test part
        elif image is not None:
            seen.add(image.tobytes())
        images.append(image)
    if len(skipped) > MAX_UNREADABLE * len(images):
        raise DataError(
            f"{folder}: expected pictures; {len(skipped)} of {len(images)} cannot be read, the"
            f" first {skipped[0]!r}"
        )
    return images, skipped


def _attributes(path: Path, values: Mapping[str, Sequence[str]]) -> tuple[Attribute, ...]:
    """Their names become fields of a request, so not every name will do."""
    try:
        attributes = tuple(Attribute(name=k, values=tuple(v)) for k, v in values.items())
        NoneInput(noise_size=1, attributes=attributes)
    except ValidationError as error:
        words = error.errors(include_url=False)[0]["msg"]
        raise DataError(
            f"{path}: expected columns named by small letters, digits and _; {words}; got"
            f" {list(values)}"
        ) from None
    return attributes


def _counted(path: Path, pictures: Pictures) -> str:
    return f"{path}: {len(pictures):,} pictures"
