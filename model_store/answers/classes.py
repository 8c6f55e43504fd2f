"""Classes: probabilities ``[1, K]`` → the likeliest labels with their scores."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from model_store.spec import AnswerKind, Array, Parameters, Tensors


class ClassesParameters(Parameters):
    """``top_k``: how many labels to list."""

    top_k: Annotated[int, Field(ge=1, le=1000)] = 5


class ClassesAnswer(AnswerKind):
    """One label per item, and the runners-up."""

    parameters: ClassVar[type[Parameters]] = ClassesParameters

    kind: Literal["classes"] = "classes"
    tensor: str = "probabilities"
    labels: tuple[str, ...] = Field(min_length=2)

    def answer(
        self, tensors: Tensors, context: Mapping[str, Any], parameters: ClassesParameters
    ) -> dict[str, Any]:
        del context
        scores = tensors[self.tensor][0]
        order = np.argsort(-scores, kind="stable")[: parameters.top_k]
        top = [{"label": self.labels[k], "score": float(scores[k])} for k in order]
        return {**top[0], "top": top}

    @property
    def targets(self) -> tuple[str, ...]:
        return self.labels

    def amounts(self, tensors: Tensors) -> Array:
        return tensors[self.tensor]

    def foremost(self, amounts: Array) -> int:
        return int(np.argmax(amounts))
