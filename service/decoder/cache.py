"""What a graph keeps of the sequences it continues: rows, of which the first ones are running.

One class for each form that :class:`model_store.decoding.Decoding` knows.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from model_store.decoding import Decoding
from model_store.manifest import Graph
from model_store.spec import Array, Tensors, TensorSpec
from service.runner import Runner


class Cache(ABC):
    """Rows for ``rows`` sequences. Used by one thread."""

    def __init__(self, runner: Runner, graph: Graph, decoding: Decoding, rows: int) -> None:
        self.runner, self.graph, self.decoding, self.rows = runner, graph, decoding, rows
        self.specs: Mapping[str, TensorSpec] = {
            tensor.name: tensor for tensor in (*graph.inputs, *graph.outputs)
        }
        self.tokens = np.zeros((rows, 1), np.int64)
        """The token that comes next in each row."""
        self.lengths = np.zeros(rows, np.int32)
        """How many tokens each row already holds."""
        self._inputs = {tensor.name for tensor in graph.inputs}
        self.vocabulary = int(self.specs[decoding.logits].shape[-1])
        self.fixed: Tensors = {}
        """What the source's graph gave that stays as it is, and its mask."""

    # --- one row -------------------------------------------------------------------------------

    def open(self, row: int, source: Tensors) -> None:
        """Begin a sequence, with its source's tensors if there is one."""
        self.lengths[row] = 0
        for name, array in source.items():
            # What else its graph tells is meant for others.
            if name in self._inputs and name not in self.decoding.cache:
                self._keep(name, row, array)

    @abstractmethod
    def read(self, row: int, tokens: Sequence[int]) -> Array:
        """Tokens that follow what the row holds; → float32 ``[V]``, the logits after the last."""

    @abstractmethod
    def copy(self, source: Sequence[int], target: Sequence[int]) -> None:
        """Rows over other rows; each source is read before any target is written."""

    # --- the running rows ----------------------------------------------------------------------

    @abstractmethod
    def step(self, start: int, stop: int) -> Array:
        """One token each of the rows from ``start`` to ``stop``; → float32 ``[rows, V]``, a view
        that the next step overwrites. Lengths are one more then. Raises OutOfMemory, or as ONNX
        Runtime does, and all is as before.
        """

    # --- memory --------------------------------------------------------------------------------

    @property
    def token_bytes(self) -> int:
        """Memory of one token of one sequence."""
        return 0

    @property
    def row_bytes(self) -> int:
        """Memory of one sequence, however long it is."""
        return 0

    def idle(self) -> None:  # noqa: B027 - not every form has something
        """Nobody runs: give back what can be given back."""

    # --- for those below -----------------------------------------------------------------------

    def _keep(self, name: str, row: int, array: Array) -> None:
        """Zero-padded into this row of an array that is as long as the longest source."""
        kept = self.fixed.get(name)
        if kept is None or any(a < b for a, b in zip(kept.shape[1:], array.shape[1:], strict=True)):
            old = (0,) * array.ndim if kept is None else kept.shape
            shape = [self.rows, *map(max, old[1:], array.shape[1:])]
            grown = np.zeros(shape, array.dtype)
            if kept is not None:
                grown[tuple(slice(size) for size in kept.shape)] = kept
            kept = self.fixed[name] = grown
            self._source_grew()
        kept[row] = 0
        kept[row][tuple(slice(size) for size in array.shape[1:])] = array[0]

    def _source_grew(self) -> None:  # noqa: B027 - not every form minds
        """Arrays of the source's tensors are new ones."""

    def _copy_common(self, source: Sequence[int], target: Sequence[int]) -> None:
        self.tokens[target], self.lengths[target] = self.tokens[source], self.lengths[source]
        for array in self.fixed.values():
            array[target] = array[source]

    def _last(self, logits: Array) -> Array:
        """``[B, K, V]`` or ``[B, V]`` → float32 ``[B, V]`` of the last place."""
        last = logits[:, -1] if logits.ndim == 3 else logits
        return last.astype(np.float32, copy=False)  # some graphs give float16
