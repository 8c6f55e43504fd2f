"""CUDA that was asked for: used as the settings say, or refused with what is missing.

``make gpu-build-test`` runs this on an ONNX Runtime with CUDA, ``make gpu-test`` on a GPU as well.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service import sessions
from service.devices import ARENA, CPU, CUDA, Cuda, providers
from service.errors import NotReady
from service.runner import Runner
from tests.service.bundles import MAKERS, sensor
from tests.service.conftest import Hubs, Publish
from tests.service.cuda import GPU_BUILD, gpus, on_gpu

MISSING = r"libcuda\.so\.1: .* \(it comes with NVIDIA's driver\)" if GPU_BUILD else "built without"
"""What stands in the way on a machine without a GPU."""
without_gpu = pytest.mark.skipif(gpus() > 0, reason="CUDA works here")
in_gpu_build = pytest.mark.skipif(not GPU_BUILD, reason="for ONNX Runtime's GPU build")


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    sensor(tmp_path)
    return tmp_path / "model.onnx"


@pytest.fixture(autouse=True)
def nothing_said() -> Iterator[None]:
    """The reason for the CPU is logged once in a process; here, once in a test."""
    sessions._say_once.cache_clear()
    yield
    sessions._say_once.cache_clear()


# --- where there is none --------------------------------------------------------------------------


@without_gpu
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_that_is_not_there_is_refused_with_what_is_missing(graph: Path, device: str) -> None:
    with pytest.raises(NotReady, match=MISSING) as caught:
        Runner(graph, device=device, threads=1)
    assert str(caught.value).startswith("model.onnx: CUDA was asked for and cannot be used: ")


@without_gpu
def test_cpu_does_where_it_is_allowed_and_the_log_says_so_once(
    graph: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        runner = Runner(graph, device="cuda,cpu", threads=1)
        assert (runner.provider, runner.device) == (CPU, "cpu")
        assert runner.run({"table": np.array([[3, -4, 0]], np.float32)})["score"].tolist() == [7]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "models run on the CPU; CUDA cannot be used: " in record.message


@without_gpu
def test_auto_tries_cuda_only_where_this_onnx_runtime_has_it(
    graph: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert Runner(graph, threads=1).provider == CPU
    assert len(caplog.records) == GPU_BUILD


@without_gpu
async def test_model_without_its_gpu_is_failed_in_the_listing_with_the_reason(
    put: Publish, hubs: Hubs
) -> None:
    put(sensor)
    hub = hubs(device="cuda")
    await hub.start()
    (entry,) = await hub.listing()
    assert (entry["state"], entry["provider"], entry["device"]) == ("failed", None, None)
    assert "CUDA was asked for and cannot be used" in entry["reason"]
    assert hub.not_ready == "not loaded: sensor"


@without_gpu
async def test_model_that_may_run_on_the_cpu_is_ready_and_the_listing_says_where(
    put: Publish, hubs: Hubs
) -> None:
    put(sensor)
    hub = hubs(device="cuda:0,cuda:1,cpu")
    await hub.start()
    (entry,) = await hub.listing()
    assert (entry["state"], entry["provider"], entry["device"]) == ("ready", CPU, "cpu")


def run_apart(code: str, graph: Path, **environment: str) -> str:
    """What a process of its own says: libraries that were loaded once stay."""
    done = subprocess.run(
        [sys.executable, "-c", code, graph], capture_output=True, text=True, check=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


REFUSED = """
import sys
from pathlib import Path
from service.errors import NotReady
from service.runner import Runner
try:
    Runner(Path(sys.argv[1]), device="cuda", threads=1)
except NotReady as error:
    print(error)
"""


@in_gpu_build
def test_cuda_without_its_wheels_names_the_library(graph: Path) -> None:
    unbrought = "import onnxruntime\nonnxruntime.preload_dlls = lambda: None\n"
    words = run_apart(unbrought + REFUSED, graph, LD_LIBRARY_PATH="")
    if "libcuda" in words or not words:
        pytest.skip("CUDA is installed on this machine itself")
    assert "libcublasLt.so." in words
    assert "cannot open shared object file" in words
    assert "NVIDIA's driver" not in words


# --- a driver that has no device ------------------------------------------------------------------


@pytest.fixture(scope="module")
def hollow_driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a ``libcuda.so.1`` that finds nothing: with it ONNX Runtime comes as far as it
    can without a GPU, and reads its options.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here")
    folder = tmp_path_factory.mktemp("driver")
    source = folder / "driver.c"
    source.write_text("int cuTensorMapEncodeTiled(void) { return 100; }\n")
    command = [compiler, "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
    subprocess.run([*command, "-o", folder / "libcuda.so.1", source], check=True)
    return str(folder)


@without_gpu
@in_gpu_build
def test_driver_that_is_too_old_or_has_no_device_is_named(graph: Path, hollow_driver: str) -> None:
    words = run_apart(REFUSED, graph, LD_LIBRARY_PATH=hollow_driver)
    assert words.startswith("model.onnx: CUDA was asked for and cannot be used: CUDA failure ")
    assert "/" not in words  # ONNX Runtime's own source is nobody's business


OPENED = """
import sys
import onnxruntime
from service.sessions import _bring_libraries
_bring_libraries()
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
wanted = [("CUDAExecutionProvider", {told})]
try:
    onnxruntime.InferenceSession(sys.argv[1], options, wanted, enable_fallback=0)
except RuntimeError as error:
    print(error)
"""
TOLD = [
    options
    for arena in ARENA
    for search in ("heuristic", "exhaustive", "default")
    for _, options in providers("cuda", [CUDA], Cuda(2**33, arena, search, graphs=True))[:1]
]


@without_gpu
@in_gpu_build
@pytest.mark.parametrize("told", TOLD, ids=lambda told: "-".join(sorted(told.values())))
def test_onnx_runtime_takes_every_option(
    graph: Path, hollow_driver: str, told: dict[str, str]
) -> None:
    given = {key: value for key, value in told.items() if key != "device_id"}
    words = run_apart(OPENED.replace("{told}", repr(given)), graph, LD_LIBRARY_PATH=hollow_driver)
    assert "CUDA failure" in words  # it looks for the GPU
    assert "Parse" not in words


@without_gpu
@in_gpu_build
@pytest.mark.parametrize("wrong", [{"gpu_mem_limitt": "1"}, {"arena_extend_strategy": "same"}])
def test_onnx_runtime_would_refuse_a_wrong_option(
    graph: Path, hollow_driver: str, wrong: dict[str, str]
) -> None:
    words = run_apart(OPENED.replace("{told}", repr(wrong)), graph, LD_LIBRARY_PATH=hollow_driver)
    assert "provider_options_utils" in words
    assert "CUDA failure" not in words


# --- on a GPU -------------------------------------------------------------------------------------

WAYS = {
    "plain": Cuda(),
    "bound": Cuda(binding=True),
    "captured": Cuda(binding=True, graphs=True),
    "limited": Cuda(mem_limit=2**30, arena="power_of_two", conv_search="exhaustive"),
}


@on_gpu
@pytest.mark.parametrize("way", WAYS)
def test_cuda_answers_as_the_cpu_does(graph: Path, way: str) -> None:
    runner = Runner(graph, device="cuda", threads=1, cuda=WAYS[way])
    assert (runner.provider, runner.device) == (CUDA, "cuda:0")
    for number in (3, 5, 7):  # the first makes a place, the second captures, the third replays
        outputs = runner.run({"table": np.array([[number, -4, 0]], np.float32)})
        assert outputs["score"].tolist() == [number + 4]
    outputs = runner.run({"table": np.array([[1, 2, 0], [3, 4, 0]], np.float32)})
    assert outputs["score"].tolist() == [3, 7]


@on_gpu
@pytest.mark.parametrize("way", WAYS)
def test_session_on_a_gpu_has_the_options_of_its_settings(graph: Path, way: str) -> None:
    runner = Runner(graph, device="cuda:0", threads=1, cuda=WAYS[way])
    found: dict[str, Any] = runner._session.get_provider_options()[CUDA]
    (_, told), _ = providers("cuda:0", [CUDA], WAYS[way])
    if found["enable_cuda_graph"] == "0":  # this graph has a part that only the CPU runs
        told.pop("enable_cuda_graph", None)
    assert found.items() >= told.items()


@on_gpu
def test_gpu_that_is_not_there_is_named(graph: Path) -> None:
    with pytest.raises(NotReady, match="Invalid device ID"):
        Runner(graph, device=f"cuda:{gpus()}", threads=1)


@on_gpu
@pytest.mark.parametrize("settings", [{}, {"gpu_binding": True}, {"gpu_graphs": True}], ids=str)
async def test_every_tiny_bundle_loads_on_a_gpu(
    put: Publish, hubs: Hubs, settings: dict[str, Any]
) -> None:
    for maker in MAKERS.values():
        put(maker)
    hub = hubs(device="cuda", **settings)
    await hub.start()
    for entry in await hub.listing():
        assert (entry["state"], entry["device"]) == ("ready", "cuda:0"), entry
