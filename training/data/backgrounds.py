"""Photographs and textures that come with scikit-image and scikit-learn, in three parts that share
no scene: what is put on a photograph of one part is never seen on one of another. Knows no recipe.
"""

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from training.errors import DataError

Photograph: TypeAlias = npt.NDArray[np.uint8]
"""uint8 ``[H, W, 3]``"""
TRAIN = ("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coins.png", "flower.jpg",
         "hubble_deep_field.jpg", "ihc.png")  # fmt: skip
VALIDATION = ("gravel.png", "rocket.jpg")
TEST = ("china.jpg", "coffee.png", "grass.png")
FOLDERS = {"sklearn": "datasets/images", "skimage": "data"}
LICENSE = "BSD-3-Clause (packages); most photographs public domain, china and flower CC BY 2.0"


def source() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("scikit-image", "scikit-learn"))
    return f"{len(TRAIN + VALIDATION + TEST)} photographs of {packages}"


def read(names: tuple[str, ...]) -> list[Photograph]:
    """In colour. Raises DataError where their package is not installed."""
    return [_open(name) for name in names]


def _open(name: str) -> Photograph:
    from PIL import Image

    for package, folder in FOLDERS.items():
        spec = find_spec(package)  # its pictures are wanted, not its code: it is not imported
        if spec is None or not spec.submodule_search_locations:
            raise DataError(f"expected {package}; `pip install 'modelhub[train]'` brings it")
        path = Path(spec.submodule_search_locations[0]) / folder / name
        if path.exists():
            with Image.open(path) as picture:
                return np.asarray(picture.convert("RGB"))
    raise DataError(f"expected {name} in scikit-image or scikit-learn; it is not there")
