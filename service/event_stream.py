"""Server-sent events: a response whose parts are sent as they come. Knows no protocol.

Nothing is read ahead: where a client reads slowly, ``send`` waits, and what is said meanwhile stays
in the queue of its request, which is no longer than its text.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)

DONE = b"data: [DONE]\n\n"
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would collect them otherwise
]


def event(body: object) -> bytes:
    """One event with a JSON body."""
    return b"data: " + orjson.dumps(body) + b"\n\n"


class EventStream(Response):
    """Sends what ``events`` gives. What it raises before its first one is the request's error, with
    a status of its own; later it can only be an event, of the same shape.
    """

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__()
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events) as events:
            first = await anext(events)
            version = scope["modelhub"].get("version")
            headers = [*HEADERS, *([(b"x-model-version", b"%d" % version)] if version else [])]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await _send_part(send, first)
            try:
                async for part in events:
                    await _send_part(send, part)
            except Exception as error:  # noqa: BLE001 - the status is sent; only an event can tell
                fields = {"request_id": scope["modelhub"]["request_id"]}
                log.warning("a stream broke off: %s", error, extra={"fields": fields})
                problem = scope["app"].state.encode_error(error, scope["path"])
                body = orjson.loads(problem.body)
                await _send_part(send, event(body if "error" in body else {"error": body}))
            await send({"type": "http.response.body", "body": b""})


async def _send_part(send: Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})
