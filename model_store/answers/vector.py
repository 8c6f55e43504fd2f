"""Vector: features or latents ``[1, D]`` → a list of numbers."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from model_store.spec import AnswerKind, Tensors


class VectorAnswer(AnswerKind):
    """An embedding of the item."""

    kind: Literal["vector"] = "vector"
    tensor: str = "embedding"
    size: int = Field(gt=0)

    def answer(
        self, tensors: Tensors, context: Mapping[str, Any], parameters: object
    ) -> dict[str, Any]:
        del context, parameters
        return {"vector": tensors[self.tensor][0].tolist()}
