import base64
import io

import numpy as np
import pytest
from PIL import Image

from model_store.answers.image import ImageAnswer, png
from model_store.spec import Array


def pixels_of(b64: str) -> Array:
    with Image.open(io.BytesIO(base64.b64decode(b64)), formats=["PNG"]) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_has_the_very_pixels(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (channels, 5, 7), dtype=np.uint8)
    read = pixels_of(png(pixels))
    np.testing.assert_array_equal(read, pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))


def test_each_row_is_a_picture_with_its_seed_and_label() -> None:
    rows = np.stack([np.full((1, 2, 2), shade, np.uint8) for shade in (10, 20)])
    context = {"seeds": [2**62, 2**62 + 1], "labels": ["cat", "dog"]}
    images = ImageAnswer().answer({"image": rows}, context, None)["images"]
    assert [(image["seed"], image["label"]) for image in images] == [
        (2**62, "cat"),
        (2**62 + 1, "dog"),
    ]
    assert [pixels_of(image["b64"])[0, 0] for image in images] == [10, 20]


def test_a_picture_made_from_no_seed_has_none() -> None:
    images = ImageAnswer().answer({"image": np.zeros((1, 3, 2, 2), np.uint8)}, {}, None)["images"]
    assert [(sorted(image), image["seed"]) for image in images] == [(["b64", "seed"], None)]
