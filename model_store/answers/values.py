"""Values: numbers ``[1, K]`` → one under each name, in the unit the model was taught."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from model_store.spec import AnswerKind, Array, Tensors


class ValuesAnswer(AnswerKind):
    """What a virtual sensor reads."""

    kind: Literal["values"] = "values"
    tensor: str = "values"
    names: tuple[str, ...] = Field(min_length=1)

    def answer(
        self, tensors: Tensors, context: Mapping[str, Any], parameters: object
    ) -> dict[str, Any]:
        del context, parameters
        return {"values": dict(zip(self.names, tensors[self.tensor][0].tolist(), strict=True))}

    @property
    def targets(self) -> tuple[str, ...]:
        return self.names

    def amounts(self, tensors: Tensors) -> Array:
        return tensors[self.tensor]
