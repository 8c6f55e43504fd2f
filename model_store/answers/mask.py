"""Mask: a class for each pixel that the graph saw, uint8 ``[1, H, W]`` → a PNG of class numbers in
the size of the picture that was sent.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from model_store.png import png
from model_store.spec import AnswerKind, Array, Tensors


class MaskAnswer(AnswerKind):
    """Which class each pixel is of, and how much of the picture each class has. Class 0 is the
    first label.
    """

    kind: Literal["mask"] = "mask"
    tensor: str = "mask"
    labels: tuple[str, ...] = Field(min_length=2, max_length=256)

    @property
    def compressed(self) -> bool:
        return True

    def answer(
        self, tensors: Tensors, context: Mapping[str, Any], parameters: object
    ) -> dict[str, Any]:
        """``context`` has the ``width`` and ``height`` of the picture, and what share of the
        graph's square it ``filled``, to the right and down. Without them the mask stays as it is.
        """
        del parameters
        mask = tensors[self.tensor][0]
        filled_x, filled_y = context.get("filled", (1, 1))
        tall, wide = mask.shape
        mask = mask[: max(1, round(filled_y * tall)), : max(1, round(filled_x * wide))]
        counts = np.bincount(mask.ravel(), minlength=len(self.labels))
        shares = counts / mask.size
        size = context.get("width", mask.shape[1]), context.get("height", mask.shape[0])
        return {
            "mask": {"b64": png(_resized(mask, size)[None])},
            "labels": list(self.labels),
            "share": dict(zip(self.labels, shares.tolist(), strict=True)),
        }


def _resized(mask: Array, size: tuple[int, int]) -> Array:
    """Each pixel of the result has the class of the one that is nearest."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(mask))
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST))
