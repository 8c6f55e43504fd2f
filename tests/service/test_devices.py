"""What ONNX Runtime is told of a device, and how models are spread over several."""

import pytest

from service.devices import (
    CPU,
    CUDA,
    Cuda,
    cpu_will_do,
    cuda_of,
    gpu_of,
    least_taken,
    providers,
    spread,
)
from service.settings import Settings

BOTH = ["TensorrtExecutionProvider", CUDA, CPU]
"""What onnxruntime-gpu brings."""


def options(device: str = "cuda", /, **settings: object) -> dict[str, str]:
    """Those of CUDA, for a server with these settings."""
    cuda = cuda_of(Settings.model_validate({"device": device, **settings}))
    (name, found), cpu = providers(device, BOTH, cuda)
    assert (name, cpu) == (CUDA, (CPU, {}))
    return found


def test_unset_settings_fit_shapes_that_vary() -> None:
    assert options() == {
        "device_id": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
    }


@pytest.mark.parametrize(
    ("setting", "value", "option", "told"),
    [
        ("gpu_mem_limit", 2**33, "gpu_mem_limit", "8589934592"),
        ("gpu_arena", "power_of_two", "arena_extend_strategy", "kNextPowerOfTwo"),
        ("gpu_conv_search", "exhaustive", "cudnn_conv_algo_search", "EXHAUSTIVE"),
        ("gpu_conv_search", "default", "cudnn_conv_algo_search", "DEFAULT"),
        ("gpu_graphs", True, "enable_cuda_graph", "1"),
    ],
)
def test_setting_changes_its_option_and_no_other(
    setting: str, value: object, option: str, told: str
) -> None:
    assert options("cuda", **{setting: value}) == {**options(), option: told}


def test_graphs_bind_because_they_are_replayed_at_fixed_addresses() -> None:
    assert cuda_of(Settings(gpu_graphs=True)) == Cuda(binding=True, graphs=True)
    assert cuda_of(Settings(gpu_binding=True)) == Cuda(binding=True)


@pytest.mark.parametrize(
    ("device", "number"),
    [("auto", 0), ("cuda", 0), ("cuda,cpu", 0), ("cuda:0", 0), ("cuda:3", 3), ("cuda:12,cpu", 12)],
)
def test_gpu_is_told_by_its_number(device: str, number: int) -> None:
    assert gpu_of(device) == number
    assert options(device)["device_id"] == str(number)


def test_cpu_alone_is_taken_where_it_is_named_or_nothing_else_is_there() -> None:
    assert providers("cpu", BOTH) == [(CPU, {})]
    assert providers("auto", [CPU]) == [(CPU, {})]


def test_cuda_that_was_asked_for_stays_on_the_list_where_it_is_not_there() -> None:
    assert [name for name, _ in providers("cuda:1", [CPU])] == [CUDA, CPU]


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda,cpu", "cuda:0,cuda:1,cpu"])
def test_cpu_will_do_where_it_is_named_or_left_open(device: str) -> None:
    assert cpu_will_do(device)
    assert not cpu_will_do(device.replace("cpu", "cuda:2").replace("auto", "cuda"))


@pytest.mark.parametrize(
    ("device", "each"),
    [
        ("auto", ["auto"]),
        ("cpu", ["cpu"]),
        ("cuda", ["cuda"]),
        ("cuda,cpu", ["cuda,cpu"]),
        ("cuda:0,cuda:1", ["cuda:0", "cuda:1"]),
        ("cuda:2,cuda:0,cuda:2,cpu", ["cuda:2,cpu", "cuda:0,cpu"]),
    ],
)
def test_models_are_spread_over_the_gpus_and_each_keeps_the_way_out(
    device: str, each: list[str]
) -> None:
    assert spread(device) == each


def test_next_model_goes_where_the_fewest_bytes_lie_and_first_to_the_first() -> None:
    devices = ["cuda:0,cpu", "cuda:1,cpu"]
    assert least_taken(devices, {}) == "cuda:0,cpu"
    assert least_taken(devices, {"cuda:0": 1}) == "cuda:1,cpu"
    assert least_taken(devices, {"cuda:0": 5, "cuda:1": 6, "cpu": 1}) == "cuda:0,cpu"
    assert least_taken(["cpu"], {"cpu": 9}) == "cpu"
