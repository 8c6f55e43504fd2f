"""Image: pixels uint8 ``[n, C, H, W]`` → PNGs, each with the seed that makes it again."""

from collections.abc import Mapping
from typing import Any, Literal

from model_store.png import png
from model_store.spec import AnswerKind, Tensors

__all__ = ["ImageAnswer", "png"]


class ImageAnswer(AnswerKind):
    """One PNG per row."""

    kind: Literal["image"] = "image"
    tensor: str = "image"

    def answer(
        self, tensors: Tensors, context: Mapping[str, Any], parameters: object
    ) -> dict[str, Any]:
        del parameters
        images = [{"b64": png(pixels)} for pixels in tensors[self.tensor]]
        for key, values in (("seed", context.get("seeds")), ("label", context.get("labels"))):
            for image, value in zip(images, values or (), strict=False):
                image[key] = value
        return {"images": images}
