"""What V2 tells of the server and its models: metadata, configuration, statistics, index."""

from collections.abc import Iterable
from typing import Any

from model_store.manifest import MAIN_GRAPH, Graph, Manifest
from service.decoder.lane import DecoderLane
from service.hub import ModelHub
from service.lane import Lane
from service.protocols.open_inference.signature import Signature, Slot
from service.tally import Duration
from service.telemetry import ModelMeter

PLATFORM = "onnxruntime_onnx"
EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "generate",
    "logging",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
]
STATES = {"ready": "READY", "loading": "LOADING"}
"""Ours → Triton's; all others are UNAVAILABLE."""
STATISTICS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


def graph_of(manifest: Manifest, name: str) -> Graph:
    """The named graph, or the main one for "". KeyError where there is none."""
    if name:
        return manifest.graphs[name]
    return manifest.graphs.get(MAIN_GRAPH) or next(iter(manifest.graphs.values()))


def metadata(name: str, versions: Iterable[int], graph: Graph) -> dict[str, Any]:
    """Names, types and shapes of a graph's tensors."""
    signature = Signature(graph)
    return {
        "name": name,
        "versions": [str(version) for version in versions],
        "platform": PLATFORM,
        "inputs": [_tensor(slot) for slot in signature.inputs.values()],
        "outputs": [_tensor(slot) for slot in signature.outputs.values()],
    }


def _tensor(slot: Slot) -> dict[str, Any]:
    return {"name": slot.name, "datatype": slot.datatype, "shape": slot.shape}


def configuration(
    name: str, version: int, lane: Lane | DecoderLane, delay_ms: float
) -> dict[str, Any]:
    """Triton's ModelConfig, as far as it says something here."""
    signature = Signature(lane.graph)
    batches = isinstance(lane, Lane) and lane.batches
    start = 1 if batches else 0
    config: dict[str, Any] = {
        "name": name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "runtime": "",
        "version_policy": {"specific": {"versions": [version]}},
        "max_batch_size": lane.batcher.max_rows if isinstance(lane, Lane) and batches else 0,
        "input": [_configured(slot, start) for slot in signature.inputs.values()],
        "output": [_configured(slot, start) for slot in signature.outputs.values()],
        "instance_group": [
            {
                "name": name,
                "kind": "KIND_GPU" if lane.runner.provider.startswith("CUDA") else "KIND_CPU",
                "count": 1,
            }
        ],
        "default_model_filename": lane.graph.file,
    }
    if isinstance(lane, DecoderLane):
        config["model_transaction_policy"] = {"decoupled": True}
        config["parameters"] = {"max_sequences": {"string_value": str(lane.rows)}}
    elif lane.batches:
        config["dynamic_batching"] = {
            "preferred_batch_size": [lane.batcher.max_rows],
            "max_queue_delay_microseconds": int(delay_ms * 1000),
            "priority_levels": 3,
            "default_priority_level": 2,
        }
    else:
        config["parameters"] = {"why_not_batching": {"string_value": lane.why_not}}
    return config


def _configured(slot: Slot, start: int) -> dict[str, Any]:
    kind = "TYPE_STRING" if slot.datatype == "BYTES" else f"TYPE_{slot.datatype}"
    return {"name": slot.name, "data_type": kind, "dims": slot.shape[start:]}


def statistics(name: str, version: int, meter: ModelMeter, memory_bytes: int) -> dict[str, Any]:
    """What one version has done since the server started. Times are in nanoseconds."""
    durations = {key: _stat(meter.durations[key]) for key in STATISTICS}
    nothing = {"count": 0, "ns": 0}
    return {
        "name": name,
        "version": str(version),
        "last_inference": meter.last_inference_ms,
        "inference_count": meter.rows,
        "execution_count": meter.runs,
        "inference_stats": {**durations, "cache_hit": nothing, "cache_miss": nothing},
        "response_stats": {},
        "batch_stats": [
            {"batch_size": rows, "compute_input": nothing, "compute_infer": _stat(spent),
             "compute_output": nothing}
            for rows, spent in sorted(meter.batches.items())
        ],
        "memory_usage": [{"type": "CPU", "id": "0", "byte_size": memory_bytes}],
    }  # fmt: skip


def _stat(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}


def index(hub: ModelHub, *, only_ready: bool) -> list[dict[str, str]]:
    """Every version of every model, and whether it can be asked."""
    found = []
    for name, shelf in sorted(hub.catalog.shelves.items()):
        for version in shelf.versions:
            facts = hub.state((name, version))
            state = STATES.get(facts["state"], "UNAVAILABLE")
            if (name, version) in hub.residency.leaving:
                state = "UNLOADING"
            reason = facts.get("reason", "" if state == "READY" else facts["state"])
            if not only_ready or state == "READY":
                found.append(
                    {"name": name, "version": str(version), "state": state, "reason": reason}
                )
    return found
