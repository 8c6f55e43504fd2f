"""The only file that knows ONNX Runtime: sessions, providers, threads."""

import ctypes
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime

from model_store.spec import Array, Tensors
from service.errors import NotReady, OutOfMemory

log = logging.getLogger(__name__)

VERSION: str = onnxruntime.__version__
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
CGROUP = Path("/sys/fs/cgroup")
FATAL = 4
BFLOAT16, BFLOAT16_ONNX = "tensor(bfloat16)", 16
STRINGS = "tensor(string)"
NO_MEMORY = ("failed to allocate", "bad_alloc", "bad allocation", "out of memory", "alloc_failed")
"""What ONNX Runtime's messages say, in lower case, where an allocation failed."""
TOO_MUCH = "the run asked for more memory than there is"


class Runner:
    """One ONNX graph, loaded. ``run`` may be called from several threads at once.

    bfloat16 tensors travel as the uint16 numbers of their bits: NumPy has no such type.
    """

    def __init__(
        self, path: Path, outputs: Sequence[str] = (), *,
        device: Literal["auto", "cpu", "cuda"] = "auto", threads: int,
    ) -> None:  # fmt: skip
        """``outputs`` are those wanted, all of them if none is named. Raises NotReady with a reason
        when the graph cannot be loaded on ``device``, or lacks one of them.
        """
        self.threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), _options(threads), providers=_providers(device)
            )
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a class per kind of damage
            reason = str(error).replace(str(path), path.name)  # callers read it; the folder is ours
            raise NotReady(f"{path.name}: {reason}") from None
        self.provider: str = self._session.get_providers()[0]
        if device == "cuda" and self.provider != CUDA:
            raise NotReady(f"{path.name}: CUDA was asked for, but ONNX Runtime fell back to CPU")
        found = [output.name for output in self._session.get_outputs()]
        missing = set(outputs) - set(found)
        if missing:
            raise NotReady(f"{path.name}: it has no output {sorted(missing)}, only {found}")
        self._outputs = list(outputs) or found
        sides = (*self._session.get_inputs(), *self._session.get_outputs())
        self._brain_floats = {value.name for value in sides if value.type == BFLOAT16}
        if self._brain_floats and any(value.type == STRINGS for value in sides):
            raise NotReady(
                f"{path.name}: ONNX Runtime takes no bfloat16 beside strings from Python"
            )
        self._forward: Callable[[Tensors], Any] = (
            self._run_values if self._brain_floats else self._run_arrays
        )

    def run(self, tensors: Tensors) -> Tensors:
        """One forward pass; the outputs by name. Raises OutOfMemory, or as ONNX Runtime does."""
        try:
            return dict(zip(self._outputs, self._forward(tensors), strict=True))
        except Exception as error:
            if _is_out_of_memory(error):
                raise OutOfMemory(TOO_MUCH) from error
            raise

    def bind(self, inputs: Tensors, outputs: Tensors) -> "Bound":
        """A run from and to these very arrays: nothing is copied and no name is looked up again.
        On a GPU they are copied there and back. Raises ValueError for one that has gaps.
        """
        return Bound(self._session, inputs, outputs)

    def close(self) -> None:
        """Give the memory back. The runner is dead afterwards."""
        self._session = None

    def _run_arrays(self, tensors: Tensors) -> list[Array]:
        outputs: list[Array] = self._session.run(self._outputs, tensors)
        return outputs

    def _run_values(self, tensors: Tensors) -> list[Array]:
        values = {name: self._value(name, array) for name, array in tensors.items()}
        return [_array(value) for value in self._session.run_with_ort_values(self._outputs, values)]

    def _value(self, name: str, array: Array) -> Any:
        array = np.ascontiguousarray(array)
        if name in self._brain_floats:
            make = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type
            return make(array, BFLOAT16_ONNX)
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)


class Bound:
    """A graph with its arrays, to be run as often as their contents change."""

    __slots__ = ("_arrays", "_binding", "_session")

    def __init__(self, session: Any, inputs: Tensors, outputs: Tensors) -> None:
        self._session, self._binding = session, session.io_binding()
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
            self._session.run_with_iobinding(self._binding)
        except Exception as error:
            if _is_out_of_memory(error):
                raise OutOfMemory(TOO_MUCH) from error
            raise


def _is_out_of_memory(error: Exception) -> bool:
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in words for sign in NO_MEMORY)


def _array(value: Any) -> Array:
    if value.data_type() != BFLOAT16:
        array: Array = value.numpy()
        return array
    size = value.tensor_size_in_bytes()
    memory = (ctypes.c_char * size).from_address(value.data_ptr())
    return np.frombuffer(memory, np.uint16).reshape(value.shape()).copy()


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads burn a core while idle and fight each other once there are two sessions.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The memory plan is per shape; batches here have many.
    options.enable_mem_pattern = False
    # Its errors reach us as exceptions; its own lines would stand between those of our log.
    options.log_severity_level = FATAL
    return options


def _providers(device: str) -> list[str]:
    if device == "cuda" or (device == "auto" and CUDA in onnxruntime.get_available_providers()):
        return [CUDA, CPU]
    return [CPU]


def cpu_budget() -> int:
    """Cores this process may use: affinity, cut by the cgroup's quota (v2, then v1)."""
    cores = len(os.sched_getaffinity(0))
    for read in (_quota_v2, _quota_v1):
        try:
            quota = read()
        except (OSError, ValueError):
            continue
        if quota:
            return max(1, min(cores, round(quota)))
    return cores


def cpu_name() -> str:
    """The processor's model and features: what was learned on one is not used on another."""
    wanted = ("model name", "flags", "Features", "CPU part")
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    found = {line.partition(":")[0].strip(): line for line in reversed(lines)}
    return "\n".join(found[key] for key in wanted if key in found)


def _quota_v2() -> float | None:
    quota, period = (CGROUP / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1() -> float | None:
    folder = CGROUP / "cpu"
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    return None if quota <= 0 else quota / int((folder / "cpu.cfs_period_us").read_text())
