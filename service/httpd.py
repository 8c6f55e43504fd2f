"""uvicorn's HTTP protocol, with V2 infer calls answered below the app.

FastAPI's machinery for a request (scope, task, middleware, routing, response) costs more than a
small graph's run. A call that is plainly in order is therefore answered here, in callbacks: no
task, no scope. **Whatever is not** (another path, no length, a wrong key, a model that has to be
loaded first, a body over the limit, a connection with answers under way) is handed to the app,
which knows every refusal; so this file holds none of them. What it does itself it does through the
same code as the app: ``open_inference.infer``, the edge's gate, the table of errors.

Clients repeat themselves: a head that was accepted once means the same when the same bytes come
again, so its meaning is kept (:class:`Terms` and address) and it is not parsed again.
"""

import logging
import time
from collections.abc import Sequence
from urllib.parse import unquote

from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.edge import CLIENT_GONE, request_id
from service.errors import BadBody, NotReady, ServiceError
from service.heads import Below, EncodeError, Head
from service.lane import Lane
from service.loaded import LoadedModel
from service.protocols.open_inference.answer import Answer, Chunk
from service.protocols.open_inference.infer import Call, Codec, Terms

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 2048
NO_HEAD = b""
TIMED = b"%bx-request-id: %b\r\nserver-timing: queue;dur=%.3f, compute;dur=%.3f, total;dur=%.3f\r\n"
LEFT_TO_THE_APP = frozenset(
    (b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"traceparent")
)


class Exchange(Call):
    """One infer call on a connection. Stands where uvicorn keeps its own request cycle, and so has
    the attributes that uvicorn looks at.
    """

    __slots__ = (
        "_protocol", "body", "disconnected", "head", "id", "keep_alive",
        "message_event", "response_complete",
    )  # fmt: skip

    def __init__(
        self, protocol: "HttpProtocol", head: Head, model: LoadedModel, lane: Lane, codec: Codec
    ) -> None:
        super().__init__(model, lane, codec)
        model.acquire()
        self._protocol, self.head = protocol, head
        self.id = request_id(head.asked_id)
        self.keep_alive = head.keep_alive
        self.response_complete = self.disconnected = False
        self.message_event = self  # uvicorn wakes its task by it; there is none
        self.body: bytes | bytearray | memoryview = b""
        protocol.below.gate.telemetry.in_flight += 1

    def set(self) -> None:
        """The connection was lost."""
        if self.response_complete:
            return
        self.response_complete = True
        if self._protocol.reads(self):
            self.model.release()  # it never became a request to the model
        else:
            self.cancel()
        self._record(CLIENT_GONE)

    def stop(self) -> None:
        """The server stops, and waits no longer."""
        if not self.response_complete:
            self._give_up()
            self._close("REJECTED")
            self.fail(NotReady("the server is stopping; this took longer than it could wait"))

    @property
    def missing(self) -> int:
        """Bytes of the body that are still to come."""
        return self.head.body_bytes - len(self.body)

    def add(self, chunk: bytes | memoryview) -> None:
        """A piece of the body. What was announced takes no memory before it comes."""
        if isinstance(self.body, bytearray):
            self.body += chunk
        else:
            whole = len(chunk) == self.head.body_bytes
            self.body = chunk if whole else bytearray(chunk)

    # --- answering -----------------------------------------------------------------------------

    def succeed(self, answer: Answer) -> None:
        fields = TIMED % (
            answer.fields, self.id.encode(), self.queue_s * 1000, self.compute_s * 1000,
            (time.monotonic() - self.started) * 1000,
        )  # fmt: skip
        self._write(200, fields, answer.chunks)

    def fail(self, error: Exception) -> None:
        response = self._protocol.below.encode_error(error, "/v2")
        if response.status_code == 500:
            fields = {"request_id": self.id}
            log.error("request failed", exc_info=error, extra={"fields": fields})
        total_ms = (time.monotonic() - self.started) * 1000
        lines = [b"%b: %b\r\n" % field for field in response.raw_headers]
        lines.append(b"x-request-id: %b\r\n" % self.id.encode())
        lines.append(b"server-timing: total;dur=%.3f\r\n" % total_ms)
        self._write(response.status_code, b"".join(lines), [bytes(response.body)])

    def _write(self, status: int, fields: bytes, chunks: Sequence[Chunk]) -> None:
        if self.response_complete:
            return
        self.response_complete = True
        keep_alive = self.keep_alive and not self._protocol.below.hub.draining
        self._protocol.write(status, fields, chunks, keep_alive=keep_alive)
        self._record(status)

    def _record(self, status: int) -> None:
        gate = self._protocol.below.gate
        gate.telemetry.in_flight -= 1
        gate.record(self.head.route, status, time.monotonic() - self.started, self._facts)

    def _facts(self) -> dict[str, object]:
        manifest = self.model.manifest
        facts: dict[str, object] = {
            "request_id": self.id,
            "method": "POST",
            "path": unquote(self.head.url.decode("latin-1")),
        }
        if self.compute_s:
            facts["queue_ms"] = round(self.queue_s * 1000, 2)
            facts["compute_ms"] = round(self.compute_s * 1000, 2)
        return {**facts, "model": manifest.name, "version": manifest.version}


class HttpProtocol(HttpToolsProtocol):
    """One connection. Subclassed with ``below`` set (:func:`protocol_over`)."""

    below: Below
    _exchange: Exchange | None = None
    """The call whose body is being read."""
    _gathering: Exchange | None = None
    """The same, where the head was known and the parser is not asked."""
    _between = True
    """The parser stands between two requests."""
    _raw_head = NO_HEAD
    """The head that the parser is about to read, where it lies whole in what came."""
    _idle_since = 0.0

    def data_received(self, data: bytes) -> None:
        while data:
            start = 0
            if self._gathering is None:
                start = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES) + 4 if self._between else 0
                head = self.below.heads.get(data[:start])
                if head is None or not self._may_answer(head):
                    self._raw_head = data[:start] if start > 3 else NO_HEAD
                    super().data_received(data)
                    return
                self._gathering = self._open(head)
            data = self._gather(self._gathering, data, start)

    def _gather(self, exchange: Exchange, data: bytes, start: int) -> bytes:
        """Take the body behind a head that was known: no parser needs to see it. The rest is of the
        next request.
        """
        end = start + exchange.missing
        exchange.add(memoryview(data)[start:end])
        if not exchange.missing:
            self._gathering = None
            exchange.begin(memoryview(exchange.body), exchange.head.terms)
        return data[end:]

    # --- from the parser -----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        # uvicorn makes its scope here; it is made later, and only for what goes to the app.
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._between = False
        self._exchange = None

    def on_headers_complete(self) -> None:
        raw, self._raw_head = self._raw_head, NO_HEAD
        head = self._read_head()
        if head and self._may_answer(head):
            if raw and head.keep_alive and not head.asked_id:
                self.below.keep(raw, head)
            self._exchange = self._open(head)
            return
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        super().on_headers_complete()
        # A client that keeps its connection must not find it closed when the drain is over.
        if self.below.hub.draining and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if self._exchange is None:
            super().on_body(body)
        else:
            self._exchange.add(body)

    def on_message_complete(self) -> None:
        self._between = True
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            super().on_message_complete()
        elif not exchange.response_complete:
            exchange.begin(memoryview(exchange.body), exchange.head.terms)

    def reads(self, exchange: Exchange) -> bool:
        """Whether the call's body is not there yet."""
        return exchange is self._exchange or exchange is self._gathering

    def _read_head(self) -> Head | None:
        """What the parser read, where it is an infer call that no rule of the app is against."""
        below = self.below
        found = below.address(self.url)
        if not found or self.parser.get_method() != b"POST":
            return None
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or not LEFT_TO_THE_APP.isdisjoint(headers):
            return None
        if int(length) > below.hub.settings.max_body_bytes or len(headers) != len(self.headers):
            return None

        def header(name: str) -> str | None:
            value = headers.get(name.encode())
            return None if value is None else value.decode("latin-1")

        try:
            if below.gate.needs_keys:
                path = self.url.decode("latin-1")
                below.gate.check_key(headers.get(b"authorization", b""), "POST", path)
            terms = Terms.read(header, below.hub.settings.timeout_ms)
        except ServiceError:
            return None
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        return Head(self.url, *found, terms, int(length), keep_alive, header("x-request-id") or "")

    def _may_answer(self, head: Head) -> bool:
        """Nothing is under way on the connection, and the model is loaded. Answers go out in order:
        uvicorn keeps the line.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        return not self.flow.write_paused and self.below.find(head)

    def _open(self, head: Head) -> Exchange:
        assert head.found  # noqa: S101 - by _may_answer
        exchange = Exchange(self, head, *head.found)
        self.cycle = exchange  # type: ignore[assignment]
        return exchange

    # --- to the socket -------------------------------------------------------------------------

    def write(
        self, status: int, fields: bytes, chunks: Sequence[Chunk], *, keep_alive: bool
    ) -> None:
        """Status line, headers and body in one go."""
        lines = [STATUS_LINE[status]]
        for name, value in self.server_state.default_headers:
            lines += (name, b": ", value, b"\r\n")
        lines += (fields, b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
        self.transport.write(b"".join([*lines, *chunks]))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Bytes that are no HTTP are refused in the shape of any other refusal."""
        error = BadBody("expected an HTTP/1.1 request; got something else")
        response = self.below.encode_error(error, self.url.decode("latin-1") if self.url else "/")
        headers = [*response.raw_headers, (b"connection", b"close")]
        lines = [b"HTTP/1.1 400 Bad Request", *(b": ".join(header) for header in headers)]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        self.transport.close()

    # --- the end ---------------------------------------------------------------------------------

    def shutdown(self) -> None:
        super().shutdown()
        patience_s = self.config.timeout_graceful_shutdown
        if isinstance(self.cycle, Exchange) and patience_s is not None:
            self.loop.call_later(patience_s, self.cycle.stop)

    # --- idle connections ----------------------------------------------------------------------

    def on_response_complete(self) -> None:
        # uvicorn's, but one timer a connection instead of one a response.
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._await_idleness(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        """The timer looks for itself whether the connection was idle."""

    def _await_idleness(self, seconds: float) -> None:
        look = self.timeout_keep_alive_handler
        self.timeout_keep_alive_task = self.loop.call_later(seconds, look)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self.transport.is_closing():
            return
        busy = self.cycle is not None and not self.cycle.response_complete
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if busy or not self._between or left_s > 0:
            self._await_idleness(max(left_s, 1.0))
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.timeout_keep_alive_task:
            self.timeout_keep_alive_task.cancel()


def protocol_over(app: FastAPI, encode_error: EncodeError) -> type[HttpProtocol]:
    """The protocol class for a server of ``app``."""
    state = app.state

    class Bound(HttpProtocol):
        below = Below(state.hub, state.codecs, state.gate, encode_error)

    class LeftToTheApp(Bound):
        """Where traces are made every call may have a span, which only the app makes. Where only
        those are that a caller traces, nothing changes: they go to the app by their header.
        """

        def _read_head(self) -> None:
            return None

    tracing = state.hub.tracing
    return LeftToTheApp if tracing and not tracing.only_callers else Bound
