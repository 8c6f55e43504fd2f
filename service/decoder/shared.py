"""The cache that a run reads and writes where it lies: ``com.microsoft::GroupQueryAttention``.

A step binds the first rows of the buffers by their address, once for each number of rows, and every
row has a length of its own; so nothing is copied, padded or bound anew while sequences run. The
buffers are as large as all rows at their longest, but they are memory only where something was
written: the system hands it out page by page, sixteen tokens of a 64-wide head to each.
"""

import mmap
from collections.abc import Sequence

import numpy as np

from model_store.decoding import Decoding
from model_store.manifest import Graph
from model_store.spec import Array
from service.bound import Bound
from service.decoder.cache import Cache
from service.runner import Runner

PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class SharedCache(Cache):
    """Keys and values ``[rows, heads, context, size]`` of each layer."""

    def __init__(self, runner: Runner, graph: Graph, decoding: Decoding, rows: int) -> None:
        super().__init__(runner, graph, decoding, rows)
        self._memory: list[mmap.mmap] = []
        self._buffers = {name: self._reserve(name) for name in decoding.cache}
        self._logits = np.zeros((rows, 1, self.vocabulary), np.float32)
        self._first = np.zeros((rows, 1), np.int64)
        self._steps: dict[tuple[int, int], Bound] = {}

    def _reserve(self, name: str) -> Array:
        spec = self.specs[name]
        shape = (self.rows, int(spec.shape[1]), self.decoding.context, int(spec.shape[3]))
        dtype = np.dtype(spec.dtype)
        # Private: what is shared with nobody can be given back.
        memory = mmap.mmap(-1, int(np.prod(shape)) * dtype.itemsize, flags=PRIVATE)
        self._memory.append(memory)
        return np.frombuffer(memory, dtype).reshape(shape)

    def read(self, row: int, tokens: Sequence[int]) -> Array:
        new = np.array([tokens], np.int64)
        lengths = self.lengths[row : row + 1] + np.int32(len(tokens) - 1)
        last = np.array([[len(tokens) - 1]], np.int64)
        logits = np.empty(
            (1, 1 if self.decoding.wanted else len(tokens), self.vocabulary), np.float32
        )
        self._bind(row, row + 1, new, lengths, last, logits).run()
        self.lengths[row] += len(tokens)
        found: Array = logits[0, -1]
        return found

    def step(self, start: int, stop: int) -> Array:
        bound = self._steps.get((start, stop))
        if bound is None:
            part = slice(start, stop)
            bound = self._steps[start, stop] = self._bind(
                start, stop, self.tokens[part], self.lengths[part], self._first[part],
                self._logits[part],
            )  # fmt: skip
        bound.run()
        self.lengths[start:stop] += 1
        return self._logits[start:stop, 0]

    def _bind(
        self, start: int, stop: int, tokens: Array, lengths: Array, wanted: Array, logits: Array
    ) -> Bound:
        decoding = self.decoding
        rows = {name: array[start:stop] for name, array in self._buffers.items()}
        inputs = {decoding.tokens: tokens, str(decoding.lengths): lengths, **rows}
        inputs |= {name: array[start:stop] for name, array in self.fixed.items()}
        if decoding.wanted:
            inputs[decoding.wanted] = wanted
        outputs = {decoding.cache[name]: array for name, array in rows.items()}
        return self.runner.bind(inputs, {decoding.logits: logits, **outputs})

    def copy(self, source: Sequence[int], target: Sequence[int]) -> None:
        longest = int(self.lengths[source].max(initial=0))
        one = len(source) == 1
        for buffer in self._buffers.values():
            if one:  # twice as fast as the general way, which copies to a place between
                buffer[target[0], :, :longest] = buffer[source[0], :, :longest]
            else:
                buffer[target, :, :longest] = buffer[source, :, :longest]
        self._copy_common(source, target)

    def save(self, row: int, start: int, stop: int) -> list[Array]:
        """A copy of what these places of a row hold."""
        return [buffer[row, :, start:stop].copy() for buffer in self._buffers.values()]

    def restore(self, row: int, start: int, saved: Sequence[Array]) -> None:
        """Put back what was saved of another row; it is the end of this one then."""
        for buffer, array in zip(self._buffers.values(), saved, strict=True):
            buffer[row, :, start : start + array.shape[1]] = array
        self.lengths[row] = start + saved[0].shape[1]

    @property
    def token_bytes(self) -> int:
        places = self.rows * self.decoding.context
        return sum(buffer.nbytes // places for buffer in self._buffers.values())

    def idle(self) -> None:
        for memory in self._memory:
            memory.madvise(mmap.MADV_DONTNEED)

    def _source_grew(self) -> None:
        self._steps.clear()
