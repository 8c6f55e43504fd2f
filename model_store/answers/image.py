"""Image: pixels uint8 ``[n, C, H, W]`` → PNGs, those drawn from noise with their seeds."""

import base64
import io
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from model_store.spec import AnswerKind, Array, Tensors


class ImageAnswer(AnswerKind):
    """One PNG per row."""

    kind: Literal["image"] = "image"
    tensor: str = "image"

    def answer(
        self, tensors: Tensors, context: Mapping[str, Any], parameters: object
    ) -> dict[str, Any]:
        del parameters
        images: list[dict[str, Any]] = [{"b64": png(pixels)} for pixels in tensors[self.tensor]]
        for key, name in (("seed", "seeds"), ("label", "labels"), ("attributes", "attributes")):
            for image, value in zip(images, context.get(name, ()), strict=False):
                image[key] = value
        return {"images": images}


def png(pixels: Array) -> str:
    """uint8 ``[C, H, W]`` with C of 1 or 3 → base64 of a PNG."""
    from PIL import Image

    flat = pixels[0] if pixels.shape[0] == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    Image.fromarray(flat).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
