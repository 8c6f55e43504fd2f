"""One infer call from its body to its answer, whatever carries it.

It runs in callbacks on the event loop and awaits nothing, so that the path below the app
(``service.httpd``) and the route in the app are the same code.
"""

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from model_store.answers.classes import ClassesAnswer
from model_store.errors import NotFound
from model_store.spec import Tensors
from service.body import read_priority, read_timeout_ms
from service.entry import Entry
from service.errors import BadBody, DeadlinePassed, NoSuchVerb
from service.hub import ModelHub
from service.lane import Lane, Lengths
from service.loaded import LoadedModel
from service.protocols.open_inference.answer import Answer, Writer
from service.protocols.open_inference.request import Reader
from service.protocols.open_inference.signature import Signature
from service.schema import Delivered, Priority
from service.telemetry import reason_of

PATH = re.compile(r"/v2/models/([^/?]+)(?:/versions/([^/?]+))?/infer")
ROUTE, VERSION_ROUTE = "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"
"""What metrics call it: the patterns of its routes in the app."""
PRIORITIES = {1: Priority.HIGH, 2: Priority.NORMAL}
"""Triton's numbers; 0 leaves it to the X-Priority header, larger ones are low."""

NO_LENGTHS: Lengths = {}


@dataclass(frozen=True, slots=True)
class Address:
    """Which graph of which version: ``name``, ``name@3``, ``name~graph``."""

    ref: str
    graph: str
    label: str
    """How the caller named it; answers repeat it."""

    @classmethod
    def read(cls, name: str, version: str | None) -> "Address":
        """Raises NotFound."""
        ref, _, graph = name.partition("~")
        if version is None:
            return cls(ref, graph, name)
        if "@" in ref or not version.isdecimal():
            raise NotFound(f"no version {version!r} of {name!r}")
        return cls(f"{ref}@{version}", graph, name)


class Codec:
    """Reader and writer for one graph of a loaded version under one name."""

    def __init__(self, model: LoadedModel, lane: Lane, label: str, max_rows: int) -> None:
        signature = Signature(lane.graph)
        self.reader = Reader(signature, max_rows)
        self.writer = Writer(signature, label, model.manifest.version, _labels(model, lane))


class Codecs:
    """Every codec in use; those of a version go with it."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._known: WeakKeyDictionary[Lane, dict[str, Codec]] = WeakKeyDictionary()

    def find(self, model: LoadedModel, address: Address) -> tuple[Lane, Codec]:
        """Raises NotFound for a graph the version does not have."""
        lane = lane_of(model, address)
        known = self._known.setdefault(lane, {})
        codec = known.get(address.label)
        if codec is None:
            if len(known) > 16:  # a caller may name a version by as many aliases as there are
                known.clear()
            codec = known[address.label] = Codec(model, lane, address.label, self._max_rows)
        return lane, codec


def lane_of(model: LoadedModel, address: Address) -> Lane:
    """Raises NotFound, and NoSuchVerb for a graph that is run token by token."""
    name = model.manifest.name
    lane = model.lanes.get(address.graph) if address.graph else model.main
    if isinstance(lane, Lane):
        return lane
    if lane or address.graph in model.decoders:
        raise NoSuchVerb(
            f"{address.label} is run token by token: POST /v2/models/{name}/generate asks it"
        )
    others = ", ".join(f"{name}~{graph}" for graph in (*model.lanes, *model.decoders))
    raise NotFound(f"no graph {address.label!r}; there are {others}")


def _labels(model: LoadedModel, lane: Lane) -> tuple[str, ...]:
    for verb in model.manifest.verbs.values():
        graph = model.lanes.get(verb.graph)
        if graph is lane and isinstance(verb.answer, ClassesAnswer):
            return verb.answer.labels
    return ()


@dataclass(slots=True)
class Terms:
    """What a request's headers ask for."""

    timeout_s: float
    explicit: bool
    """The caller named the timeout."""
    priority: Priority
    header_bytes: int | None
    """Inference-Header-Content-Length."""

    @classmethod
    def read(cls, header: Callable[[str], str | None], default_ms: int) -> "Terms":
        """``header`` gives a header by its lower-case name. Raises BadBody."""
        timeout = header("x-timeout-ms")
        return cls(
            read_timeout_ms(timeout, default_ms) / 1000,
            timeout is not None,
            read_priority(header("x-priority")),
            _read_header_length(header("inference-header-content-length")),
        )


def _read_header_length(raw: str | None) -> int | None:
    if raw is None:
        return None
    if not (raw.isascii() and raw.isdecimal() and len(raw) <= 12):
        raise BadBody(f"Inference-Header-Content-Length: expected a whole number; got {raw[:20]!r}")
    return int(raw)


class Call(ABC):
    """A request in hand: :meth:`succeed` or :meth:`fail` is called once, unless it is cancelled.
    The lease on ``model`` was taken by whoever made the call and is given back here.
    """

    __slots__ = (
        "_codec", "_ended", "_entry", "_input_s", "_lane", "_lengths", "_plan", "_timer",
        "compute_s", "model", "queue_s", "started",
    )  # fmt: skip

    def __init__(self, model: LoadedModel, lane: Lane, codec: Codec) -> None:
        self.model, self._lane, self._codec = model, lane, codec
        self.started = time.monotonic()
        self.queue_s = self.compute_s = self._input_s = 0.0
        self._ended = False
        self._entry: Entry | None = None
        self._lengths: Lengths = NO_LENGTHS
        self._timer: asyncio.TimerHandle | None = None

    @abstractmethod
    def succeed(self, answer: Answer) -> None:
        """The answer is there."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """There will be no answer."""

    def begin(self, body: memoryview, terms: Terms) -> None:
        """Read the body and queue its rows."""
        clock = time.monotonic()
        try:
            self._plan, tensors = self._codec.reader.read(body, terms.header_bytes)
            lane = self._lane
            if lane.graph.batching.pad:
                padded, self._lengths = lane.pad(tensors)
                self.model.meter.padded(_cells(tensors), _cells(padded))
                tensors = padded
            self._input_s = time.monotonic() - clock
            self._submit(tensors, terms)
        except Exception as error:  # noqa: BLE001 - every way out leads to the caller
            self._close(reason_of(error))
            self.fail(error)

    def _submit(self, tensors: Tensors, terms: Terms) -> None:
        timeout_s, explicit, priority = terms.timeout_s, terms.explicit, terms.priority
        plan, batcher = self._plan, self._lane.batcher
        if plan.timeout_us:
            timeout_s, explicit = min(timeout_s, plan.timeout_us / 1e6), True
        if plan.priority:
            priority = PRIORITIES.get(plan.priority, Priority.LOW)
        self._entry = batcher.submit(tensors, self.started + timeout_s, self._done, priority)
        if explicit and batcher.threaded:
            # In the queue the batcher looks after it; while a run lasts, only a timer can tell.
            self._timer = batcher.loop.call_later(timeout_s, self._late)

    def _late(self) -> None:
        self._timer = None
        self._give_up()
        self._close("REJECTED")
        self.fail(DeadlinePassed("the request's deadline passed"))

    def _done(self, outcome: Delivered | Exception) -> None:
        self._entry = None
        if isinstance(outcome, Exception):
            self._close(reason_of(outcome))
            self.fail(outcome)
            return
        self.queue_s, self.compute_s = outcome.queue_s, outcome.compute_s
        clock = time.monotonic()
        try:
            outputs = outcome.tensors
            if self._lengths:
                outputs = self._lane.crop(outputs, self._lengths)
            answer = self._codec.writer.write(self._plan, outputs)
        except Exception as error:  # noqa: BLE001 - the same
            self._close(reason_of(error))
            self.fail(error)
            return
        now = time.monotonic()
        self.model.meter.succeeded(self._input_s, now - clock, now - self.started)
        if self._timer:
            self._timer.cancel()
        self._ended = True
        self.model.release()
        self.succeed(answer)

    def cancel(self) -> None:
        """The caller has gone: what waits is never run. Nothing where all is over already."""
        if not self._ended:
            self._give_up()
            self._close("CANCELED")

    def _give_up(self) -> None:
        if self._entry:
            self._lane.batcher.cancel(self._entry)
            self._entry = None

    def _close(self, reason: str) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._ended = True
        self.model.meter.request(time.monotonic() - self.started, reason)
        self.model.release()


def _cells(tensors: Tensors) -> int:
    return sum(array.size for array in tensors.values())


async def find(hub: ModelHub, address: Address, deadline: float) -> LoadedModel:
    """The version with a lease on it, loaded now if need be. Raises NotFound, NotReady, NoRoom."""
    try:
        return await hub.find(address.ref, deadline)
    except NotFound as error:
        raise NotFound(
            f"Request for unknown model: {address.label!r} is not found ({error})"
        ) from None
