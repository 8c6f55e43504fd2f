"""Tensor items: nested arrays, or one under each name → the graph's tensors as they are."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, JsonValue

from model_store.errors import ItemMismatch
from model_store.spec import (
    FLOAT32_MAX,
    Array,
    Encoded,
    Encoder,
    InputKind,
    TensorSpec,
    show,
    show_names,
)

FREE_AXIS = 8
FREE_PIXELS = 32
"""What a dynamic axis gets in an example; in a picture, more: many networks halve it five times."""
LARGEST = {
    "float16": 65504.0,
    "bfloat16": float.fromhex("0x1.fep127"),
    "float32": FLOAT32_MAX,
    "float64": float(np.finfo(np.float64).max),
}


class TensorInput(InputKind):
    """With ``rows`` an item is one row, and the shapes here are those of a row; else it is all that
    one run of the graph takes.
    """

    kind: Literal["tensor"] = "tensor"
    tensors: tuple[TensorSpec, ...] = Field(min_length=1)
    rows: bool = True

    def encoder(self, folder: Path) -> Encoder:
        del folder

        def encode(item: object, parameters: Any) -> Encoded:
            del parameters
            given = self._by_name(item)
            arrays = {spec.name: _array(given[spec.name], spec) for spec in self.tensors}
            return self._encoded(arrays)

        return encode

    def blank(self) -> Encoded:
        """Zeros of a modest size, to warm a graph up."""
        sizes = self._sizes()
        shapes = {s.name: [sizes.get(d, d) for d in s.shape] for s in self.tensors}
        return self._encoded({s.name: _zeros(shapes[s.name], s.dtype) for s in self.tensors})

    def zeros(self) -> JsonValue:
        """The same as an item."""
        lists = {name: array.tolist() for name, array in self.blank().tensors.items()}
        item = {name: cells[0] if self.rows else cells for name, cells in lists.items()}
        return item if len(item) > 1 else next(iter(item.values()))

    @property
    def cells(self) -> int:
        """How many numbers :meth:`zeros` has."""
        sizes = self._sizes()
        return sum(math.prod(int(sizes.get(d, d)) for d in s.shape) for s in self.tensors)

    def _sizes(self) -> dict[int | str, int]:
        """Axes of one name get one size."""
        sizes: dict[int | str, int] = {}
        for spec in self.tensors:
            free = [axis for axis in spec.shape if isinstance(axis, str)]
            picture = len(spec.shape) + self.rows >= 4 and len(free) >= 2
            for axis in free:
                sizes[axis] = max(sizes.get(axis, 0), FREE_PIXELS if picture else FREE_AXIS)
        if not self.rows:  # the first axis may be a row's all the same
            firsts = [spec.shape[0] for spec in self.tensors if spec.shape]
            sizes |= {axis: 1 for axis in firsts if isinstance(axis, str)}
        return sizes

    def _encoded(self, arrays: dict[str, Array]) -> Encoded:
        if self.rows:
            return Encoded({name: array[None] for name, array in arrays.items()})
        return Encoded(arrays, row_axis=False)

    def _by_name(self, item: object) -> Mapping[str, object]:
        names = [spec.name for spec in self.tensors]
        if isinstance(item, dict):
            if set(item) != set(names):
                raise ItemMismatch(f"expected tensors {show_names(names)}; got {show_names(item)}")
            return item
        if len(names) > 1:
            raise ItemMismatch(
                f"expected a mapping of {show_names(names)} to nested arrays; got {show(item)}"
            )
        return {names[0]: item}


# --- one tensor --------------------------------------------------------------------------------


def _array(value: object, spec: TensorSpec) -> Array:
    """Raises ItemMismatch naming the tensor."""
    cells = np.asarray(value, dtype=object)
    types = set(map(type, cells.ravel().tolist()))
    if list in types:
        raise ItemMismatch(
            "expected nested arrays of equal length and depth; got ragged ones", field=spec.name
        )
    _check_shape(cells.shape, spec)
    wanted, words = _wanted(spec.dtype)
    odd = types - wanted
    if odd:
        found = next(cell for cell in cells.ravel().tolist() if type(cell) in odd)
        raise ItemMismatch(f"expected {words}; got {show(found)}", field=spec.name)
    if spec.dtype == "string":
        return _texts(cells, spec.name)
    if spec.dtype == "bool":
        return cells.astype(np.bool_)
    return _floats(cells, spec) if spec.dtype in LARGEST else _integers(cells, spec)


def _wanted(dtype: str) -> tuple[set[type], str]:
    if dtype == "string":
        return {str}, "strings"
    if dtype == "bool":
        return {bool}, "true or false"
    if dtype in LARGEST:
        return {int, float}, f"{dtype} numbers"
    return {int}, f"whole {dtype} numbers"


def _check_shape(shape: tuple[int, ...], spec: TensorSpec) -> None:
    wanted = f"[{', '.join(map(str, spec.shape))}]"
    if len(shape) != len(spec.shape):
        raise ItemMismatch(
            f"expected {len(spec.shape)} axes {wanted}; got {len(shape)} of shape {list(shape)}",
            field=spec.name,
        )
    for axis, (size, want) in enumerate(zip(shape, spec.shape, strict=True)):
        if isinstance(want, int) and size != want:
            raise ItemMismatch(
                f"expected {want} along axis {axis} of {wanted}; got {size}", field=spec.name
            )


def _integers(cells: Array, spec: TensorSpec) -> Array:
    limits = np.iinfo(spec.dtype)
    for cell in (cells.min(), cells.max()) if cells.size else ():
        if not limits.min <= cell <= limits.max:
            raise ItemMismatch(
                f"expected {spec.dtype} from {limits.min} to {limits.max}; got {show(cell)}",
                field=spec.name,
            )
    return cells.astype(spec.dtype)


def _floats(cells: Array, spec: TensorSpec) -> Array:
    try:
        numbers = cells.astype(np.float64)
    except OverflowError:
        numbers = np.array([np.inf])
    if not (np.abs(numbers) <= LARGEST[spec.dtype]).all():
        raise ItemMismatch(
            f"expected finite {spec.dtype} numbers; got NaN, infinity or a larger one",
            field=spec.name,
        )
    return _bfloat16(numbers) if spec.dtype == "bfloat16" else numbers.astype(spec.dtype)


def _bfloat16(numbers: Array) -> Array:
    """The bits, rounded half to even, once: by way of float32 it would be twice."""
    _, exponent = np.frexp(numbers)
    unit = np.maximum(exponent - 8, -133)  # of the last bit kept; below 2**-126 it stays the same
    rounded = np.ldexp(np.rint(np.ldexp(numbers, -unit)), unit)
    return np.asarray(rounded.astype(np.float32).view(np.uint32) >> 16, np.uint16)


def _texts(cells: Array, name: str) -> Array:
    for cell in cells.ravel().tolist():
        if not cell.isascii() and any("\ud800" <= character <= "\udfff" for character in cell):
            raise ItemMismatch("expected Unicode text; got half of a surrogate pair", field=name)
    return cells


def _zeros(shape: list[Any], dtype: str) -> Array:
    if dtype == "string":
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, "uint16" if dtype == "bfloat16" else dtype)
