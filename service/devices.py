"""Which device a model's graphs run on, and what ONNX Runtime is told of it.

Words for a device, as in the setting: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, or a list of GPUs
that models are spread over, ``cuda:0,cuda:1``. With ``cpu`` at its end, the CPU will do where CUDA
fails.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from service.settings import Settings

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
ARENA = {"as_requested": "kSameAsRequested", "power_of_two": "kNextPowerOfTwo"}
"""What ONNX Runtime calls the setting ``gpu_arena``."""
Providers: TypeAlias = list[tuple[str, dict[str, str]]]
"""Each with its options, in the order of preference, as ``InferenceSession`` takes them."""


@dataclass(frozen=True, slots=True)
class Cuda:
    """How a graph uses its GPU. The settings ``gpu_*`` say what each field means."""

    mem_limit: int = 0
    arena: str = "as_requested"
    conv_search: str = "heuristic"
    binding: bool = False
    graphs: bool = False


def cuda_of(settings: Settings) -> Cuda:
    return Cuda(
        mem_limit=settings.gpu_mem_limit,
        arena=settings.gpu_arena,
        conv_search=settings.gpu_conv_search,
        binding=settings.gpu_binding or settings.gpu_graphs,  # a graph needs fixed addresses
        graphs=settings.gpu_graphs,
    )


def providers(device: str, present: Collection[str], cuda: Cuda | None = None) -> Providers:
    """What a session on one device is made with; ``present`` is what this ONNX Runtime brings.

    The CPU is always among them: it runs what a provider has no kernel for.
    """
    wants_cuda = device.startswith("cuda") or (device == "auto" and CUDA in present)
    if not wants_cuda:
        return [(CPU, {})]
    cuda = cuda or Cuda()
    options = {
        "device_id": str(gpu_of(device)),
        "arena_extend_strategy": ARENA[cuda.arena],
        "cudnn_conv_algo_search": cuda.conv_search.upper(),
    }
    if cuda.mem_limit:
        options["gpu_mem_limit"] = str(cuda.mem_limit)
    if cuda.graphs:
        options["enable_cuda_graph"] = "1"
    return [(CUDA, options), (CPU, {})]


def cpu_will_do(device: str) -> bool:
    """Where CUDA cannot be used."""
    return device == "auto" or "cpu" in device.split(",")


def gpu_of(device: str) -> int:
    """The number of the first GPU it names; ``auto`` and ``cuda`` mean the first there is."""
    return int(device.partition(",")[0].partition(":")[2] or 0)


def spread(device: str) -> list[str]:
    """One device for each GPU that it names: ``cuda:0,cuda:1,cpu`` is ``cuda:0,cpu`` and
    ``cuda:1,cpu``.
    """
    *gpus, last = device.split(",")
    if last != "cpu":
        gpus.append(last)
    if not gpus:
        return ["cpu"]
    end = ",cpu" if last == "cpu" else ""
    return [f"{gpu}{end}" for gpu in dict.fromkeys(gpus)]


def least_taken(devices: Sequence[str], taken: Mapping[str, int]) -> str:
    """The one where the fewest bytes lie, the first among equals.

    ``taken`` has bytes by the names that runners give: ``cuda:0``.
    """
    return min(devices, key=lambda device: taken.get(f"cuda:{gpu_of(device)}", 0))
