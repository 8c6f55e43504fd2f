"""What every request passes on its way in and out, whatever protocol it speaks.

Request id, key, time, log line, metrics, and the watch for a client that goes away.
"""

import asyncio
import hmac
import itertools
import logging
import os
import re
import time
from collections.abc import Callable, Mapping

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import NoKey, NotReady, ServiceError, WrongScope
from service.logs import AccessLog
from service.settings import Settings
from service.telemetry import Telemetry
from service.tracing import Tracing

log = logging.getLogger(__name__)

REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
CLIENT_GONE = 499  # nginx's number for it; seen in metrics and logs only
ADMIN_POSTS = re.compile(r"/v2/repository/models/[^/]+/(un)?load|/v2/logging")
"""POST calls that change the hub, as every PUT and DELETE does."""
_PROCESS, _COUNT = os.urandom(8).hex(), itertools.count()


def request_id(asked: str) -> str:
    """The caller's own, where it is one; else one that no other request has."""
    if asked and REQUEST_ID.fullmatch(asked):
        return asked
    return f"{_PROCESS}{next(_COUNT):016x}"


class Gate:
    """Who may come in, and what is written down when they leave. The same for every path."""

    def __init__(
        self, settings: Settings, telemetry: Telemetry, open_paths: frozenset[str]
    ) -> None:  # fmt: skip
        self.telemetry, self.open_paths = telemetry, open_paths
        self._admin = [key.get_secret_value().encode() for key in settings.admin_keys]
        self._user = [key.get_secret_value().encode() for key in settings.api_keys] + self._admin
        self._access = AccessLog(settings.access_log_per_s)

    @property
    def needs_keys(self) -> bool:
        return bool(self._user)

    def check_key(self, authorization: bytes, method: str, path: str) -> None:
        """Raises NoKey, WrongScope."""
        if not self._user or path in self.open_paths:
            return
        kind, _, key = authorization.partition(b" ")
        if kind.lower() != b"bearer" or not _among(key.strip(), self._user):
            raise NoKey("expected Authorization: Bearer KEY with a known key")
        admin = method not in ("GET", "HEAD", "POST") or (
            method == "POST" and ADMIN_POSTS.fullmatch(path)
        )
        if admin and not _among(key.strip(), self._admin):
            raise WrongScope("this key may use models, not change the hub")

    def record(
        self, route: str, status: int, seconds: float, fields: Callable[[], Mapping[str, object]]
    ) -> None:
        """Count a request that is over; ``fields`` is only asked where a line is written."""
        self.telemetry.request(route, status, seconds)
        if route in self.open_paths:
            return  # probes every few seconds would drown the rest
        if self._access.wants(status):
            self._access.write({"status": status, "ms": round(seconds * 1000, 2), **fields()})


class Edge:
    """ASGI middleware around the whole app."""

    def __init__(
        self, app: ASGIApp, *, gate: Gate, encode_error: Callable[[Exception, str], Response]
    ) -> None:
        self.app, self.gate, self.encode_error = app, gate, encode_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit = _Visit(scope, send)
        self.gate.telemetry.in_flight += 1
        try:
            self.gate.check_key(_header(scope, b"authorization"), scope["method"], scope["path"])
            await _Connection(receive).answer(self.app, scope, visit.send)
        except ServiceError as error:  # refused at the door
            await self.encode_error(error, scope["path"])(scope, receive, visit.send)
        except _ClientGone:
            visit.status = CLIENT_GONE
        except asyncio.CancelledError:  # the server stops and waits no longer
            if visit.answering:
                raise
            stopping = NotReady("the server is stopping; this took longer than it could wait")
            await self.encode_error(stopping, scope["path"])(scope, receive, visit.send)
        except Exception as error:
            if visit.answering:
                raise  # too late to say it in a status
            fields = {"request_id": visit.request_id}
            log.exception("request failed", extra={"fields": fields})
            await self.encode_error(error, scope["path"])(scope, receive, visit.send)
        finally:
            self.gate.telemetry.in_flight -= 1
            self.gate.record(visit.route, visit.status, visit.seconds, visit.fields)


class Traced:
    """ASGI middleware around the edge, there only where traces are made."""

    def __init__(self, app: ASGIApp, *, tracing: Tracing, open_paths: frozenset[str]) -> None:
        self.app, self.tracing, self._open_paths = app, tracing, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._open_paths:
            await self.app(scope, receive, send)
            return
        status = CLIENT_GONE

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self.tracing.request(scope["method"], scope["headers"]) as span:
            try:
                await self.app(scope, receive, noting)
            finally:
                self.tracing.tell(span, _route(scope), status, scope.get("modelhub", {}))


class _Visit:
    """One request's id, clock and outcome; adds the common headers to its response."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope, self._send = scope, send
        self.started = time.monotonic()
        self.status = 500
        self.answering = False
        self.request_id = request_id(_header(scope, b"x-request-id").decode("latin-1"))
        scope["modelhub"] = {"request_id": self.request_id}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.answering = True
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.request_id
            facts = self.scope["modelhub"]
            parts = [
                f"{name};dur={facts[f'{name}_s'] * 1000:.3f}"
                for name in ("queue", "compute")
                if f"{name}_s" in facts
            ]
            headers["Server-Timing"] = ", ".join([*parts, f"total;dur={self.seconds * 1000:.3f}"])
        await self._send(message)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def route(self) -> str:
        """The route's pattern, never the path: paths would make endless metric labels."""
        return _route(self.scope)

    def fields(self) -> dict[str, object]:
        """What the log line says beside status and time."""
        facts = self.scope["modelhub"]
        fields = {
            "request_id": self.request_id,
            "method": self.scope["method"],
            "path": self.scope["path"],
        }
        for name in ("queue_s", "compute_s"):
            if name in facts:
                fields[name.replace("_s", "_ms")] = round(facts[name] * 1000, 2)
        return fields | {key: facts[key] for key in ("model", "version") if key in facts}


class _ClientGone(Exception):
    """The client closed the connection while its request was being answered."""


class _Connection:
    """Watches for the client's leaving once its body was read, and then cancels the handler."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._handler = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()

    async def answer(self, app: ASGIApp, scope: Scope, send: Send) -> None:
        """Raises _ClientGone."""
        try:
            await app(scope, self.receive, send)
        except asyncio.CancelledError:
            if not self._gone.is_set():
                raise  # the server's own shutdown
            if self._handler:
                self._handler.uncancel()
            raise _ClientGone from None
        finally:
            if self._watcher:
                self._watcher.cancel()

    async def receive(self) -> Message:
        if self._watcher:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone  # in the middle of its body
        if not message.get("more_body", False):
            self._watcher = asyncio.create_task(self._watch())
        return message

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()
        if self._handler:
            self._handler.cancel()


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "none")


def _header(scope: Scope, name: bytes) -> bytes:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return next((value for key, value in headers if key == name), b"")


def _among(key: bytes, keys: list[bytes]) -> bool:
    # Compares with every one of them, so that time tells nothing of a key.
    return sum(hmac.compare_digest(key, known) for known in keys) > 0
