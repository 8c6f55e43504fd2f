"""Image: pixels uint8 ``[n, C, H, W]`` → PNGs, each with the seed that makes it again, null where
it was made from none.
"""

from collections.abc import Mapping
from typing import Any, Literal

from model_store.png import png
from model_store.spec import AnswerKind, Tensors

__all__ = ["ImageAnswer", "png"]


class ImageAnswer(AnswerKind):
    """One PNG per row."""

    kind: Literal["image"] = "image"
    tensor: str = "image"

    @property
    def compressed(self) -> bool:
        return True

    def answer(
        self, tensors: Tensors, context: Mapping[str, Any], parameters: object
    ) -> dict[str, Any]:
        del parameters
        images: list[dict[str, Any]] = [
            {"b64": png(pixels), "seed": None} for pixels in tensors[self.tensor]
        ]
        for key, name in (("seed", "seeds"), ("label", "labels"), ("attributes", "attributes")):
            for image, value in zip(images, context.get(name, ()), strict=False):
                image[key] = value
        return {"images": images}
