"""One graph, loaded and run. With ``sessions`` and ``bound``, all that knows ONNX Runtime here."""

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from model_store.spec import Array, Tensors
from service.bound import TOO_MUCH, Bound, Places, is_out_of_memory, run_options
from service.devices import CUDA, Cuda
from service.errors import NotReady, OutOfMemory
from service.sessions import FATAL, open_session

VERSION: str = onnxruntime.__version__
CGROUP = Path("/sys/fs/cgroup")
NVIDIA = Path("/proc/driver/nvidia/gpus")
BFLOAT16, BFLOAT16_ONNX = "tensor(bfloat16)", 16
STRINGS = "tensor(string)"


class Runner:
    """One ONNX graph, loaded. ``run`` may be called from several threads at once.

    bfloat16 tensors travel as the uint16 numbers of their bits: NumPy has no such type.
    """

    def __init__(
        self, path: Path, outputs: Sequence[str] = (), *,
        device: str = "auto", threads: int, cuda: Cuda | None = None,
    ) -> None:  # fmt: skip
        """``outputs`` are those wanted, all of them if none is named. Raises NotReady with a reason
        when the graph cannot be loaded on ``device``, or lacks one of them.
        """
        self.threads = threads
        try:
            self._session = open_session(path, _options(threads), device, cuda)
        except NotReady:
            raise
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a class per kind of damage
            reason = str(error).replace(str(path), path.name)  # callers read it; the folder is ours
            raise NotReady(f"{path.name}: {reason}") from None
        self.provider: str = self._session.get_providers()[0]
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
        self._options: Any = None
        self._places: Places | None = None
        self.device = "cpu"
        """Where it runs: ``cpu``, or ``cuda:`` and the GPU's number."""
        if self.provider == CUDA:
            options = self._session.get_provider_options()[CUDA]
            self.device = f"cuda:{options['device_id']}"
            odd = any(value.type in (BFLOAT16, STRINGS) for value in sides)
            binds = cuda is not None and cuda.binding and not odd
            self._bind_places(options, binds=binds)

    def _bind_places(self, options: Mapping[str, str], *, binds: bool) -> None:
        graphs = options["enable_cuda_graph"] == "1"
        if graphs:
            self._options = run_options()  # of runs that are not to be captured
        if binds:
            device = ("cuda", int(options["device_id"]))
            self._places = Places(self._session, self._outputs, device, graphs=graphs)
            self._forward = self._run_places

    def run(self, tensors: Tensors) -> Tensors:
        """One forward pass; the outputs by name. Raises OutOfMemory, or as ONNX Runtime does."""
        try:
            return dict(zip(self._outputs, self._forward(tensors), strict=True))
        except Exception as error:
            if is_out_of_memory(error):
                raise OutOfMemory(TOO_MUCH) from error
            raise

    def bind(self, inputs: Tensors, outputs: Tensors) -> "Bound":
        """A run from and to these very arrays: nothing is copied and no name is looked up again.
        On a GPU they are copied there and back. Raises ValueError for one that has gaps.
        """
        return Bound(self._session, inputs, outputs, self._options)

    def close(self) -> None:
        """Give the memory back. The runner is dead afterwards."""
        self._session = self._places = None

    def _run_arrays(self, tensors: Tensors) -> list[Array]:
        outputs: list[Array] = self._session.run(self._outputs, tensors, self._options)
        return outputs

    def _run_places(self, tensors: Tensors) -> list[Array]:
        outputs = self._places.run(tensors) if self._places else None
        return self._run_arrays(tensors) if outputs is None else outputs

    def _run_values(self, tensors: Tensors) -> list[Array]:
        values = {name: self._value(name, array) for name, array in tensors.items()}
        run = self._session.run_with_ort_values
        return [_array(value) for value in run(self._outputs, values, self._options)]

    def _value(self, name: str, array: Array) -> Any:
        array = np.ascontiguousarray(array)
        if name in self._brain_floats:
            make = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type
            return make(array, BFLOAT16_ONNX)
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)


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


def gpu_names() -> str:
    """The models of the GPUs here, as NVIDIA's driver tells; empty without it."""
    lines = [
        line.partition(":")[2].strip()
        for path in sorted(NVIDIA.glob("*/information"))
        for line in path.read_text().splitlines()
        if line.startswith("Model")
    ]
    return "\n".join(lines)


def _quota_v2() -> float | None:
    quota, period = (CGROUP / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1() -> float | None:
    folder = CGROUP / "cpu"
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    return None if quota <= 0 else quota / int((folder / "cpu.cfs_period_us").read_text())
