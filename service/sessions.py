"""Opens a graph in ONNX Runtime on the device that is wanted, and says why where that fails.

ONNX Runtime itself goes on with the CPU and says so on stderr, at load and even after a failed run.
Here CUDA that was asked for and cannot be used is an error that names what is missing.
"""

import contextlib
import ctypes
import functools
import io
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime

from service.devices import CPU, CUDA, Cuda, cpu_will_do, providers
from service.errors import NotReady

log = logging.getLogger(__name__)

FATAL = 4
LIBRARIES = Path(onnxruntime.__file__).parent / "capi"
DRIVER = "libcuda.so"
NO_BUILD = "this ONNX Runtime is built without it; modelhub[serve-gpu] brings the one with CUDA"
NO_CAPTURE = "graph capture feature"
"""In what ONNX Runtime says of a graph that cannot be captured: it has branches, or parts that only
the CPU can run.
"""
CAUSE = re.compile(r"CUDA failure \d+: [^;]+|Invalid device ID[^;]+")
"""What of its message is not about its own source."""


def open_session(path: Path, options: Any, device: str, cuda: Cuda | None = None) -> Any:
    """An ``InferenceSession`` on the device. Raises NotReady where CUDA was asked for, cannot be
    used and the CPU will not do; or as ONNX Runtime does for a graph that it cannot take.
    """
    cuda = cuda or Cuda()
    reason = ""
    present = onnxruntime.get_available_providers()
    wanted = providers(device, present, cuda)
    if wanted[0][0] == CUDA:
        if CUDA in present:
            session, reason = _open_on_cuda(path, options, device, cuda)
            if session:
                return session
        else:
            reason = NO_BUILD
        if not cpu_will_do(device):
            raise NotReady(f"{path.name}: CUDA was asked for and cannot be used: {reason}")
        _say_once(reason)
    return _open(path, options, [(CPU, {})])


def _open_on_cuda(path: Path, options: Any, device: str, cuda: Cuda) -> tuple[Any, str]:
    """The session, or None and why there is none."""
    _bring_libraries()
    try:
        session = _open(path, options, providers(device, [CUDA], cuda))
    except Exception as error:
        if cuda.graphs and NO_CAPTURE in str(error):
            log.info("%s runs on CUDA without CUDA graphs: %s", path.name, error)
            return _open_on_cuda(path, options, device, replace(cuda, graphs=False))
        cause = CAUSE.search(str(error))
        if cause is None:  # it is the graph's fault
            raise
        return None, cause.group().strip()
    if session.get_providers()[0] != CUDA:
        return None, _missing_library()
    return session, ""


def _open(path: Path, options: Any, wanted: Any) -> Any:
    # Else a run that fails on CUDA moves the session to the CPU, silently and for ever.
    return onnxruntime.InferenceSession(str(path), options, wanted, enable_fallback=0)


@functools.cache
def _bring_libraries() -> None:
    """Load CUDA and cuDNN from their wheels, as nobody else does; once."""
    # What it says of a provider would stand between the lines of our log; we find out otherwise.
    onnxruntime.set_default_logger_severity(FATAL)
    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()


def _missing_library() -> str:
    """What the loader says of the library that makes CUDA a provider: it names the first one that
    is not there. ONNX Runtime only logs it.
    """
    try:
        ctypes.CDLL(str(LIBRARIES / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(LIBRARIES / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        reason = str(error).replace(f"{LIBRARIES}/", "")
        return f"{reason} (it comes with NVIDIA's driver)" if DRIVER in reason else reason
    return "ONNX Runtime does not say why"


@functools.cache
def _say_once(reason: str) -> None:
    log.warning("models run on the CPU; CUDA cannot be used: %s", reason)
