"""Tests that need a GPU, and whether there is one."""

import ctypes
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import onnxruntime
import pytest

from service.devices import CUDA

Test = TypeVar("Test", bound=Callable[..., Any])

GPU_BUILD = CUDA in onnxruntime.get_available_providers()


@functools.cache
def gpus() -> int:
    """How many GPUs NVIDIA's driver has here; 0 for an ONNX Runtime that could not use them.

    Where there are some and CUDA still fails, the tests run and say so.
    """
    count = ctypes.c_int()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    known = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return count.value if known and GPU_BUILD else 0


def on_gpu(test: Test) -> Test:
    """Marks a test that runs on a GPU or not at all."""
    skip = pytest.mark.skipif(not gpus(), reason="there is no GPU that ONNX Runtime can use here")
    marked: Test = pytest.mark.gpu(skip(test))
    return marked
