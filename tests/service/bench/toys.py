"""Servers that a test needs and no real one is: of the V2 protocol, but with a fault to order."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import numpy as np
import orjson

Behave = Callable[["Handler", bytes], None]
"""Answers one request, of which the body has been read."""


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with kept connections."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    behave: ClassVar[Behave]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        type(self).behave(self, body)

    def do_GET(self) -> None:
        self.do_POST()

    def answer(self, body: bytes, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class Listener(ThreadingHTTPServer):
    """A load opens all its connections at once."""

    request_queue_size = 512


@contextlib.contextmanager
def serving(behave: Behave) -> Iterator[tuple[str, int]]:
    """Address of a server that answers so, each connection in a thread of its own."""
    kind = type("Toy", (Handler,), {"behave": staticmethod(behave)})
    with Listener(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield "127.0.0.1", server.server_port
        finally:
            server.shutdown()
            thread.join()


class Doubler:
    """A V2 server with one model, ``doubler``: ``x`` → ``y``, ``factor`` times as much.

    ``wrong`` says of which of all its answers, counted from 1, one is added.
    """

    shape: ClassVar[list[int]] = [-1, 3]

    def __init__(self, wrong: Callable[[int], bool] = lambda _: False, factor: float = 2.0) -> None:
        self._wrong, self._factor = wrong, np.float32(factor)
        self.inferred = 0
        self.headers: list[dict[str, str]] = []

    def __call__(self, handler: Handler, body: bytes) -> None:
        self.headers.append({name.lower(): value for name, value in handler.headers.items()})
        if handler.path == "/v2/repository/index":
            handler.answer(orjson.dumps([{"name": "doubler", "version": "1", "state": "READY"}]))
        elif not handler.path.startswith("/v2/models/doubler"):
            handler.answer(b'{"error": "no model of that name"}', 404)
        elif handler.path.endswith("/infer"):
            self._infer(handler, body)
        elif handler.path.endswith("/stats"):
            handler.answer(orjson.dumps({"model_stats": [self._statistics()]}))
        else:
            tensor = {"datatype": "FP32", "shape": self.shape}
            handler.answer(
                orjson.dumps(
                    {
                        "name": "doubler",
                        "inputs": [{"name": "x", **tensor}],
                        "outputs": [{"name": "y", **tensor}],
                    }
                )
            )

    def _infer(self, handler: Handler, body: bytes) -> None:
        length = int(handler.headers.get("Inference-Header-Content-Length", len(body)))
        entry = orjson.loads(body[:length])["inputs"][0]
        binary = "data" not in entry
        x = np.frombuffer(body[length:], "<f4") if binary else np.array(entry["data"], "<f4")
        self.inferred += 1
        y = x * self._factor + (1 if self._wrong(self.inferred) else 0)
        output: dict[str, Any] = {"name": "y", "datatype": "FP32", "shape": entry["shape"]}
        if not binary:
            handler.answer(orjson.dumps({"outputs": [output | {"data": y.tolist()}]}))
            return
        head = orjson.dumps({"outputs": [output | {"parameters": {"binary_data_size": y.nbytes}}]})
        handler.answer(head + y.tobytes(), Inference_Header_Content_Length=len(head))

    def _statistics(self) -> dict[str, Any]:
        """Two rows in each run, a millisecond each in the queue, two in the graph."""
        count = self.inferred
        stages = {"queue": 1, "compute_input": 0, "compute_infer": 2, "compute_output": 0}
        return {
            "name": "doubler",
            "inference_count": 2 * count,
            "execution_count": count,
            "inference_stats": {
                name: {"count": count, "ns": ms * 1_000_000 * count} for name, ms in stages.items()
            },
        }


def free_port() -> int:
    """One where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
