"""What an ONNX file says of itself: inputs, outputs, operators and the files it leans on.

Field numbers are those of onnx.proto. Knows no runtime and no manifest, and never reads a weight.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from model_store.errors import CorruptBundle
from model_store.protobuf import Wire, integer, part
from model_store.spec import show

LFS_HEAD = b"version https://git-lfs.github.com/spec/"
MAX_DEPTH = 100
"""Messages inside messages; protobuf's own readers stop there too."""
MAX_AXES = 64
"""More than any array library takes."""
NUMBERS = re.compile(rb"(?:\x40[\x80-\xff]{0,9}[\x00-\x7f])+|(?:\x3d.{4})+", re.DOTALL)
"""A run of an attribute's integers (field 8) or floats (7): a forest of trees has millions. No
message that is read here keeps a number of use in these two fields. (Possessive quantifiers would
do, but those of Python 3.11.2, which Debian 12 has, skip too far.)"""


@dataclass(frozen=True, slots=True)
class Value:
    """A graph's input or output. ``dtype`` is ``spec.DType``'s word where it has one, else what the
    value is instead (a sequence, say). ``shape`` is None where the file declares no rank.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True, slots=True)
class Signature:
    """``inputs`` are those a caller gives: what the file itself fills in is not among them.
    ``operators`` are pairs of domain and type; ``external`` are paths from the graph's folder.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    opsets: dict[str, int]
    operators: frozenset[tuple[str, str]]
    external: frozenset[str]


def read_signature(path: Path) -> Signature:
    """Read a graph's file, and prove that the files it names are there, beside it or below.

    Raises CorruptBundle.
    """
    try:
        if not path.is_file():
            raise CorruptBundle(f"{path.name} cannot be read: no such file")
        refuse_pointer(path)
        with path.open("rb", buffering=0) as file:
            signature = _Walk(Wire(path.name, file.fileno(), NUMBERS)).signature()
        for location in sorted(signature.external):
            _check_external(path, location)
    except OSError as error:
        raise CorruptBundle(f"{path.name} cannot be read: {error.strerror}") from None
    return signature


def refuse_pointer(path: Path) -> None:
    """Raises CorruptBundle where Git has left a note in place of the file; OSError."""
    with path.open("rb") as file:
        if file.read(len(LFS_HEAD)) == LFS_HEAD:
            raise CorruptBundle(
                f"{path.name} is a Git LFS pointer, not the model: run git lfs pull"
            )


def _check_external(path: Path, location: str) -> None:
    """A graph can send its reader to any file of the machine; only those beside it are meant."""
    words = f"{path.name} keeps weights in {show(location)}"
    relative = PurePosixPath(location)
    if relative.is_absolute() or ".." in relative.parts:
        raise CorruptBundle(f"{words}, which lies outside its folder")
    file = path.parent / relative
    try:
        inside = file.resolve().is_relative_to(path.parent.resolve())
        there = file.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, links in a circle
        inside, there = True, False
    if not inside:
        raise CorruptBundle(f"{words}, which points outside its folder")
    if not there:
        raise CorruptBundle(f"{words}, which is missing")
    refuse_pointer(file)


# --- the messages ------------------------------------------------------------------------------

PARTS = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
}
"""Message → field → the message in it: every way to an operator or a tensor's data."""
KEPT = {
    "opset": (part(1), integer(2)),
    "node": (part(7), part(4)),
    "external": (part(1), part(2)),
}
"""Message → the two fields to keep: domain and version, domain and type, key and value."""

ELEMENTS = (
    "undeclared", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool",
    "float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16",
    "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "uint4", "int4",
    "float4e2m1", "float8e8m0", "uint2", "int2", "float6e2m3", "float6e3m2",
)  # fmt: skip
"""By their numbers in TensorProto.DataType."""
CONTAINERS = {4: "sequence", 5: "map", 7: "opaque", 8: "sparse tensor", 9: "optional"}
"""By their fields in TypeProto, where field 1 is the tensor."""

Dims: TypeAlias = tuple[int | str, ...]
"""As declared: an axis that has neither size nor name is the empty string."""


class _Walk:
    """Visits every message that may name an operator or a file, in subgraphs and functions too."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._graphs: list[tuple[int, int]] = []
        self._opsets: dict[str, int] = {}
        self._operators: set[tuple[str, str]] = set()
        self._external: set[str] = set()

    def signature(self) -> Signature:
        if not self._wire.size:
            raise self._wire.broken("the file is empty")
        self._visit("model", 0, self._wire.size, 0)
        if not self._graphs:
            raise self._wire.broken("there is no graph")
        if not self._opsets:
            raise self._wire.broken("it names no operator set")
        inputs, outputs = self._values()
        return Signature(
            inputs, outputs, self._opsets, frozenset(self._operators), frozenset(self._external)
        )

    def _visit(self, message: str, start: int, end: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self._wire.broken(f"messages nest deeper than {MAX_DEPTH}")
        parts, kept = PARTS.get(message, {}), KEPT.get(message, ())
        told: dict[int, str | int] = {}
        for tag, first, last in self._wire.fields(start, end):
            inner = parts.get(tag >> 3) if tag & 7 == 2 else None
            if inner:
                self._visit(inner, first, last, depth + 1)
                if depth == 0 and inner == "graph":
                    # Protobuf joins what comes twice: a second graph is more of the first.
                    self._graphs.append((first, last))
            elif tag in kept:
                told[tag] = self._wire.text(first, last) if tag & 7 == 2 else first
        if kept:
            self._keep(message, *(told.get(tag, "") for tag in kept))

    def _keep(self, message: str, first: str | int, second: str | int) -> None:
        if message == "opset":
            self._opsets[str(first)] = int(second or 0)
        elif message == "node":
            self._operators.add((str(first), str(second)))
        elif first == "location":
            # Even where the tensor does not say that its data are external: joined with another
            # message of the same field, it might.
            self._external.add(str(second))

    # --- the graph's own inputs and outputs ----------------------------------------------------

    def _values(self) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
        """A graph's fields: 11 inputs, 12 outputs, 5 and 15 what the file fills in itself."""
        tensor_name = part(8)
        filled = {self._text(*at, tensor_name) for at in self._inside(part(5))}
        filled |= {
            self._text(first, last, tensor_name)
            for at in self._inside(part(15))
            for tag, first, last in self._wire.fields(*at)
            if tag == part(1)
        }
        inputs, outputs = (
            [(self._text(*at, part(1)), *self._type(*at)) for at in self._inside(part(number))]
            for number in (11, 12)
        )
        inputs = [value for value in inputs if value[0] not in filled]
        for values in (inputs, outputs):
            names = [name for name, _, _ in values]
            if "" in names or len(set(names)) < len(names):
                raise self._wire.broken("an input or output has no name of its own")
        symbols = {dim for _, _, dims in inputs + outputs for dim in dims or ()}
        rows = "" if "N" in symbols else "N"
        return tuple(_named(*v, rows) for v in inputs), tuple(_named(*v, rows) for v in outputs)

    def _inside(self, wanted: int) -> Iterator[tuple[int, int]]:
        for start, end in self._graphs:
            for tag, first, last in self._wire.fields(start, end):
                if tag == wanted:
                    yield first, last

    def _text(self, start: int, end: int, wanted: int) -> str:
        text = ""
        for tag, first, last in self._wire.fields(start, end):
            if tag == wanted:
                text = self._wire.text(first, last)
        return text

    def _type(self, start: int, end: int) -> tuple[str, Dims | None]:
        """Of a ValueInfoProto, whose field 2 is its type."""
        dtype, dims = ELEMENTS[0], None
        for tag, first, last in self._wire.fields(start, end):
            if tag == part(2):
                for inner, at, until in self._wire.fields(first, last):
                    if inner == part(1):
                        dtype, dims = self._tensor_type(at, until)
                    elif inner & 7 == 2:
                        dtype = CONTAINERS.get(inner >> 3, dtype)
        return dtype, dims

    def _tensor_type(self, start: int, end: int) -> tuple[str, Dims | None]:
        element, dims = 0, None
        for tag, first, last in self._wire.fields(start, end):
            if tag == integer(1):
                element = first
            elif tag == part(2):
                axes = [(at, to) for t, at, to in self._wire.fields(first, last) if t == part(1)]
                if len(axes) > MAX_AXES:
                    raise self._wire.broken(f"a tensor of {len(axes):,} axes")
                dims = tuple(self._dim(*axis) for axis in axes)
        known = element < len(ELEMENTS)
        return ELEMENTS[element] if known else f"element type {element}", dims

    def _dim(self, start: int, end: int) -> int | str:
        dim: int | str = ""
        for tag, first, last in self._wire.fields(start, end):
            if tag == integer(1):
                dim = first if first < 1 << 63 else ""  # -1, as some exporters write "dynamic"
            elif tag == part(2):
                dim = self._wire.text(first, last)
        return dim


def _named(name: str, dtype: str, dims: Dims | None, rows: str) -> Value:
    """Give each axis without a name one of its own, and the first ones ``rows`` if it is free."""
    if dims is None:
        return Value(name, dtype, None)
    shape = (
        (rows if axis == 0 and rows else f"{name}_{axis}") if dim == "" else dim
        for axis, dim in enumerate(dims)
    )
    return Value(name, dtype, tuple(shape))
