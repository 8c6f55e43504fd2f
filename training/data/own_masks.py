"""A user's own pictures and a mask for each, as pairs of files. Knows no recipe."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model_store.errors import ItemError
from model_store.inputs.image import FORMATS, ImageInput
from model_store.spec import show_names
from training.data.scenes import IGNORED, Scenes
from training.errors import DataError

MIN_PICTURES = 8
MOST_CLASSES = 64
MASKS_FORMAT = (
    f"a folder with images/ ({', '.join(FORMATS)}), {MIN_PICTURES} at least, and masks/: for each a"
    " PNG of the same name and size whose grey values or palette places are class numbers"
)

Mask: TypeAlias = npt.NDArray[np.uint8]
"""uint8 ``[h, w]`` as it was drawn."""


@dataclass(frozen=True)
class OwnMasks:
    """``scenes`` have no boxes; class k of a mask is ``names[k]``, and what pads a picture is
    ``IGNORED``. ``source`` says how many files could not be read.
    """

    scenes: Scenes
    names: tuple[str, ...]
    source: str


def read(path: Path, kind: ImageInput) -> OwnMasks:
    """Every pair under ``path``, as the graph sees it; a pair with a file that cannot be decoded is
    left out and counted.

    Raises DataError for a folder that lacks images/ or masks/, a picture without a mask and a mask
    without a picture, sizes that differ, a mask in colour, fewer than 2 or more than 64 classes in
    all masks together, and fewer than 8 pairs.
    """
    images: list[Mask] = []
    masks: list[npt.NDArray[np.int16]] = []
    skipped: list[str] = []
    for image, mask in _pairs(path):
        try:
            picture, drawn = kind.open(image.read_bytes()), _drawn(mask)
        except (ItemError, OSError):
            skipped.append(image.name)
            continue
        if picture.size != drawn.shape[::-1]:
            tall, wide = drawn.shape
            raise DataError(
                f"{mask}: expected {picture.width}×{picture.height} pixels, as {image.name} has;"
                f" got {wide}×{tall}"
            )
        images.append(kind.pixels(picture))
        masks.append(_fitted(drawn, kind.size(picture), images[-1].shape[1:]))
    if len(images) < MIN_PICTURES:
        raise DataError(f"{path}: expected {MASKS_FORMAT}; got {len(images)} pairs that decode")
    numbered, names = _numbered(np.stack(masks), path)
    words = f", {len(skipped)} skipped as unreadable: {show_names(skipped)}" if skipped else ""
    pixels = torch.from_numpy(np.stack(images))
    return OwnMasks(_scenes(pixels, torch.from_numpy(numbered)), names, f"{path}{words}")


def _scenes(images: Tensor, masks: Tensor) -> Scenes:
    nothing = tuple(torch.zeros(0, 4) for _ in images)
    return Scenes(images, masks, nothing, tuple(torch.zeros(0, dtype=torch.int64) for _ in images))


def _pairs(path: Path) -> list[tuple[Path, Path]]:
    """Picture and mask by the name without its ending."""
    found: list[dict[str, Path]] = []
    for folder in (path / "images", path / "masks"):
        if not folder.is_dir():
            raise DataError(f"{path}: expected {MASKS_FORMAT}; there is no folder {folder.name}/")
        files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
        found.append({file.stem: file for file in files})
    images, masks = found
    for these, others, lacking in ((images, masks, "mask"), (masks, images, "picture")):
        alone = sorted(these.keys() - others.keys())
        if alone:
            raise DataError(f"{path}: expected a {lacking} for each; none for {show_names(alone)}")
    return [(file, masks[stem]) for stem, file in images.items()]


def _drawn(file: Path) -> Mask:
    """The numbers in a mask, without its colours. Raises OSError where it does not decode."""
    from PIL import Image

    try:
        with Image.open(file, formats=("PNG",)) as mask:
            mode, numbers = mask.mode, np.asarray(mask)
    except (SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise OSError(str(error)) from None
    if mode not in ("1", "L", "P"):
        raise DataError(f"{file}: expected class numbers as grey values or a palette; got {mode}")
    return numbers.astype(np.uint8)


def _fitted(mask: Mask, size: tuple[int, int], square: tuple[int, ...]) -> npt.NDArray[np.int16]:
    """``[H, W]`` as the picture lies in the graph's square; -1 where the square is padded."""
    from PIL import Image

    wide, tall = size
    fitted = np.full(square, -1, np.int16)
    fitted[:tall, :wide] = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    return fitted


def _numbered(masks: npt.NDArray[np.int16], path: Path) -> tuple[Mask, tuple[str, ...]]:
    """The classes counted from 0, in the order of the numbers drawn, and their names."""
    values = [int(value) for value in np.unique(masks) if value >= 0]
    if not 2 <= len(values) <= MOST_CLASSES:
        raise DataError(
            f"{path / 'masks'}: expected 2 to {MOST_CLASSES} classes in all; got {len(values)}:"
            f" {show_names(map(str, values[:5]))}. Smoothed edges make classes of their own"
            if len(values) > 1
            else f"{path / 'masks'}: expected two classes at least; got {values[0]} alone"
        )
    places = np.full(max(values) + 2, IGNORED, np.uint8)  # the last one, for -1
    places[values] = range(len(values))
    return places[masks], tuple(f"class {value}" for value in values)
