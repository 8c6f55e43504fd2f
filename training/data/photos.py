"""A handful of photographs and textures that come with scikit-image and scikit-learn, or a user's
folder of pictures. Knows no recipe.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model_store.errors import ItemError
from model_store.inputs.image import FORMATS, ImageInput
from training.errors import DataError

Photo: TypeAlias = npt.NDArray[np.uint8]
"""uint8 ``[3, H, W]``"""
FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
"""Package → where in it pictures lie."""
PHOTOS = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg",
          "motorcycle_left.png", "china.jpg", "flower.jpg")  # fmt: skip
TEXTURES = ("brick.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png")
LICENSE = "BSD-3-Clause (packages); most pictures public domain, china and flower CC BY 2.0"
MIN_PICTURES = 4
FORMAT = f"a folder of {', '.join(FORMATS)} pictures, {MIN_PICTURES} at least"
"""For a recipe's ``data_formats``."""
NEAREST_CUT = 0.5
"""The least part of a photograph's shorter side that a crop shows."""
MOST_SIDE = 1024
"""Of the shorter side of a user's pictures."""
KIND = ImageInput()
"""As large as they are, in colour."""


def source(count: int) -> str:
    """So many of the packages' own."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("scikit-image", "scikit-learn"))
    return f"{count} photographs of {packages}"


def packaged(files: Sequence[str] = PHOTOS) -> dict[str, Photo]:
    """By name, without its ending. Raises DataError where their package is not installed."""
    return {Path(file).stem: open_picture(_packaged(file)) for file in files}


def texture(name: str) -> Photo:
    """One of :data:`TEXTURES`, without its ending, or any picture by its path. Raises DataError."""
    found = [file for file in TEXTURES if Path(file).stem == name]
    return open_picture(_packaged(found[0]) if found else Path(name))


def read(folder: Path, least_side: int) -> dict[str, Photo]:
    """A user's pictures by name, whatever else lies there. Raises DataError for too few of them,
    one that does not decode, and one with a side under ``least_side`` pixels. Those larger than
    :data:`MOST_SIDE` are made smaller, as all are kept in memory.
    """
    endings = {f".{name.lower()}" for name in FORMATS} | {".jpg"}
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    found = {file.name: _kept(file) for file in files if file.suffix.lower() in endings}
    if len(found) < MIN_PICTURES:
        raise DataError(f"{folder}: expected {FORMAT}; got {len(found)}")
    for name, photo in found.items():
        if min(photo.shape[1:]) < least_side:
            raise DataError(
                f"{folder / name}: expected sides of {least_side} pixels at least; got"
                f" {photo.shape[2]}×{photo.shape[1]}"
            )
    return found


def _kept(file: Path) -> Photo:
    photo = open_picture(file)
    return sized(photo, MOST_SIDE) if min(photo.shape[1:]) > MOST_SIDE else photo


def open_picture(file: Path) -> Photo:
    """Raises DataError."""
    return KIND.pixels(opened(file, KIND))


def opened(file: Path, kind: ImageInput) -> Any:
    """As a server opens it for ``kind``: Pillow's. Raises DataError."""
    try:
        return kind.open(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file}: expected a picture; {error.strerror or error}") from None
    except ItemError as error:
        raise DataError(f"{file}: {error.detail}") from None


def crops(found: Mapping[str, Photo], count: int, side: int, random: np.random.Generator) -> Tensor:
    """Squares uint8 ``[count, 3, side, side]`` of any size and place in any of the photographs."""
    pictures = list(found.values())
    crops = []
    for _ in range(count):
        photo = pictures[random.integers(len(pictures))]
        shortest = min(photo.shape[1:])
        shown = int(random.uniform(max(side, NEAREST_CUT * shortest), shortest))
        crop = sized(cut(photo, shown, shown, random), side)
        crops.append(crop[:, :, ::-1] if random.random() < 0.5 else crop)
    return torch.from_numpy(np.stack(crops))


def cut(photo: Photo, height: int, width: int, random: np.random.Generator) -> Photo:
    """Where it falls."""
    top = random.integers(photo.shape[1] - height + 1)
    left = random.integers(photo.shape[2] - width + 1)
    return photo[:, top : top + height, left : left + width]


def sized(photo: Photo, shortest: int) -> Photo:
    """With a shorter side of ``shortest`` pixels."""
    from PIL import Image

    scale = shortest / min(photo.shape[1:])
    size = (round(scale * photo.shape[2]), round(scale * photo.shape[1]))
    picture = Image.fromarray(photo.transpose(1, 2, 0)).resize(size, Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def _packaged(file: str) -> Path:
    """Where a package has it; the package is not imported."""
    for package, folder in FOLDERS.items():
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise DataError(f"expected {package}; `pip install 'modelhub[train]'` brings it")
        path = Path(spec.submodule_search_locations[0], folder, file)
        if path.exists():
            return path
    raise DataError(f"expected {file} in scikit-image or scikit-learn; it is not there")
