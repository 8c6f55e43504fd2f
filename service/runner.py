"""The only file that knows ONNX Runtime: sessions, providers, threads."""

import logging
import os
from pathlib import Path
from typing import Literal

import onnxruntime

from model_store.spec import Tensors
from service.errors import NotReady

log = logging.getLogger(__name__)

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
CGROUP = Path("/sys/fs/cgroup")
FATAL = 4


class Runner:
    """One ONNX graph, loaded. ``run`` may be called from one thread at a time."""

    def __init__(
        self, path: Path, *, device: Literal["auto", "cpu", "cuda"] = "auto", threads: int
    ) -> None:
        """Raises NotReady with a reason when the graph cannot be loaded on ``device``."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads burn a core while idle and fight each other once there are two sessions.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The memory plan is per shape; batches here have many.
        options.enable_mem_pattern = False
        # Its errors reach us as exceptions; its own lines would stand between those of our log.
        options.log_severity_level = FATAL
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=_providers(device)
            )
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a class per kind of damage
            reason = str(error).replace(str(path), path.name)  # callers read it; the folder is ours
            raise NotReady(f"{path.name}: {reason}") from None
        self.provider: str = self._session.get_providers()[0]
        if device == "cuda" and self.provider != CUDA:
            raise NotReady(f"{path.name}: CUDA was asked for, but ONNX Runtime fell back to CPU")
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, tensors: Tensors) -> Tensors:
        """One forward pass; every output, by name."""
        return dict(zip(self._outputs, self._session.run(self._outputs, tensors), strict=True))

    def close(self) -> None:
        """Give the memory back. The runner is dead afterwards."""
        self._session = None


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


def _quota_v2() -> float | None:
    quota, period = (CGROUP / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1() -> float | None:
    folder = CGROUP / "cpu"
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    return None if quota <= 0 else quota / int((folder / "cpu.cfs_period_us").read_text())
