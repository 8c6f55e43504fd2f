"""A graph's outputs → the body of an infer answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from model_store.spec import Array, Tensors
from service.errors import BadBody
from service.protocols.open_inference import wire
from service.protocols.open_inference.request import Plan, Wish
from service.protocols.open_inference.signature import Signature

Chunk = bytes | memoryview
MAX_HEADS = 64
"""Headers of answers kept for a plan."""


@dataclass(slots=True)
class Answer:
    """The body in pieces, and the fields of its HTTP head as they go over the wire."""

    chunks: list[Chunk]
    fields: bytes


class Writer:
    """Writes the answers of one graph. ``labels`` name classes, where the model has them."""

    def __init__(
        self, signature: Signature, name: str, version: int, labels: Sequence[str] = ()
    ) -> None:
        self._signature, self._labels, self._version = signature, labels, version
        self._start = b'{"model_name":%s,"model_version":"%d"' % (orjson.dumps(name), version)

    def write(self, plan: Plan, outputs: Tensors) -> Answer:
        """Raises BadBody where a type that has no JSON form was asked for as JSON."""
        if plan.all_binary:
            return self._write_binary(plan, outputs)
        head, data = self._start, []
        if plan.id is not None:
            head += b',"id":' + orjson.dumps(plan.id)
        described = []
        for wish in plan.wishes:
            array, datatype = self._value(wish, outputs[wish.name])
            text = self._describe(wish.name, datatype, array.shape)
            if wish.binary:
                data.append(wire.to_binary(array, datatype))
                text += b',"parameters":{"binary_data_size":%d}}' % len(data[-1])
            else:
                text += b',"data":' + wire.to_json(array, datatype, wish.name) + b"}"
            described.append(text)
        head += b',"outputs":[' + b",".join(described) + b"]}"
        return Answer([head, *data], self._fields(head, data))

    def _write_binary(self, plan: Plan, outputs: Tensors) -> Answer:
        """The common case: the header depends on the shapes alone and is kept in the plan."""
        slots = self._signature.outputs
        data: list[Chunk] = []
        key: list[object] = []
        for wish in plan.wishes:
            array = outputs[wish.name]
            data.append(wire.to_binary(array, slots[wish.name].datatype))
            key += (array.shape, len(data[-1]))
        known = plan.heads.get(tuple(key))
        if known is None:
            described = [
                self._describe(w.name, slots[w.name].datatype, outputs[w.name].shape)
                + b',"parameters":{"binary_data_size":%d}}' % len(chunk)
                for w, chunk in zip(plan.wishes, data, strict=True)
            ]
            head = self._start + b',"outputs":[' + b",".join(described) + b"]}"
            known = head, self._fields(head, data)
            if len(plan.heads) < MAX_HEADS:
                plan.heads[tuple(key)] = known
        return Answer([known[0], *data], known[1])

    def _fields(self, head: bytes, data: Sequence[Chunk]) -> bytes:
        size = len(head) + sum(len(chunk) for chunk in data)
        lines = [f"content-length: {size}", f"x-model-version: {self._version}"]
        if data:
            lines.append(f"inference-header-content-length: {len(head)}")
        kind = "octet-stream" if data else "json"
        return "\r\n".join([f"content-type: application/{kind}", *lines, ""]).encode()

    def _describe(self, name: str, datatype: str, shape: Sequence[int]) -> bytes:
        """Open at its end: parameters or data follow."""
        axes = ",".join(map(str, shape))
        return b'{"name":%s,"datatype":"%s","shape":[%s]' % (
            orjson.dumps(name), datatype.encode(), axes.encode(),
        )  # fmt: skip

    def _value(self, wish: Wish, array: Array) -> tuple[Array, str]:
        datatype = self._signature.outputs[wish.name].datatype
        if not wish.classes:
            return array, datatype
        if datatype == "BYTES":
            raise BadBody(f"output {wish.name}: classification: expected numbers; it is text")
        if datatype == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        rows = array.reshape(len(array) if self._signature.rows else 1, -1)
        found = classified(rows, wish.classes, self._labels)
        return found if self._signature.rows else found[0], "BYTES"


def classified(rows: Array, count: int, labels: Sequence[str]) -> Array:
    """The ``count`` largest values of each row as ``value:index:label``, as Triton writes them."""
    size = rows.shape[1]
    found = np.empty((len(rows), min(count, size)), object)
    for place, row in enumerate(rows):
        largest = _descending(row)[:count]
        found[place] = [_class(row[index], int(index), labels, size) for index in largest]
    return found


def _descending(row: Array) -> Array:
    """Places of the values, largest first and NaN last; of equals, the first first."""
    if row.dtype.kind == "f":
        return np.argsort(-row.astype(np.float64), kind="stable")
    return len(row) - 1 - np.argsort(row[::-1], kind="stable")[::-1]


def _class(value: np.generic, index: int, labels: Sequence[str], classes: int) -> str:
    if value.dtype.kind != "f":
        text = str(int(value))
    else:
        text = f"{value:f}" if np.isfinite(value) else str(value)
    return f"{text}:{index}:{labels[index]}" if len(labels) == classes else f"{text}:{index}"
