"""A picture as text."""

import base64
import io

import numpy as np

from model_store.spec import Array


def png(pixels: Array) -> str:
    """uint8 ``[C, H, W]`` with C of 1 or 3 → base64 of a PNG."""
    from PIL import Image

    flat = pixels[0] if pixels.shape[0] == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    Image.fromarray(flat).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
