"""What an input kind and an answer kind are, and what passes between them and a graph.

Knows no kind in particular: each lives in its own file under ``inputs/`` or ``answers/``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from model_store.errors import ItemMismatch

FLOAT32_MAX = float(np.finfo(np.float32).max)
"""Graphs compute in float32; a larger number would reach them as infinity."""

Array: TypeAlias = npt.NDArray[Any]
Tensors: TypeAlias = dict[str, Array]
"""Tensor name → array whose first axis is the row, where the graph has rows."""

DType: TypeAlias = Literal[
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "bfloat16", "float32", "float64", "string",
]  # fmt: skip
"""Element types. As arrays, strings are objects; bfloat16, which numpy lacks, is its bits in
uint16.
"""


class Spec(BaseModel):
    """Frozen part of a manifest; a field it does not know is an error, not a surprise."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorSpec(Spec):
    """A tensor's name, element type and shape. A string in the shape names a dynamic axis."""

    name: str
    dtype: DType
    shape: tuple[int | str, ...]


class Parameters(Spec):
    """What a caller may set beside the items. Kinds without parameters use this empty one."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One item as a graph takes it: tensors of one or more rows, and what its answer needs back.
    Without a ``row_axis`` the tensors are a run of their own and count as one row.
    """

    tensors: Tensors
    context: Mapping[str, Any] = field(default_factory=dict)
    row_axis: bool = True

    @property
    def rows(self) -> int:
        return len(next(iter(self.tensors.values()))) if self.row_axis else 1


Encoder: TypeAlias = Callable[[object, Any], Encoded]
"""``(item, parameters) → Encoded``; raises ItemError."""

MAX_PARTS = 48
"""An item is divided into no more, where how finely is up to us."""


def _nothing(contributions: Array) -> dict[str, Any]:
    del contributions
    return {}


@dataclass(frozen=True, slots=True)
class Parts:
    """One item in parts that can be left out, to see what each does to an answer."""

    names: Sequence[Mapping[str, Any]]
    """What each part is, as an answer says it."""
    keep: Callable[[Array], Tensors]
    """bool ``[R, parts]`` → R rows for the graph, each without the parts that are false there."""
    draw: Callable[[Array], dict[str, Any]] = _nothing
    """Contributions ``[parts]`` → what an answer shows of them all beside the list."""


Divider: TypeAlias = Callable[[object, Any], Parts]
"""``(item, parameters) → Parts``; raises ItemError."""


class InputKind(Spec, ABC):
    """How one kind of raw item becomes tensors. Used alike in training and in serving."""

    media_types: ClassVar[tuple[str, ...]] = ()
    """Content types whose raw body :meth:`items` can read."""
    compressed: ClassVar[bool] = False
    """An item may unpack to far more than its bytes: a server encodes it off its event loop."""

    kind: str

    @property
    def parameters(self) -> type[Parameters]:
        """What a caller may set for all items; a generator's attributes are the model's own."""
        return Parameters

    def items(self, body: bytes, media_type: str) -> list[object]:
        """Read the raw body of a request. Raises ItemError."""
        del media_type
        return [body]

    def body(self, item: object) -> tuple[bytes, str]:
        """The other way: an item as a raw body and its content type, for those who try a model.
        Raises ItemMismatch where this kind has no raw form.
        """
        del item
        raise ItemMismatch(f"an item of kind {self.kind} has no raw form; send it as JSON")

    @abstractmethod
    def encoder(self, folder: Path) -> Encoder:
        """Open what encoding needs (a tokenizer, say) from the bundle's folder, once."""

    @property
    def divisible(self) -> bool:
        """Whether :meth:`divider` knows how an item looks without some of its parts."""
        return False

    def divider(self, folder: Path) -> Divider:
        """Open what dividing items into parts needs. Only where :attr:`divisible`."""
        raise NotImplementedError(f"items of kind {self.kind} are not divided")


class AnswerKind(Spec, ABC):
    """How the rows a graph gave for one item become the JSON answer."""

    parameters: ClassVar[type[Parameters]] = Parameters

    @property
    def compressed(self) -> bool:
        """An answer is packed from far more than its bytes: a server does it off its event loop."""
        return False

    @abstractmethod
    def answer(
        self, tensors: Tensors, context: Mapping[str, Any], parameters: Any
    ) -> dict[str, Any]:
        """``tensors`` are this item's rows only; ``context`` is what its encoder left."""

    @property
    def targets(self) -> tuple[str, ...]:
        """The numbers of an answer that can be explained, by name; none where there are none."""
        return ()

    def amounts(self, tensors: Tensors) -> Array:
        """Those numbers of R rows: ``[R, targets]``."""
        raise NotImplementedError(f"{type(self).__name__} has no targets")

    def foremost(self, amounts: Array) -> int:
        """Which target an answer is about where a caller names none; ``amounts`` are its own."""
        del amounts
        return 0


NO_INT64 = "Input should be a whole number of at most 64 bits"
"""What pydantic says of larger ones speaks of strings."""
P = TypeVar("P", bound=Parameters)


def read_parameters(kind: type[P], raw: Mapping[str, object], where: str) -> P:
    """Check what a caller set. Raises ItemMismatch naming the field, the want and the gift."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join([where, *(str(part)[:40] for part in first["loc"])]).removeprefix(".")
        got = (
            ""
            if first["type"] in {"missing", "extra_forbidden"}
            else f"; got {show(first['input'])}"
        )
        want = NO_INT64 if first["type"] == "int_parsing_size" else first["msg"]
        raise ItemMismatch(f"{want}{got}", field=path) from None


def show(value: object, limit: int = 60) -> str:
    """What came, short enough for an error message and never the whole of a large body."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, (list, dict)):
        return f"a {'list' if isinstance(value, list) else 'mapping'} of {len(value)}"
    text = repr(value[: limit + 1] if isinstance(value, str) else value)
    return text if len(text) <= limit + 2 else text[:limit] + "…"


def show_names(names: Iterable[object], limit: int = 20) -> str:
    """Keys or columns that came, as short."""
    found = list(names)
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return f"[{', '.join(show(name, 40) for name in found[:limit])}]{more}"


def numbers(value: object, *, field: str) -> npt.NDArray[np.float64]:
    """Nested lists of numbers as an array. Raises ItemMismatch for strings, gaps, NaN, infinity,
    and what float32 can't hold.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise ItemMismatch("expected rows of equal length; got ragged rows", field=field) from None
    if array.dtype.kind not in "iuf":
        raise ItemMismatch(f"expected numbers; got {show(value)}", field=field)
    array = array.astype(np.float64)
    if not (np.abs(array) <= FLOAT32_MAX).all():
        raise ItemMismatch(
            "expected finite 32-bit numbers; got NaN, infinity or a larger one", field=field
        )
    return array
