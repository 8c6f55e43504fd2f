"""Pictures that tests send, and some for recipes whose own may not be fetched by a test."""

import io
import json
from collections.abc import Iterator, Sequence
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


def boxed(folder: Path) -> Path:
    """Ten wide pictures with a red square each, and COCO's JSON."""
    images, annotations = [], []
    for number in range(10):
        pixels = np.full((40, 80, 3), 200, np.uint8)
        pixels[10:30, number : number + 20] = (255, 0, 0)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        images.append({"id": number + 1, "file_name": f"{number}.png", "width": 80, "height": 40})
        annotations.append({"id": number, "image_id": number + 1, "category_id": 7 + number % 2,
                            "bbox": [number, 10, 20, 20], "area": 400, "iscrowd": 0})  # fmt: skip
    categories = [{"id": 7, "name": "even"}, {"id": 8, "name": "odd"}]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(coco), encoding="utf-8")
    return folder


def halved(width: int, height: int, value: int) -> Image.Image:
    """A mask whose right half is of class ``value``, the left of 0."""
    drawn = np.zeros((height, width), np.uint8)
    drawn[:, width // 2 :] = value
    return Image.fromarray(drawn)


def masked(folder: Path, values: Sequence[int] = (7,) * 10) -> Path:
    """Pictures, 40 wide and 20 tall, and for each a mask whose right half is of that class."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    random = np.random.default_rng(0)
    for place, value in enumerate(values):
        pixels = random.integers(256, size=(20, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{place}.png")
        halved(40, 20, value).save(folder / "masks" / f"{place}.png")
    return folder
