"""The two paths of an infer call: below the app, and through it; and how a test takes each."""

from collections.abc import Iterator, Mapping

import httpx
import orjson

from tests.service.protocols.open_inference.graphs import Array
from tests.service.server import Server

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
"""A header that the call below the app leaves to the app."""
WAYS = ("below", "through the app", "chunked")


def ask(
    server: Server, path: str, body: bytes, way: str = "below",
    headers: Mapping[str, str] | None = None, method: str = "POST",
) -> httpx.Response:  # fmt: skip
    """One request, by one of the ``WAYS``."""
    own = {**(headers or {}), **(TRACE if way == "through the app" else {})}

    def pieces() -> Iterator[bytes]:
        yield body[:20]
        yield body[20:]

    content = pieces() if way == "chunked" else body
    return server.client.request(method, path, content=content, headers=own)


def infer(name: str, suffix: str = "") -> str:
    return f"/v2/models/{name}{suffix}/infer"


def in_json(array: Array, name: str = "x", datatype: str = "FP32", **more: object) -> bytes:
    """A request for one tensor of numbers as JSON."""
    shape = list(array.shape)
    tensor = {"name": name, "shape": shape, "datatype": datatype, "data": array.ravel().tolist()}
    return orjson.dumps({"inputs": [tensor], **more})


def in_binary(
    array: Array, name: str = "x", datatype: str = "FP32", **more: object
) -> tuple[bytes, dict[str, str]]:
    """The same as binary data, and asking for all outputs as binary data; body and header."""
    tensor = {
        "name": name, "shape": list(array.shape), "datatype": datatype,
        "parameters": {"binary_data_size": array.nbytes},
    }  # fmt: skip
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}, **more})
    return head + array.tobytes(), {"Inference-Header-Content-Length": str(len(head))}
