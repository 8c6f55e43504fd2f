"""Packaged photographs and textures in three parts that share no scene: what is put on a photograph
of one part is never seen on one of another. Knows no recipe.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from training.data import photos

Photograph: TypeAlias = npt.NDArray[np.uint8]
"""uint8 ``[H, W, 3]``"""
TRAIN = ("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coins.png", "flower.jpg",
         "hubble_deep_field.jpg", "ihc.png")  # fmt: skip
VALIDATION = ("gravel.png", "rocket.jpg")
TEST = ("china.jpg", "coffee.png", "grass.png")


def source() -> str:
    return photos.source(len(TRAIN + VALIDATION + TEST))


def read(names: tuple[str, ...]) -> list[Photograph]:
    """In colour. Raises DataError where their package is not installed."""
    found = photos.packaged(names).values()
    return [np.ascontiguousarray(photo.transpose(1, 2, 0)) for photo in found]
