"""What a V2 client may send to a graph and get from it: its own inputs and outputs."""

from collections.abc import Sequence
from dataclasses import dataclass

from model_store.manifest import Graph, Tensor
from model_store.spec import show
from service.errors import BadBody
from service.protocols.open_inference.wire import DATATYPES, NUMPY

MAX_AXIS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Slot:
    """One input or output of a graph."""

    name: str
    datatype: str
    axes: tuple[int | str, ...]
    limits: dict[str, int]
    """The longest a padded axis may be: what the graph was warmed up for."""

    @property
    def shape(self) -> list[int]:
        """As the protocol writes it: -1 where any length will do."""
        return [axis if isinstance(axis, int) else -1 for axis in self.axes]

    @property
    def item_bytes(self) -> int:
        """0 for BYTES, whose elements differ."""
        return 0 if self.datatype == "BYTES" else NUMPY[self.datatype].itemsize

    def check(self, datatype: object, shape: object) -> tuple[int, ...]:
        """Raises BadBody where these are not this input's."""
        if datatype != self.datatype:
            raise BadBody(
                f"input {self.name}: expected datatype {self.datatype}; got {show(datatype)}"
            )
        if not isinstance(shape, Sequence) or not all(_is_length(axis) for axis in shape):
            raise BadBody(
                f"input {self.name}: shape: expected whole numbers from 0 to {MAX_AXIS:,};"
                f" got {str(shape)[:80]}"
            )
        if len(shape) != len(self.axes) or not all(
            self._fits(axis, length) for axis, length in zip(self.axes, shape, strict=True)
        ):
            raise BadBody(
                f"input {self.name}: expected shape {self._wish()}; got {str(list(shape))[:80]}"
            )
        return tuple(shape)

    def _fits(self, axis: int | str, length: int) -> bool:
        return length == axis if isinstance(axis, int) else length <= self.limits.get(axis, length)

    def _wish(self) -> str:
        parts = [
            f"at most {self.limits[axis]}" if axis in self.limits else "-1"
            if isinstance(axis, str) else str(axis)
            for axis in self.axes
        ]  # fmt: skip
        return f"[{', '.join(parts)}]"


class Signature:
    """A graph's slots by name."""

    def __init__(self, graph: Graph) -> None:
        self.rows = graph.batching.rows
        limits = {axis: max(steps) for axis, steps in graph.batching.pad.items()}
        self.inputs = {tensor.name: _slot(tensor, limits) for tensor in graph.inputs}
        self.outputs = {tensor.name: _slot(tensor, {}) for tensor in graph.outputs}

    def check_rows(self, shapes: Sequence[Sequence[int]], max_rows: int) -> None:
        """All inputs have as many rows. Raises BadBody."""
        if not self.rows:
            return
        rows = [shape[0] for shape in shapes]
        if len(set(rows)) > 1:
            raise BadBody(f"expected the first axis alike in all inputs; got {rows}")
        if not 1 <= rows[0] <= max_rows:
            raise BadBody(f"expected 1 to {max_rows:,} rows; got {rows[0]:,}")


def _slot(tensor: Tensor, limits: dict[str, int]) -> Slot:
    return Slot(tensor.name, DATATYPES[tensor.dtype], tensor.shape, limits)


def _is_length(axis: object) -> bool:
    return type(axis) is int and 0 <= axis <= MAX_AXIS
