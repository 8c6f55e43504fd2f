"""Runs whose tensors have a place of their own, so that nothing is allocated or looked up again."""

import threading
from typing import Any

import numpy as np
import onnxruntime

from model_store.spec import Array, Tensors
from service.errors import OutOfMemory

NO_MEMORY = ("failed to allocate", "bad_alloc", "bad allocation", "out of memory", "alloc_failed")
"""What ONNX Runtime's messages say, in lower case, where an allocation failed."""
TOO_MUCH = "the run asked for more memory than there is"
GRAPH_ID = "gpu_graph_id"
"""ONNX Runtime's name for the CUDA graph of a run; -1 is a run without."""
NO_GRAPH = -1
MAX_PLACES, MAX_BYTES = 64, 2**30
"""Sets of shapes that get a place, and what their inputs may take; with graphs, outputs come on
top.
"""


def is_out_of_memory(error: Exception) -> bool:
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in words for sign in NO_MEMORY)


def run_options(graph_id: int = NO_GRAPH) -> Any:
    """Of a run that is captured as, or replays, the CUDA graph of this number."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry(GRAPH_ID, str(graph_id))
    return options


class Bound:
    """A graph with its arrays, to be run as often as their contents change."""

    __slots__ = ("_arrays", "_binding", "_options", "_session")

    def __init__(self, session: Any, inputs: Tensors, outputs: Tensors, options: Any) -> None:
        self._session, self._binding, self._options = session, session.io_binding(), options
        self._arrays = (inputs, outputs)  # their memory has to outlive the binding
        sides = ((self._binding.bind_input, inputs), (self._binding.bind_output, outputs))
        for bind, arrays in sides:
            for name, array in arrays.items():
                if not array.flags.c_contiguous:
                    raise ValueError(f"{name}: expected an array without gaps")
                bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def run(self) -> None:
        """Raises OutOfMemory, or as ONNX Runtime does."""
        try:
            self._session.run_with_iobinding(self._binding, self._options)
        except Exception as error:
            if is_out_of_memory(error):
                raise OutOfMemory(TOO_MUCH) from error
            raise


class Places:
    """Runs from places on the device, one for each set of shapes; made when a shape first comes.

    With ``graphs`` the outputs have places, too, and each set of shapes is one CUDA graph: ONNX
    Runtime captures its second run and replays that from then on. One run at a time.
    """

    def __init__(
        self, session: Any, outputs: list[str], device: tuple[str, int], *, graphs: bool
    ) -> None:
        """``device`` by ONNX Runtime's names: ``("cuda", 0)``, say."""
        self._session, self._outputs = session, outputs
        self._device, self._graphs = device, graphs
        self._made: dict[object, _Place] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def run(self, tensors: Tensors) -> list[Array] | None:
        """The outputs in their order; None where there is no place for a further set of shapes."""
        shapes = tuple((name, array.shape, array.dtype) for name, array in tensors.items())
        with self._lock:
            place = self._made.get(shapes)
            if place:
                return place.run(tensors)
            size = sum(array.nbytes for array in tensors.values())
            if len(self._made) == MAX_PLACES or self._bytes + size > MAX_BYTES:
                return None
            graph_id = len(self._made) if self._graphs else NO_GRAPH
            place = _Place(self._session, self._outputs, self._device, graph_id)
            arrays = place.make(tensors)
            self._made[shapes] = place
            self._bytes += size
            return arrays


class _Place:
    """That of one set of shapes."""

    def __init__(
        self, session: Any, outputs: list[str], device: tuple[str, int], graph_id: int
    ) -> None:
        self._session, self._binding = session, session.io_binding()
        self._outputs, self._device = outputs, device
        self._options = run_options(graph_id)
        self._captured = graph_id != NO_GRAPH
        self._inputs: dict[str, Any] = {}

    def make(self, tensors: Tensors) -> list[Array]:
        """The first run, which tells the shapes of the outputs."""
        for name, array in tensors.items():
            value = onnxruntime.OrtValue.ortvalue_from_numpy(_whole(array), *self._device)
            self._binding.bind_ortvalue_input(name, value)
            self._inputs[name] = value
        for name in self._outputs:
            self._binding.bind_output(name, *self._device)
        self._session.run_with_iobinding(self._binding, run_options())
        values = self._binding.get_outputs()
        arrays = [_own(value) for value in values]
        if self._captured:  # a graph writes where it wrote when it was captured
            self._binding.clear_binding_outputs()
            for name, value in zip(self._outputs, values, strict=True):
                self._binding.bind_ortvalue_output(name, value)
        return arrays

    def run(self, tensors: Tensors) -> list[Array]:
        for name, array in tensors.items():
            self._inputs[name].update_inplace(_whole(array))
        self._session.run_with_iobinding(self._binding, self._options)
        return [_own(value) for value in self._binding.get_outputs()]


def _whole(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(array.shape)  # which makes a vector of a scalar


def _own(value: Any) -> Array:
    array: Array = value.numpy()  # a copy of what lies on a GPU, but a view of what does not
    return array if array.flags.owndata else array.copy()
