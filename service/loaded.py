"""One version in memory: its lanes, encoders and state. Knows no store and no other version."""

import ctypes
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from model_store.answers.text import Pieces, TextAnswer
from model_store.bundle import Bundle
from model_store.inputs.tensor import TensorInput
from model_store.manifest import EXPLAIN, MAIN_GRAPH, Graph, Manifest, Verb
from model_store.spec import Divider, Encoder, Tensors
from service.batcher import Batcher
from service.decoder.decoder import Decoder
from service.decoder.lane import DecoderLane
from service.errors import NoSuchVerb
from service.ground import Ground
from service.lane import Lane
from service.telemetry import ModelMeter, Telemetry
from service.token_meter import TokenMeter

NUMPY = {"bfloat16": "uint16", "string": "object"}
"""How a tensor's type is called in NumPy, where that is another name."""


class LoadedModel:
    """A version that answers: one lane per graph, verbs point at lanes. A graph that is run token
    by token has a decoder's lane instead of a batcher's.

    Whoever uses it holds a lease meanwhile; one that is retired is closed when the last lease ends.
    Leases are taken and given back on the event loop only.
    """

    def __init__(
        self, bundle: Bundle, lanes: dict[str, Lane], decoders: dict[str, DecoderLane],
        encoders: dict[str, Encoder], meter: ModelMeter, memory_bytes: int,
    ) -> None:  # fmt: skip
        self.bundle, self.lanes, self.decoders = bundle, lanes, decoders
        self.encoders = encoders
        self.pieces: dict[str, Callable[[], Pieces]] = {
            name: verb.answer.pieces(bundle.folder)
            for name, verb in bundle.manifest.verbs.items()
            if isinstance(verb.answer, TextAnswer)
        }
        """For each verb that answers with text, what makes its tokens readable."""
        self._divider: Divider | None = None
        self.meter, self.memory_bytes = meter, memory_bytes
        self.last_used = time.monotonic()
        self._leases = 0
        self._when_free: Callable[[], None] | None = None

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest

    @property
    def main(self) -> Lane | DecoderLane:
        """The lane that V2 clients mean by the model's bare name."""
        known = self.lanes.get(MAIN_GRAPH) or self.decoders.get(MAIN_GRAPH)
        return known or next(self.every_lane)

    @property
    def every_lane(self) -> "Iterator[Lane | DecoderLane]":
        """Of both kinds."""
        yield from self.lanes.values()
        yield from self.decoders.values()

    @property
    def provider(self) -> str:
        return self.main.runner.provider

    @property
    def device(self) -> str:
        """``cpu``, or ``cuda:`` and the GPU's number."""
        return self.main.runner.device

    @property
    def workers(self) -> Iterator[Batcher | Decoder]:
        """Whoever runs its graphs."""
        yield from (lane.batcher for lane in self.lanes.values())
        yield from (lane.decoder for lane in self.decoders.values())

    @property
    def batching(self) -> dict[str, object]:
        """How many rows share a run of the main graph, and why none do where that is so."""
        lane = self.main
        if isinstance(lane, DecoderLane):
            return {"max_rows": lane.rows}
        if lane.batches:
            return {"max_rows": lane.batcher.max_rows}
        return {"max_rows": 1, "reason": lane.why_not}

    def verb(self, name: str) -> Verb:
        """Of ``explain``, the verb that is explained. Raises NoSuchVerb with the verbs it has."""
        manifest = self.manifest
        asked = manifest.explained if name == EXPLAIN else name
        verb = manifest.verbs.get(asked)  # type: ignore[call-overload]
        if verb is None:
            raise NoSuchVerb(
                f"{manifest.name} cannot {name}; it can {', '.join(manifest.abilities)}"
            )
        found: Verb = verb
        return found

    def divider(self) -> Divider:
        """Divides the items of the verb that is explained; opened when it is first wanted. Blocks.
        Raises NoSuchVerb.
        """
        if self._divider is None:
            self._divider = self.verb(EXPLAIN).input.divider(self.bundle.folder)
        return self._divider

    def says(self, name: str) -> bool:
        """Whether this verb's answer is said token by token. Raises NoSuchVerb."""
        return self.verb(name).graph in self.decoders

    def must_say(self, name: str) -> None:
        """Raises NoSuchVerb where this verb's answer is not said token by token."""
        if not self.says(name):
            kind = self.verb(name).answer.kind
            raise NoSuchVerb(f"{self.manifest.name} can {name}, but its answer is {kind}, not text")

    # --- leases --------------------------------------------------------------------------------

    def acquire(self) -> None:
        self._leases += 1
        self.last_used = time.monotonic()

    def release(self) -> None:
        self._leases -= 1
        if not self._leases and self._when_free:
            self._when_free()

    def retire(self, when_free: Callable[[], None]) -> None:
        """Call ``when_free`` as soon as nobody holds a lease; nobody may take one any more."""
        if self._leases:
            self._when_free = when_free
        else:
            when_free()

    def __enter__(self) -> "LoadedModel":
        return self  # the lease was taken by whoever handed it out

    def __exit__(self, *_: object) -> None:
        self.release()

    def close(self, *, timeout_s: float) -> None:
        """Finish queued work and free the graphs. Blocks; not on the event loop."""
        for lane in self.every_lane:
            lane.close(timeout_s=timeout_s)


def load(bundle: Bundle, ground: Ground, telemetry: Telemetry) -> LoadedModel:
    """Verify, load, learn and warm up. Blocks: call it from a thread. Raises StoreError,
    ServiceError, ItemError.
    """
    manifest = bundle.manifest
    before, clock = resident_bytes(), time.monotonic()
    bundle.verify()
    phases = Counter({"verify": time.monotonic() - clock})
    meter = telemetry.meter(manifest.name, manifest.version)
    lanes: dict[str, Lane] = {}
    decoders: dict[str, DecoderLane] = {}
    opened: list[Lane | DecoderLane] = []
    try:
        encoders: dict[str, Encoder] = {verb: bundle.encoder(verb) for verb in manifest.verbs}
        for name, graph in manifest.graphs.items():
            if graph.decoding:
                meter.tokens = meter.tokens or TokenMeter()
                decoders[name] = DecoderLane(bundle, name, ground=ground, meter=meter.tokens)
                opened.append(decoders[name])
                continue
            row = _row(manifest, name, encoders)
            guessed = manifest.provenance is None  # nobody here ever ran its example
            lanes[name] = Lane(bundle, name, row, ground=ground, tell=meter.batch, guessed=guessed)
            opened.append(lanes[name])
    except BaseException:
        for lane in opened:
            lane.close(timeout_s=1)
        raise
    for lane in opened:
        phases.update(lane.seconds)
    for phase, seconds in phases.items():
        telemetry.load.labels(*meter.labels, phase).set(seconds)
    meter.pending = lambda: (
        sum(lane.batcher.queued_rows for lane in lanes.values())
        + sum(lane.decoder.waiting for lane in decoders.values())
    )
    # At least the weights: a later load reuses pages that an earlier one freed.
    memory = max(resident_bytes() - before, weight_bytes(bundle))
    # Its texts' keys and values become memory only as they are written, but they must fit then.
    memory += sum(lane.cache_bytes for lane in decoders.values())
    telemetry.memory.labels(*meter.labels).set(memory)
    return LoadedModel(bundle, lanes, decoders, encoders, meter, memory)


def _row(manifest: Manifest, graph: str, encoders: dict[str, Encoder]) -> Tensors:
    """One row that the graph takes: of the example of a verb that it serves, else zeros."""
    spec = manifest.graphs[graph]
    for name, verb in manifest.verbs.items():
        if graph in (verb.graph, _source_graph(manifest, verb)):
            if isinstance(verb.input, TensorInput) and verb.example is None:
                return verb.input.blank().tensors
            for_input, _ = verb.read_parameters({})
            tensors = encoders[name](verb.example, for_input).tensors
            if not spec.batching.rows:
                return tensors
            return {key: array[:1] for key, array in tensors.items()}
    return _zeros(spec)


def _source_graph(manifest: Manifest, verb: Verb) -> str | None:
    """The graph that reads the verb's items before they are said anew."""
    decoding = manifest.graphs[verb.graph].decoding
    return decoding.source.graph if decoding and decoding.source else None


def _zeros(graph: Graph) -> Tensors:
    """Dynamic axes are as short as the manifest's padding allows, else 1."""
    rules = graph.batching.pad
    shapes = {
        spec.name: [
            size if isinstance(size, int) else rules.get(size, (1,))[0] for size in spec.shape
        ]
        for spec in graph.inputs
    }
    return {
        spec.name: np.full(shapes[spec.name], "", object) if spec.dtype == "string"
        else np.zeros(shapes[spec.name], NUMPY.get(spec.dtype, spec.dtype))
        for spec in graph.inputs
    }  # fmt: skip


def weight_bytes(bundle: Bundle) -> int:
    """What the files of its graphs, and of the weights beside them, hold."""
    graphs = {graph.file for graph in bundle.manifest.graphs.values()}
    return sum(
        entry.size_bytes
        for name, entry in bundle.manifest.files.items()
        if name in graphs or name.endswith((".data", "_data", ".bin", ".weights"))
    )


def trim_memory() -> None:
    """Give what a closed model left behind back to the system; malloc keeps it otherwise."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; musl has none
    if trim:
        trim(0)


def resident_bytes() -> int:
    """This process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
