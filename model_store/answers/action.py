"""Action: what a policy does next → a choice with the chances of all, or a vector."""

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, FiniteFloat, model_validator

from model_store.spec import AnswerKind, Array, Tensors


class ActionAnswer(AnswerKind):
    """Both forms have the same two keys, and ``action`` is what gymnasium's ``step`` takes.

    A choice: the tensor holds probabilities ``[1, K]`` in the order of ``names``; ``action`` is the
    likeliest one's whole number, counted from ``first``, and of equals the first.
    With ``bounds`` a vector: the tensor is the action ``[1, D]``, ``names`` and ``bounds`` (least,
    most) are its parts', and ``probabilities`` is null.
    """

    kind: Literal["action"] = "action"
    tensor: str = "probabilities"
    names: tuple[str, ...] = Field(min_length=1)
    first: int = 0
    bounds: tuple[tuple[FiniteFloat, FiniteFloat], ...] | None = None

    @model_validator(mode="after")
    def _each_part_has_bounds(self) -> Self:
        if self.bounds is not None and len(self.bounds) != len(self.names):
            raise ValueError(f"{len(self.names)} names have {len(self.bounds)} pairs of bounds")
        return self

    def answer(
        self, tensors: Tensors, context: Mapping[str, Any], parameters: object
    ) -> dict[str, Any]:
        del context, parameters
        row = tensors[self.tensor][0]
        if self.bounds is not None:
            return {"action": row.tolist(), "probabilities": None}
        return {"action": self.first + int(np.argmax(row)), "probabilities": row.tolist()}

    @property
    def targets(self) -> tuple[str, ...]:
        return self.names

    def amounts(self, tensors: Tensors) -> Array:
        return tensors[self.tensor]

    def foremost(self, amounts: Array) -> int:
        return int(np.argmax(amounts)) if self.bounds is None else 0
