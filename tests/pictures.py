"""Pictures that tests send, and some for recipes whose own may not be fetched by a test."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.service.server import Server
from training.data import digits

ODD_SIZES = ((333, 77), (50, 401), (1, 1), (640, 480))
"""Width and height."""


def noise(width: int, height: int) -> bytes:
    """A PNG."""
    pixels = np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def seen_in_odd_sizes(
    server: Server, name: str, **parameters: int
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Width and height of each picture, and what the model says of it, sent as the raw body."""
    for width, height in ODD_SIZES:
        answer = server.client.post(
            f"/v1/models/{name}/predict",
            params=parameters,
            content=noise(width, height),
            headers={"Content-Type": "image/png"},
        )
        assert answer.status_code == 200, answer.text
        [output] = answer.json()["outputs"]
        yield width, height, output


def digit_folders(folder: Path) -> Path:
    """Digits, in class folders."""
    found = digits.load(None, seed=0).test
    for label in (3, 5, 8):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        for place, row in enumerate((found.labels == label).nonzero()[:20, 0].tolist()):
            picture = Image.fromarray(found.images[row, 0].numpy())
            picture.save(folder / str(label) / f"{place:02}.png")
    return folder
