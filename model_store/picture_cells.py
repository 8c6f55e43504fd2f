"""A picture divided into cells of a grid; one that is left out has the picture's mean colour."""

import numpy as np

from model_store.png import png
from model_store.spec import Array, Parts

CELLS = 7
"""Along each side, or fewer where a picture has fewer pixels."""


def cells(tensor: str, pixels: Array, filled: tuple[int, int], sent: tuple[int, int]) -> Parts:
    """``pixels``: the graph's ``tensor``, uint8 ``[C, H, W]``; the picture lies at its top left, as
    wide and as tall as ``filled``. A cell is named by its box in the picture that was ``sent``, of
    that width and height.
    """
    wide, tall = filled
    rows, columns = (np.linspace(0, n, min(CELLS, n) + 1).round().astype(int) for n in (tall, wide))
    mean = pixels[:, :tall, :wide].mean(axis=(1, 2)).round().astype(np.uint8)[:, None, None]
    down = np.searchsorted(rows, np.arange(tall), side="right") - 1
    across = np.searchsorted(columns, np.arange(wide), side="right") - 1
    shape = (len(rows) - 1, len(columns) - 1)

    def keep(kept: Array) -> dict[str, Array]:
        grid = kept.reshape(-1, 1, *shape)
        covered = np.repeat(pixels[None], len(kept), axis=0)
        inside = covered[:, :, :tall, :wide]
        np.copyto(inside, mean, where=~grid[:, :, down][:, :, :, across])
        return {tensor: covered}

    def draw(contributions: Array) -> dict[str, object]:
        return {"map": {"b64": png(_heat(contributions.reshape(shape), filled))}}

    scale = (sent[0] / wide, sent[1] / tall)
    boxes = [
        [left * scale[0], top * scale[1], right * scale[0], bottom * scale[1]]
        for top, bottom in zip(rows[:-1].tolist(), rows[1:].tolist(), strict=True)
        for left, right in zip(columns[:-1].tolist(), columns[1:].tolist(), strict=True)
    ]
    return Parts([{"box": [round(side, 2) for side in box]} for box in boxes], keep, draw)


def _heat(contributions: Array, size: tuple[int, int]) -> Array:
    """uint8 ``[1, H, W]``, black where a cell does nothing or speaks against the target."""
    from PIL import Image

    most = contributions.max()
    shares = np.clip(contributions / most, 0, 1) if most > 0 else np.zeros(contributions.shape)
    grey = Image.fromarray((255 * shares).round().astype(np.uint8))
    return np.asarray(grey.resize(size, Image.Resampling.BILINEAR), np.uint8)[None]
