"""Traces by OpenTelemetry, sent by OTLP over HTTP. Imports the library only when asked for them.

A request is a span, child of the caller's (``traceparent``); in it lie ``queue``, from arrival to
the batch that takes it, and ``run``, the graph's time. The batch is a span of its own, in a trace
of its own, with a link to every request in it, as each ``run`` has one to the batch.

The library's own variables hold: OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and their like.
"""

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

PATH = "/v1/traces"
NS = 1_000_000_000
CLOSE_MS = 3000


class Piece(NamedTuple):
    """What a batch took of one request. Times are on the monotonic clock."""

    context: Any
    """Of the request's span, as :meth:`Tracing.current` gave it."""
    arrived: float
    taken: float
    first: bool
    """Nothing of the request was in an earlier batch."""


def open_tracing(endpoint: str) -> "Tracing | None":
    """None without an endpoint or, with a word in the log, without the library."""
    if not endpoint:
        return None
    try:
        return Tracing(endpoint)
    except ImportError as error:
        log.warning("no traces are sent to %s: %s; pip install 'modelhub[otel]'", endpoint, error)
        return None


class Tracing:
    """Makes spans and sends them in the background; what cannot be sent is dropped with a word in
    the log. Used from any thread.
    """

    def __init__(self, endpoint: str) -> None:
        """Raises ImportError."""
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create({SERVICE_VERSION: version("modelhub")})
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "modelhub"}))
        url = endpoint.rstrip("/")
        exporter = OTLPSpanExporter(endpoint=url if url.endswith(PATH) else url + PATH)
        self._processor = BatchSpanProcessor(exporter)
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        # A batch is recorded if one of its requests is, whatever a sampler would say of it alone.
        batches = TracerProvider(resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False)
        for one in (provider, batches):
            one.add_span_processor(self._processor)
        self.only_callers = "root:AlwaysOff" in provider.sampler.get_description()
        """Nothing is traced but what its caller traces (OTEL_TRACES_SAMPLER)."""
        self._trace = trace
        self._requests = provider.get_tracer("modelhub")
        self._batches = batches.get_tracer("modelhub")
        self._propagator = TraceContextTextMapPropagator()

    # --- a request -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def request(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> Iterator[Any]:
        """Its span, current in the ``with`` block; :meth:`tell` says what became of it."""
        sent = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in headers
            if name in (b"traceparent", b"tracestate")
        }
        with self._requests.start_as_current_span(
            method, self._propagator.extract(sent), self._trace.SpanKind.SERVER,
            attributes={"http.request.method": method},
        ) as span:  # fmt: skip
            yield span

    def tell(self, span: Any, route: str, status: int, facts: Mapping[str, Any]) -> None:
        """Name and attributes, once they are known."""
        method = span.attributes["http.request.method"] if span.is_recording() else ""
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", status)
        for key in ("request_id", "model", "version"):
            if key in facts:
                span.set_attribute(f"modelhub.{key}", facts[key])
        if status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)

    @property
    def trace_id(self) -> str:
        """Of the span that is current here, or the empty string."""
        context = self._trace.get_current_span().get_span_context()
        return f"{context.trace_id:032x}" if context.is_valid else ""

    def current(self) -> Any:
        """The context to hang a request's spans on; None where it is not recorded."""
        span = self._trace.get_current_span()
        return self._trace.set_span_in_context(span) if span.is_recording() else None

    # --- a batch -------------------------------------------------------------------------------

    def batch(
        self, name: str, pieces: Iterable[Piece], started: float, ended: float, *, failed: bool
    ) -> None:
        """One run of a graph is over. Never raises: the answers are worth more."""
        recorded = [piece for piece in pieces if piece.context is not None]
        if not recorded:
            return
        try:
            self._batch(name, recorded, started, ended, failed=failed)
        except Exception:
            log.exception("a batch could not be traced")

    def _batch(
        self, name: str, pieces: list[Piece], started: float, ended: float, *, failed: bool
    ) -> None:
        trace, offset = self._trace, time.time_ns() - time.monotonic_ns()
        begin, end = (offset + int(at * NS) for at in (started, ended))
        requests = [trace.get_current_span(p.context).get_span_context() for p in pieces]
        batch = self._batches.start_span(
            f"batch {name}", trace.set_span_in_context(trace.INVALID_SPAN),
            links=[trace.Link(context) for context in requests], start_time=begin,
            attributes={"modelhub.batch.requests": len(pieces)},
        )  # fmt: skip
        link = trace.Link(batch.get_span_context())
        for piece in pieces:
            if piece.first:
                waited = (offset + int(at * NS) for at in (piece.arrived, piece.taken))
                self._child("queue", piece, *waited)
            self._child("run", piece, begin, end, [link], failed=failed)
        if failed:
            batch.set_status(trace.StatusCode.ERROR)
        batch.end(end)

    def _child(
        self, name: str, piece: Piece, begin: int, end: int, links: Any = (), *,
        failed: bool = False,
    ) -> None:  # fmt: skip
        span = self._requests.start_span(name, piece.context, links=links, start_time=begin)
        if failed:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(end)

    def close(self) -> None:
        """Send what is left. Blocks, for seconds at most."""
        self._processor.force_flush(CLOSE_MS)
        self._processor.shutdown()  # type: ignore[no-untyped-call] # it is, in the library
