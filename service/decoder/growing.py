"""The cache that a run takes and gives back longer, as decoders are commonly exported.

Every step copies all of it, in the graph; that is the form's cost, not ours to mend. Rows of
different lengths share a step by standing flush right: the mask hides the gap on the left.
"""

from collections.abc import Sequence

import numpy as np

from model_store.decoding import Decoding
from model_store.manifest import Graph
from model_store.spec import Array, Tensors
from service.decoder.cache import Cache
from service.runner import Runner


class GrowingCache(Cache):
    """Each row's keys and values, ``[1, heads, length, size]``; those of rows that ran together
    stay together, ``[B, heads, longest, size]``, as long as the same rows go on.
    """

    def __init__(self, runner: Runner, graph: Graph, decoding: Decoding, rows: int) -> None:
        super().__init__(runner, graph, decoding, rows)
        self._own: list[Tensors] = [{} for _ in range(rows)]
        self._joint: Tensors = {}
        self._joined = (0, 0)
        """Whose the joint one is: first row, and one past the last."""

    def open(self, row: int, source: Tensors) -> None:
        self._part()
        super().open(row, source)
        self._own[row] = {
            name: source[name]
            if name in source
            else np.zeros((1, int(spec.shape[1]), 0, int(spec.shape[3])), np.dtype(spec.dtype))
            for name in self.decoding.cache
            for spec in [self.specs[name]]
        }

    def read(self, row: int, tokens: Sequence[int]) -> Array:
        self._part()
        length = int(self.lengths[row])
        past = self._own[row]
        outputs = self._run(row, row + 1, np.array([tokens], np.int64), past, length)
        self._own[row] = {name: outputs[made] for name, made in self.decoding.cache.items()}
        self.lengths[row] += len(tokens)
        found: Array = self._last(outputs[self.decoding.logits])[0]
        return found

    def step(self, start: int, stop: int) -> Array:
        if self._joined != (start, stop):
            self._part()
            self._join(start, stop)
        longest = next(iter(self._joint.values())).shape[2]
        outputs = self._run(start, stop, self.tokens[start:stop], self._joint, longest)
        self._joint = {name: outputs[made] for name, made in self.decoding.cache.items()}
        self.lengths[start:stop] += 1
        return self._last(outputs[self.decoding.logits])

    def _run(self, start: int, stop: int, tokens: Array, past: Tensors, longest: int) -> Tensors:
        """``longest`` places of the past, flush right in each row."""
        decoding, new = self.decoding, tokens.shape[1]
        lengths = self.lengths[start:stop, None].astype(np.int64)
        inputs = {decoding.tokens: tokens, **past}
        inputs |= {name: array[start:stop] for name, array in self.fixed.items()}
        if decoding.mask:
            inputs[decoding.mask] = (np.arange(longest + new) >= longest - lengths).astype(np.int64)
        if decoding.positions:
            inputs[decoding.positions] = lengths + np.arange(new)
        if decoding.wanted:
            inputs[decoding.wanted] = np.full((stop - start, 1), new - 1, np.int64)
        return self.runner.run(inputs)

    def _join(self, start: int, stop: int) -> None:
        """One array of all rows, zeros on the left of shorter ones."""
        longest = int(self.lengths[start:stop].max())
        for name in self.decoding.cache:
            parts = [self._own[row][name] for row in range(start, stop)]
            joint = np.zeros((stop - start, *parts[0].shape[1:2], longest, parts[0].shape[3]),
                             parts[0].dtype)  # fmt: skip
            for row, part in enumerate(parts):
                joint[row, :, longest - part.shape[2] :] = part[0]
            self._joint[name] = joint
        self._joined = (start, stop)

    def _part(self) -> None:
        """Give each row its own again, without the gap."""
        start, stop = self._joined
        for row in range(start, stop):
            length = int(self.lengths[row])
            self._own[row] = {
                name: array[row - start : row - start + 1, :, array.shape[2] - length :]
                for name, array in self._joint.items()
            }
        self._joined, self._joint = (0, 0), {}

    def copy(self, source: Sequence[int], target: Sequence[int]) -> None:
        self._part()
        taken = [self._own[row] for row in source]
        for row, own in zip(target, taken, strict=True):
            self._own[row] = own  # runs never write into what they were given
        self._copy_common(source, target)

    @property
    def token_bytes(self) -> int:
        return sum(
            int(spec.shape[1]) * int(spec.shape[3]) * np.dtype(spec.dtype).itemsize
            for spec in (self.specs[name] for name in self.decoding.cache)
        )

    def idle(self) -> None:
        self._joined, self._joint = (0, 0), {}
        self._own = [{} for _ in range(self.rows)]
