"""The V2 protocol as a client speaks it: tensors → a request's bytes, a response → tensors."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import orjson

from service.bench.errors import BenchError
from service.bench.tensors import DTYPES, Array, Inputs, Tensors

BodyKind = Literal["binary", "json"]
HEADER_LENGTH = "inference-header-content-length"
NO_JSON = ("FP16",)


def encode(kind: BodyKind, inputs: Inputs, tensors: Tensors) -> tuple[dict[str, str], bytes]:
    """Headers and body of a request for all outputs, as ``kind`` too. Raises BenchError."""
    return _ENCODERS[kind](inputs, tensors)


def _binary(inputs: Inputs, tensors: Tensors) -> tuple[dict[str, str], bytes]:
    parts = [np.ascontiguousarray(tensors[one.name]).tobytes() for one in inputs.inputs]
    entries = [
        {
            "name": one.name,
            "shape": list(one.shape),
            "datatype": one.datatype,
            "parameters": {"binary_data_size": len(part)},
        }
        for one, part in zip(inputs.inputs, parts, strict=True)
    ]
    head = orjson.dumps({"inputs": entries, "parameters": {"binary_data_output": True}})
    headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return headers, b"".join([head, *parts])


def _json(inputs: Inputs, tensors: Tensors) -> tuple[dict[str, str], bytes]:
    for one in inputs.inputs:
        if one.datatype in NO_JSON:
            raise BenchError(
                f"model {inputs.model}: {one.datatype} has no JSON form; --body binary"
            )
    entries = [
        {
            "name": one.name,
            "shape": list(one.shape),
            "datatype": one.datatype,
            "data": tensors[one.name].reshape(-1),
        }
        for one in inputs.inputs
    ]
    body = orjson.dumps({"inputs": entries}, option=orjson.OPT_SERIALIZE_NUMPY)
    return {"content-type": "application/json"}, body


_ENCODERS: dict[str, Callable[[Inputs, Tensors], tuple[dict[str, str], bytes]]] = {
    "binary": _binary,
    "json": _json,
}
BODIES = tuple(_ENCODERS)


def decode(headers: Mapping[str, str], body: bytes) -> Tensors:
    """A response's outputs. Raises ValueError or KeyError for what is no answer of the protocol."""
    head_bytes = int(headers.get(HEADER_LENGTH, len(body)))
    outputs, at = {}, head_bytes
    for entry in orjson.loads(body[:head_bytes])["outputs"]:
        size = entry.get("parameters", {}).get("binary_data_size")
        if size is None:
            outputs[entry["name"]] = _array(entry, entry["data"])
        else:
            outputs[entry["name"]] = _array(entry, body[at : at + size])
            at += size
    return outputs


def _array(entry: Mapping[str, Any], data: bytes | list[Any]) -> Array:
    datatype = entry["datatype"]
    if datatype not in DTYPES:
        raise ValueError(f"output {entry['name']} is {datatype}; expected numbers")
    if isinstance(data, bytes):
        return np.frombuffer(data, DTYPES[datatype]).reshape(entry["shape"])
    # null is how a number that is not finite is written
    return np.array(data, dtype=DTYPES[datatype]).reshape(entry["shape"])
