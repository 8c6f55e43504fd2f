"""Tensor: the graph's outputs as they are → nested arrays under their names."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from model_store.spec import AnswerKind, Array, Tensors, TensorSpec


class TensorAnswer(AnswerKind):
    """With ``rows`` an answer is one row, without its axis; else all that a run gave. NaN and
    infinity, which JSON lacks, are null.
    """

    kind: Literal["tensor"] = "tensor"
    tensors: tuple[TensorSpec, ...] = Field(min_length=1)
    rows: bool = True

    def answer(
        self, tensors: Tensors, context: Mapping[str, Any], parameters: object
    ) -> dict[str, Any]:
        del context, parameters
        outputs = {}
        for spec in self.tensors:
            values = nested(tensors[spec.name], spec.dtype)
            outputs[spec.name] = values[0] if self.rows else values
        return {"outputs": outputs}


def nested(array: Array, dtype: str) -> Any:
    """Lists in lists. The bits of a bfloat16 are the upper half of a float32's."""
    if dtype == "bfloat16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
        array = array.astype(object)
        array[~finite] = None
    return array.tolist()
