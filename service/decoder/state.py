"""The cache of a recurrent network: a state of one size, however much was read."""

from collections.abc import Sequence

import numpy as np

from model_store.decoding import Decoding
from model_store.manifest import Graph
from model_store.spec import Array, Tensors
from service.decoder.cache import Cache
from service.runner import Runner


class StateCache(Cache):
    """States ``[rows, …]``. A step is a run from the first rows, whose results take their place."""

    def __init__(self, runner: Runner, graph: Graph, decoding: Decoding, rows: int) -> None:
        super().__init__(runner, graph, decoding, rows)
        self._states = {
            name: np.zeros((rows, *map(int, self.specs[name].shape[1:])), self.specs[name].dtype)
            for name in decoding.cache
        }

    def open(self, row: int, source: Tensors) -> None:
        super().open(row, source)
        for name, state in self._states.items():
            state[row] = source[name][0] if name in source else 0

    def read(self, row: int, tokens: Sequence[int]) -> Array:
        logits = self._run(row, row + 1, np.array([tokens], np.int64))
        self.lengths[row] += len(tokens)
        found: Array = logits[0]
        return found

    def step(self, start: int, stop: int) -> Array:
        logits = self._run(start, stop, self.tokens[start:stop])
        self.lengths[start:stop] += 1
        return logits

    def _run(self, start: int, stop: int, tokens: Array) -> Array:
        decoding, part = self.decoding, slice(start, stop)
        inputs = {decoding.tokens: tokens}
        inputs |= {name: array[part] for name, array in (self._states | self.fixed).items()}
        if decoding.wanted:
            last = tokens.shape[1] - 1
            inputs[decoding.wanted] = np.full((stop - start, 1), last, np.int64)
        outputs = self.runner.run(inputs)
        for name, state in self._states.items():
            state[part] = outputs[decoding.cache[name]]
        return self._last(outputs[decoding.logits])

    def copy(self, source: Sequence[int], target: Sequence[int]) -> None:
        for state in self._states.values():
            state[target] = state[source]
        self._copy_common(source, target)

    @property
    def row_bytes(self) -> int:
        return sum(state.nbytes // self.rows for state in self._states.values())
