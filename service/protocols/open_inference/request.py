"""The body of an infer request → tensors, and what the answer shall look like.

A request whose tensors are all binary is understood from its header alone. Clients send the same
header again and again, so what was understood is kept by its bytes (:class:`Plan`). The same holds
for JSON around a single array of numbers: what stands before and behind the array is the header.
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import simdjson

from model_store.spec import Tensors, show
from service.errors import BadBody
from service.protocols.open_inference import wire
from service.protocols.open_inference.signature import Signature, Slot
from service.protocols.open_inference.wire import elements

MAX_HEADER_KEPT = 2048
MAX_PLANS = 256
MAX_TIMEOUT_US = 3_600_000_000
MAX_CLASSES = 10_000
LARGE_INTEGER = 2**64
MAX_PARSER_BYTES = 4 * 2**20
"""A parser keeps several times the memory of the largest body it read; of larger ones, it goes."""
NUMBERS = re.compile(rb"[\[\]\s\d+\-.eE,]*\]")
"""An array of numbers, nested or not, up to its last bracket."""
_LOCAL = threading.local()


@dataclass(slots=True)
class Wish:
    """An output that was asked for."""

    name: str
    binary: bool
    classes: int = 0


@dataclass(slots=True)
class Part:
    """A binary tensor's place behind the header."""

    slot: Slot
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(slots=True)
class Plan:
    """All that the header of a request says."""

    id: str | None = None
    timeout_us: int = 0
    priority: int = 0
    wishes: list[Wish] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    tensors: Tensors = field(default_factory=dict)
    """Those that came as JSON."""
    data_bytes: int = 0
    all_binary: bool = False
    """Every output is asked for as binary: the answer's header follows from the shapes."""
    heads: dict[object, tuple[bytes, bytes]] = field(default_factory=dict)
    """JSON and HTTP headers of answers, all binary, by their shapes."""

    def views(self, body: memoryview, start: int) -> Tensors:
        """Every input. ``body[start:]`` is the binary data. Raises BadBody."""
        if len(body) - start != self.data_bytes:
            raise BadBody(
                f"expected {self.data_bytes:,} bytes of tensors behind the JSON header;"
                f" got {len(body) - start:,}"
            )
        tensors = self.tensors.copy()
        for part in self.parts:
            memory = body[start + part.start : start + part.stop]
            slot = part.slot
            tensors[slot.name] = wire.from_binary(memory, slot.datatype, part.shape, slot.name)
        return tensors


class Reader:
    """Reads requests to one graph."""

    def __init__(self, signature: Signature, max_rows: int) -> None:
        self.signature, self._max_rows = signature, max_rows
        self._plans: dict[bytes, Plan] = {}
        self._frames: dict[bytes, tuple[bytes, Plan]] = {}
        """JSON before an array → JSON behind it, and what both mean."""

    def read(self, body: memoryview, header_bytes: int | None) -> tuple[Plan, Tensors]:
        """``header_bytes`` is Inference-Header-Content-Length: None for a body that is all JSON, 0
        for one that is a single tensor. Raises BadBody.
        """
        if header_bytes is None:
            return self._read_json(bytes(body))
        if header_bytes > len(body):
            raise BadBody(
                f"Inference-Header-Content-Length: expected at most the body's {len(body):,} bytes;"
                f" got {header_bytes:,}"
            )
        if not header_bytes:
            return self._raw(body)
        header = bytes(body[:header_bytes])
        plan = self._plans.get(header) or self._understand(header)
        return plan, plan.views(body, header_bytes)

    def _read_json(self, body: bytes) -> tuple[Plan, Tensors]:
        try:
            return self._read_document(body)
        except BadBody as error:
            words = str(error)
        finally:
            if len(body) > MAX_PARSER_BYTES:
                _LOCAL.parser = None
        # Raised anew, because the first one's frames hold the document in the parser's memory.
        raise BadBody(words)

    def _read_document(self, body: bytes) -> tuple[Plan, Tensors]:
        start = body.find(b"[", body.find(b'"data"'))
        frame = self._frames.get(body[:start])
        if frame and body.endswith(frame[0]):
            # One value in the place of another: if it is an array of numbers, all else is the same.
            behind, plan = frame
            (part,) = plan.parts
            text = body[start : len(body) - len(behind)]
            data = _parse_array(text)
            slot = part.slot
            if data is not None:
                flat = text.find(b"[", 1) < 0
                array = wire.from_json(data, slot.datatype, part.shape, slot.name, flat=flat)
                return plan, {slot.name: array}
        plan = self._plan(_parse(body), body)
        if plan.parts:
            raise BadBody(
                "binary_data_size: expected the header Inference-Header-Content-Length too; it did"
                " not come"
            )
        if len(plan.tensors) == 1 and plan.id is None:
            self._keep_frame(body, start, plan)
        return plan, plan.tensors

    def _keep_frame(self, body: bytes, start: int, plan: Plan) -> None:
        ((name, array),) = plan.tensors.items()
        slot = self.signature.inputs[name]
        if slot.datatype in ("BOOL", "BYTES") or body.count(b'"data"') != 1 or b"\\" in body:
            return  # an escape may hide a second "data"
        numbers = NUMBERS.match(body, start)
        before, behind = body[:start], body[numbers.end() :] if numbers else b""
        if behind and len(before) + len(behind) <= MAX_HEADER_KEPT:
            if len(self._frames) >= MAX_PLANS:
                self._frames.clear()
            kept = Plan(None, plan.timeout_us, plan.priority, plan.wishes)
            kept.all_binary = plan.all_binary
            kept.parts = [Part(slot, array.shape, 0, 0)]
            self._frames[before] = behind, kept

    def _understand(self, header: bytes) -> Plan:
        try:
            plan = self._plan(orjson.loads(header), b"")
        except orjson.JSONDecodeError as error:
            raise BadBody(f"expected JSON in the first {len(header)} bytes; {error}") from None
        if len(header) <= MAX_HEADER_KEPT and not plan.tensors and plan.id is None:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            self._plans[header] = plan
        return plan

    # --- the JSON header -----------------------------------------------------------------------

    def _plan(self, document: Any, text: bytes) -> Plan:
        """``text``: what a simdjson ``document`` was read from."""
        if not isinstance(document, (dict, simdjson.Object)):
            raise BadBody('expected a JSON mapping {"inputs": […]}; got something else')
        parameters = _mapping(document, "parameters", "parameters")
        plan = Plan(
            id=_text(_plain(document.get("id")), "id"),
            timeout_us=_whole(parameters, "timeout", MAX_TIMEOUT_US),
            priority=_whole(parameters, "priority", LARGE_INTEGER),
        )
        if _whole_or_text(parameters.get("sequence_id")):
            raise BadBody("parameters.sequence_id: models here keep no state between requests")
        self._read_inputs(document, plan, text)
        binary = _flag(parameters, "binary_data_output", "parameters")
        self._read_outputs(document, plan, binary=bool(binary))
        plain = all(wish.binary and not wish.classes for wish in plan.wishes)
        plan.all_binary = plain and plan.id is None
        return plan

    def _read_inputs(self, document: Any, plan: Plan, text: bytes) -> None:
        inputs = document.get("inputs")
        if not isinstance(inputs, (list, simdjson.Array)):
            raise BadBody("inputs: expected a list of tensors; got something else or nothing")
        # The lists that there must be: of inputs, of outputs, and each input's shape and data.
        lists = 1 + (document.get("outputs") is not None) + 2 * len(inputs)
        flat = _count_to(lists + 1, text) == lists
        shapes: dict[str, tuple[int, ...]] = {}
        for given in inputs:
            if not isinstance(given, (dict, simdjson.Object)):
                raise BadBody("inputs: expected mappings with name, shape, datatype and data")
            slot = self._slot(_plain(given.get("name")), shapes)
            shapes[slot.name] = slot.check(
                _plain(given.get("datatype")), _plain(given.get("shape"))
            )
            self._read_data(given, slot, shapes[slot.name], plan, flat=flat)
        missing = [name for name in self.signature.inputs if name not in shapes]
        if missing:
            raise BadBody(f"inputs: expected {list(self.signature.inputs)}; {missing} did not come")
        self.signature.check_rows(list(shapes.values()), self._max_rows)

    def _slot(self, name: object, seen: Mapping[str, object]) -> Slot:
        slot = self.signature.inputs.get(name) if isinstance(name, str) else None
        if slot is None:
            known = list(self.signature.inputs)
            raise BadBody(f"inputs: unexpected input {show(name)}; this model takes {known}")
        if slot.name in seen:
            raise BadBody(f"inputs: {slot.name} came twice")
        return slot

    def _read_data(
        self, given: Any, slot: Slot, shape: tuple[int, ...], plan: Plan, *, flat: bool
    ) -> None:  # fmt: skip
        where = f"input {slot.name}"
        parameters = _mapping(given, "parameters", f"{where}: parameters")
        data = given.get("data")
        if "binary_data_size" not in parameters:
            if data is None:
                raise BadBody(
                    f"{where}: expected data, or parameters.binary_data_size; got neither"
                )
            array = wire.from_json(data, slot.datatype, shape, slot.name, flat=flat)
            plan.tensors[slot.name] = array
            return
        if data is not None:
            raise BadBody(f"{where}: expected data or binary_data_size; got both")
        size = _whole(parameters, "binary_data_size", LARGE_INTEGER, where)
        wanted = elements(shape) * slot.item_bytes
        if slot.item_bytes and size != wanted:
            raise BadBody(f"{where}: expected binary_data_size {wanted} for shape {list(shape)} of"
                          f" {slot.datatype}; got {size}")  # fmt: skip
        plan.parts.append(Part(slot, shape, plan.data_bytes, plan.data_bytes + size))
        plan.data_bytes += size

    def _read_outputs(self, document: Any, plan: Plan, *, binary: bool) -> None:
        outputs = document.get("outputs")
        if outputs is not None and not isinstance(outputs, (list, simdjson.Array)):
            raise BadBody("outputs: expected a list of outputs; got something else")
        if not outputs:
            plan.wishes = [Wish(name, binary) for name in self.signature.outputs]
            return
        for given in outputs:
            if not isinstance(given, (dict, simdjson.Object)):
                raise BadBody("outputs: expected mappings with a name; got something else")
            name = _plain(given.get("name"))
            if not isinstance(name, str) or name not in self.signature.outputs:
                known = list(self.signature.outputs)
                raise BadBody(f"outputs: unexpected output {show(name)}; this model gives {known}")
            where = f"output {name}"
            if any(wish.name == name for wish in plan.wishes):
                raise BadBody(f"{where}: asked for twice")
            parameters = _mapping(given, "parameters", f"{where}: parameters")
            own = _flag(parameters, "binary_data", where)
            classes = _whole(parameters, "classification", MAX_CLASSES, where)
            plan.wishes.append(Wish(name, binary if own is None else own, classes))

    # --- the raw binary request ----------------------------------------------------------------

    def _raw(self, body: memoryview) -> tuple[Plan, Tensors]:
        """The body is the only input, as one row: its shape follows from its size."""
        if len(self.signature.inputs) != 1:
            names = list(self.signature.inputs)
            raise BadBody(f"a raw binary request needs a model with one input; this takes {names}")
        (slot,) = self.signature.inputs.values()
        row = [1] if self.signature.rows else []
        own = slot.axes[len(row) :]
        free = sum(not isinstance(axis, int) for axis in own)
        if free > (0 if slot.datatype == "BYTES" else 1):
            raise BadBody(
                f"a raw binary request needs an input whose shape follows from its size;"
                f" {slot.name} has {slot.shape}"
            )
        plan = Plan(wishes=[Wish(name, binary=True) for name in self.signature.outputs])
        plan.all_binary = True
        unit = elements([axis for axis in own if isinstance(axis, int)])
        if slot.datatype == "BYTES":  # one element, without its length
            if unit != 1:
                raise BadBody(f"a raw binary request of BYTES needs one element; got {unit}")
            return plan, {slot.name: wire.from_text(body, [*row, *(1 for _ in own)], slot.name)}
        unit *= slot.item_bytes
        if (free and (not unit or len(body) % unit)) or (not free and len(body) != unit):
            some = "a multiple of " if free else ""
            raise BadBody(f"expected {some}{unit} bytes for {slot.name}; got {len(body)}")
        length = len(body) // unit if free else 0
        shape = [*row, *(axis if isinstance(axis, int) else length for axis in own)]
        shape = list(slot.check(slot.datatype, shape))
        return plan, {slot.name: wire.from_binary(body, slot.datatype, shape, slot.name)}


def _parse(body: bytes) -> Any:
    """A parser's results live in its own memory, one document at a time; so each thread has one."""
    parser = getattr(_LOCAL, "parser", None)
    if parser is None:
        parser = _LOCAL.parser = simdjson.Parser()
    try:
        return parser.parse(body)
    except RuntimeError:  # an error that is not gone yet still holds the last document
        _LOCAL.parser = None
    except (ValueError, UnicodeDecodeError):
        pass
    try:  # it has another view of integers of more than 64 bits, and better words
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"expected JSON; {error}") from None


def _parse_array(text: bytes) -> Any:
    """None where the text is not an array."""
    try:
        found = _parse(text)
    except BadBody:
        return None
    return found if isinstance(found, simdjson.Array) else None


def _count_to(limit: int, text: bytes) -> int:
    """How many arrays begin in a text, or the limit where there are more."""
    count, place = 0, text.find(b"[")
    while place >= 0 and count < limit:
        count, place = count + 1, text.find(b"[", place + 1)
    return count


def _plain(value: Any) -> Any:
    if isinstance(value, simdjson.Object):
        return value.as_dict()
    return value.as_list() if isinstance(value, simdjson.Array) else value


def _mapping(document: Any, key: str, where: str) -> Mapping[str, Any]:
    value = _plain(document.get(key))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadBody(f"{where}: expected a mapping; got {show(value)}")
    return value


def _text(value: object, where: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise BadBody(f"{where}: expected a string; got {show(value)}")
    return value or None


def _flag(parameters: Mapping[str, Any], key: str, where: str) -> bool | None:
    value = parameters.get(key)
    if value is not None and not isinstance(value, bool):
        raise BadBody(f"{where}.{key}: expected true or false; got {show(value)}")
    return value


def _whole(parameters: Mapping[str, Any], key: str, limit: int, where: str = "parameters") -> int:
    value = parameters.get(key, 0)
    if type(value) is not int or not 0 <= value <= limit:
        raise BadBody(f"{where}.{key}: expected a whole number from 0 to {limit};"
                      f" got {show(value)}")  # fmt: skip
    return value


def _whole_or_text(value: object) -> bool:
    return value not in (None, 0, "")
