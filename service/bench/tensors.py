"""Random inputs for any model, from what its metadata says and a seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from service.bench.errors import BenchError

Array: TypeAlias = npt.NDArray[Any]
Tensors: TypeAlias = dict[str, Array]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

DTYPES: dict[str, type[np.generic]] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
VARIABLE = -1


@dataclass(frozen=True)
class Input:
    """One input with its shape settled, rows and all."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> "np.dtype[Any]":
        return np.dtype(DTYPES[self.datatype])


@dataclass(frozen=True)
class Inputs:
    """What one request holds. A model without a row axis takes one row: the request."""

    model: str
    inputs: tuple[Input, ...]
    rows: int
    batches: bool


def settle(metadata: Mapping[str, Any], rows: int, shapes: Shapes) -> Inputs:
    """Every variable axis filled in. Raises BenchError."""
    model, entries = str(metadata["name"]), list(metadata["inputs"])
    batches = all(entry["shape"][:1] == [VARIABLE] for entry in entries)
    if rows != 1 and not batches:
        raise BenchError(f"model {model} has no row axis; --rows {rows} cannot be sent")
    inputs = tuple(_settle(f"model {model}: input", entry, rows, shapes) for entry in entries)
    return Inputs(model, inputs, rows, batches)


def _settle(where: str, entry: Mapping[str, Any], rows: int, shapes: Shapes) -> Input:
    name, datatype = str(entry["name"]), str(entry["datatype"])
    if datatype not in DTYPES:
        raise BenchError(f"{where} {name} is {datatype}; expected numbers, nothing else is made")
    declared = tuple(int(size) for size in entry["shape"])
    first, rest = declared[:1], declared[1:]
    if first == (VARIABLE,):
        first = (rows,)
    given = shapes.get(name)
    if given is None and VARIABLE in rest:
        dims = ",".join("N" if size == VARIABLE else str(size) for size in rest)
        raise BenchError(f"{where} {name} has variable axes; --shape {name}:{dims} settles them")
    if given is not None:
        fits = (a in (VARIABLE, b) for a, b in zip(rest, given, strict=False))
        if len(given) != len(rest) or not all(fits):
            raise BenchError(
                f"{where} {name} has axes {list(rest)} after the row;"
                f" --shape gives {list(given)}, which does not fit"
            )
        rest = given
    return Input(name, datatype, (*first, *rest))


def draw(inputs: Inputs, bodies: int, seed: int, integers_below: int) -> list[Tensors]:
    """So many different requests, each with numbers from a range of its own: noise of one
    distribution is all alike to a network, and so would be its answers.
    """
    generator = np.random.default_rng(seed)
    return [
        {
            one.name: _draw(one, generator, (body + 1) / bodies, integers_below)
            for one in inputs.inputs
        }
        for body in range(bodies)
    ]


def _draw(one: Input, generator: np.random.Generator, share: float, integers_below: int) -> Array:
    kind = one.dtype.kind
    if kind == "b":
        return generator.random(one.shape) < share
    if kind == "f":
        return (generator.random(one.shape) * share).astype(one.dtype)
    below = 256 if one.datatype == "UINT8" else integers_below
    return generator.integers(0, max(1, round(below * share)), one.shape).astype(one.dtype)
