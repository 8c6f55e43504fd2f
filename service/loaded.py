"""One version in memory: its lanes, encoders and state. Knows no store and no other version."""

import asyncio
import time
from pathlib import Path

from model_store.bundle import Bundle
from model_store.manifest import Manifest, Verb
from model_store.spec import Encoder
from service.errors import NoSuchVerb
from service.lane import Lane
from service.settings import Settings
from service.telemetry import ModelMeter, Telemetry


class LoadedModel:
    """A version that answers: one lane per graph, verbs point at lanes."""

    def __init__(
        self, bundle: Bundle, lanes: dict[str, Lane], encoders: dict[str, Encoder],
        meter: ModelMeter, memory_bytes: int,
    ) -> None:  # fmt: skip
        self.bundle, self.lanes, self.encoders = bundle, lanes, encoders
        self.meter, self.memory_bytes = meter, memory_bytes

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest

    @property
    def provider(self) -> str:
        return next(iter(self.lanes.values())).runner.provider

    def verb(self, name: str) -> Verb:
        """Raises NoSuchVerb with the verbs it has."""
        verb = self.manifest.verbs.get(name)  # type: ignore[call-overload]
        if verb is None:
            raise NoSuchVerb(
                f"{self.manifest.name} cannot {name}; it can {', '.join(self.manifest.verbs)}"
            )
        found: Verb = verb
        return found

    def close(self, *, timeout_s: float) -> None:
        """Finish queued work and free the graphs."""
        for lane in self.lanes.values():
            lane.close(timeout_s=timeout_s)


def load(
    bundle: Bundle, settings: Settings, threads: int, loop: asyncio.AbstractEventLoop,
    telemetry: Telemetry,
) -> LoadedModel:  # fmt: skip
    """Verify, load and warm up. Blocks: call it from a thread. Raises StoreError, ServiceError."""
    name, version = bundle.manifest.name, bundle.manifest.version
    phases = {}

    def lap(phase: str, since: float) -> float:
        phases[phase] = time.monotonic() - since
        return time.monotonic()

    before, clock = resident_bytes(), time.monotonic()
    bundle.verify()
    clock = lap("verify", clock)
    meter = telemetry.meter(name, version)
    lanes: dict[str, Lane] = {}
    try:
        for graph in bundle.manifest.graphs:
            lanes[graph] = Lane(
                bundle, graph, settings=settings, threads=threads, loop=loop, tell=meter.batch
            )
        clock = lap("load", clock)
        encoders: dict[str, Encoder] = {v: bundle.encoder(v) for v in bundle.manifest.verbs}
        for verb_name, verb in bundle.manifest.verbs.items():
            for_input, _ = verb.read_parameters({})
            lanes[verb.graph].warm_up(encoders[verb_name](verb.example, for_input))
    except BaseException:
        for lane in lanes.values():
            lane.close(timeout_s=1)
        raise
    lap("warm_up", clock)
    for phase, seconds in phases.items():
        telemetry.load.labels(name, str(version), phase).set(seconds)
    meter.pending = lambda: sum(lane.batcher.queued_rows for lane in lanes.values())
    # At least the weights: a later load reuses pages that an earlier one freed.
    weights = sum(bundle.manifest.files[g.file].size_bytes for g in bundle.manifest.graphs.values())
    memory = max(resident_bytes() - before, weights)
    telemetry.memory.labels(name, str(version)).set(memory)
    return LoadedModel(bundle, lanes, encoders, meter, memory)


def resident_bytes() -> int:
    """This process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
