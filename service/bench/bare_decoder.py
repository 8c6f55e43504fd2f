"""The decoder's graph in a plain loop without a server: the most tokens any server could say.

Past and present are bound to the same memory, once for each number of rows. A prompt is read whole
as soon as a row is free, which is the fastest for throughput and the worst for everybody's next
token. Knows no HTTP.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

from model_store.bundle import Bundle
from model_store.decoding import Decoding
from model_store.manifest import Graph
from model_store.spec import Array
from service.bench.errors import BenchError
from service.bench.limits import ERROR
from service.bench.texts import Heard, Task


class BareDecoder:
    """``rows`` sequences at a time. Raises BenchError for a graph of another form."""

    def __init__(self, bundle: Bundle, graph: Graph, rows: int, threads: int) -> None:
        if graph.decoding is None or graph.decoding.form != "shared" or graph.decoding.source:
            raise BenchError("--limits: only a shared cache without a source is run alone")
        self._decoding: Decoding = graph.decoding
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = ERROR
        path = str(bundle.path(graph.file))
        self._session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        shapes = {tensor.name: tensor for tensor in (*graph.inputs, *graph.outputs)}
        self._past: dict[str, Array] = {
            name: np.zeros(
                (
                    rows,
                    int(shapes[name].shape[1]),
                    self._decoding.context,
                    int(shapes[name].shape[3]),
                ),
                np.float32,
            )
            for name in self._decoding.cache
        }
        self._vocabulary = int(shapes[self._decoding.logits].shape[-1])
        self._tokens = np.zeros((rows, 1), np.int64)
        self._lengths = np.zeros(rows, np.int32)
        self._first = np.zeros((rows, 1), np.int64)
        self._logits = np.zeros((rows, 1, self._vocabulary), np.float32)
        self._steps: dict[int, Any] = {}
        self._rows = rows

    def say(self, work: Sequence[Task]) -> Heard:
        """All tasks, each as soon as a row is free."""
        heard, waiting = Heard(), list(reversed(work))
        left: list[int] = []
        begin_s = time.perf_counter()
        while waiting or left:
            while waiting and len(left) < self._rows:
                task = waiting.pop()
                self._read(len(left), (*self._decoding.start, *task.tokens))
                left.append(task.wanted - 1)
                heard.tokens += 1
            self._step(len(left))
            heard.tokens += len(left)
            left = [count - 1 for count in left]
            for row in reversed(range(len(left))):
                if left[row] <= 0:
                    self._free(row, left)
        heard.seconds = time.perf_counter() - begin_s
        return heard

    def _read(self, row: int, prompt: Sequence[int]) -> None:
        tokens = np.array([prompt], np.int64)
        lengths = np.array([len(prompt) - 1], np.int32)
        last = np.array([[len(prompt) - 1]], np.int64)
        logits = np.empty((1, 1, self._vocabulary), np.float32)
        self._session.run_with_iobinding(
            self._bind(slice(row, row + 1), tokens, lengths, last, logits)
        )
        self._tokens[row], self._lengths[row] = logits[0, 0].argmax(), len(prompt)

    def _step(self, rows: int) -> None:
        if rows not in self._steps:
            part = slice(0, rows)
            self._steps[rows] = self._bind(
                part, self._tokens[part], self._lengths[part], self._first[part],
                self._logits[part],
            )  # fmt: skip
        self._session.run_with_iobinding(self._steps[rows])
        self._tokens[:rows, 0] = self._logits[:rows, 0].argmax(axis=1)
        self._lengths[:rows] += 1

    def _free(self, row: int, left: list[int]) -> None:
        """The last row takes its place."""
        last, left[row] = len(left) - 1, left[-1]
        left.pop()
        if row == last:
            return
        length = self._lengths[last]
        for past in self._past.values():
            past[row, :, :length] = past[last, :, :length]
        self._tokens[row], self._lengths[row] = self._tokens[last], length

    def _bind(
        self, rows: slice, tokens: Array, lengths: Array, wanted: Array, logits: Array
    ) -> Any:
        binding, decoding = self._session.io_binding(), self._decoding
        inputs = {decoding.tokens: tokens, str(decoding.lengths): lengths}
        if decoding.wanted:
            inputs[decoding.wanted] = wanted
        for name, past in self._past.items():
            inputs[name] = past[rows]
        outputs = {decoding.logits: logits}
        outputs |= {made: self._past[name][rows] for name, made in decoding.cache.items()}
        for bind, arrays in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
            for name, array in arrays.items():
                bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return binding
