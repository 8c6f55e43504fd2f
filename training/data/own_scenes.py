"""A user's own pictures and the boxes in them, as COCO's JSON tells them. Knows no recipe."""

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, Field, ValidationError

from model_store.errors import ItemError
from model_store.inputs.image import FORMATS, ImageInput
from model_store.spec import Array, show_names
from training.data.scenes import Scenes
from training.errors import DataError

ANNOTATIONS = "annotations.json"
MIN_PICTURES = 8
BOXES_FORMAT = (
    f"a folder with {', '.join(FORMATS)} pictures, {MIN_PICTURES} at least, and {ANNOTATIONS} in"
    " COCO's form: images, annotations (bbox: left, top, width, height in pixels) and categories"
)


class _Image(BaseModel):
    id: int
    file_name: str


class _Annotation(BaseModel):
    image_id: int
    category_id: int
    bbox: Annotated[
        list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=4, max_length=4)
    ]


class _Category(BaseModel):
    id: int
    name: str


class _Coco(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


class _Seen(NamedTuple):
    """A picture as the graph sees it, and its width and height in its file and there."""

    pixels: Array
    size: tuple[int, int]
    shown: tuple[int, int]


class OwnScenes(NamedTuple):
    """``scenes`` have boxes and no masks; class k is ``names[k]``. ``source`` says how many files
    could not be read.
    """

    scenes: Scenes
    names: tuple[str, ...]
    source: str


def boxes(path: Path, kind: ImageInput) -> OwnScenes:
    """The pictures of ``annotations.json`` and their boxes. A picture that does not decode is left
    out, with its boxes, and counted. Raises DataError for annotations that do not hang together, a
    picture that is not there, and fewer than 8 that decode.
    """
    coco = _read(path)
    if not coco.categories or not coco.annotations:
        raise DataError(f"{path}: expected categories and annotations; got none")
    classes = {category.id: place for place, category in enumerate(coco.categories)}
    seen: list[_Seen] = []
    rows: dict[int, int | None] = {}
    for image in coco.images:
        picture = _seen(path / image.file_name, kind)
        rows[image.id] = len(seen) if picture else None
        seen += [picture] if picture else []
    skipped = [image.file_name for image in coco.images if rows[image.id] is None]
    _enough(path, len(seen))
    found: list[list[list[float]]] = [[] for _ in seen]
    labels: list[list[int]] = [[] for _ in seen]
    for place, one in enumerate(coco.annotations):
        where = f"{path / ANNOTATIONS}: annotation {place}"
        if one.image_id not in rows or one.category_id not in classes:
            raise DataError(f"{where}: expected an image_id and a category_id that are listed")
        row = rows[one.image_id]
        if row is None:
            continue
        found[row].append(_box(one.bbox, seen[row], where))
        labels[row].append(classes[one.category_id])
    images = torch.from_numpy(np.stack([picture.pixels for picture in seen]))
    scenes = Scenes(
        images,
        torch.zeros(len(images), *images.shape[2:], dtype=torch.uint8),
        tuple(torch.tensor(b, dtype=torch.float32).reshape(-1, 4) for b in found),
        tuple(torch.tensor(label, dtype=torch.int64) for label in labels),
    )
    words = f", {len(skipped)} skipped as unreadable: {show_names(skipped)}" if skipped else ""
    names = tuple(category.name for category in coco.categories)
    return OwnScenes(scenes, names, f"{path}{words}")


def _seen(file: Path, kind: ImageInput) -> _Seen | None:
    """None where it does not decode. Raises DataError where it is not there."""
    try:
        picture = kind.open(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file}: expected a picture; {error.strerror or error}") from None
    except ItemError:
        return None
    return _Seen(kind.pixels(picture), picture.size, kind.size(picture))


def _box(given: list[float], picture: _Seen, where: str) -> list[float]:
    """In pixels of the graph's square. COCO's own boxes pass the border by rounding."""
    left, top, wide, tall = given
    right, bottom = left + wide, top + tall
    width, height = picture.size
    if not (0 <= left < right <= width + 1 and 0 <= top < bottom <= height + 1):
        raise DataError(f"{where}: expected a box inside {width}×{height} pixels; got {given}")
    across, down = np.array(picture.shown) / picture.size
    return [left * across, top * down, right * across, bottom * down]


def _read(path: Path) -> _Coco:
    file = path / ANNOTATIONS
    if not file.is_file():
        raise DataError(f"{path}: expected {BOXES_FORMAT}; there is no {ANNOTATIONS}")
    try:
        return _Coco.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise DataError(f"{file}: {field}: {first['msg']}") from None


def _enough(path: Path, count: int) -> None:
    if count < MIN_PICTURES:
        raise DataError(f"{path}: expected {BOXES_FORMAT}; got {count} pictures that decode")
