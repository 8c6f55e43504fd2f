"""Every metric name, and how log lines look. Nothing global: one Telemetry per app."""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from service.schema import BatchReport

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MODEL = ("model", "version")
TRITON_DURATIONS = ("request", "queue", "compute_input", "compute_infer", "compute_output")


class ModelMeter:
    """What one version has done. Plain numbers when hot; Prometheus reads them at a scrape."""

    def __init__(self, telemetry: "Telemetry", model: str, version: int) -> None:
        labels = {"model": model, "version": str(version)}
        self.labels = (model, str(version))
        self.success = 0
        self.failure = dict.fromkeys(("REJECTED", "CANCELED", "BACKEND", "OTHER"), 0)
        self.rows = 0
        self.runs = 0
        self.seconds = dict.fromkeys(TRITON_DURATIONS, 0.0)
        self.pending: Callable[[], int] = lambda: 0
        self._batch_rows = telemetry.batch_rows.labels(**labels)
        self._queue = telemetry.queue.labels(**labels)
        self._compute = telemetry.compute.labels(**labels)
        self._padding = telemetry.padding.labels(**labels)

    def batch(self, report: BatchReport) -> None:
        """Called from the lane's thread after each run."""
        self._batch_rows.observe(report.rows)
        self._compute.observe(report.compute_s)
        self.runs += 1
        if not report.failed:
            self.rows += report.rows
            self.seconds["compute_infer"] += report.compute_s
        for waited in report.queue_s:
            self._queue.observe(waited)
            self.seconds["queue"] += waited

    def stage(self, name: str, seconds: float) -> None:
        """Time spent before (``compute_input``) or after (``compute_output``) the graph."""
        self.seconds[name] += seconds

    def padded(self, real: int, padded: int) -> None:
        """Cells sent to the graph, and how many of them were real."""
        self._padding.inc(padded - real)

    def request(self, seconds: float, failure: str | None) -> None:
        """One request is over; ``failure`` is one of Triton's reasons."""
        if failure:
            self.failure[failure] += 1
        else:
            self.success += 1
            self.seconds["request"] += seconds


class Telemetry:
    """The registry and every metric in it."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each one, which nothing here reads
        self.registry = CollectorRegistry()
        self.meters: dict[tuple[str, int], ModelMeter] = {}

        def histogram(name: str, words: str, buckets: Iterable[float]) -> Histogram:
            return Histogram(name, words, MODEL, registry=self.registry, buckets=tuple(buckets))

        self.requests = Counter(
            "modelhub_requests", "HTTP requests by route and status",
            ("route", "status"), registry=self.registry,
        )  # fmt: skip
        self.total = Histogram(
            "modelhub_request_seconds", "From the first byte read to the last one sent",
            ("route",), registry=self.registry, buckets=SECONDS,
        )  # fmt: skip
        self.in_flight = Gauge(
            "modelhub_requests_in_flight", "Requests being answered", registry=self.registry
        )
        self.ready = Gauge("modelhub_ready", "1 when /readyz says yes", registry=self.registry)
        self.queue = histogram("modelhub_queue_seconds", "Waiting for a batch", SECONDS)
        self.compute = histogram("modelhub_compute_seconds", "One run of a graph", SECONDS)
        self.batch_rows = histogram("modelhub_batch_rows", "Rows in one run", ROWS)
        self.padding = Counter(
            "modelhub_padding_cells", "Cells computed only because of padding", MODEL,
            registry=self.registry,
        )  # fmt: skip
        self.memory = Gauge(
            "modelhub_model_memory_bytes", "Memory a loaded version took", MODEL,
            registry=self.registry,
        )  # fmt: skip
        self.load = Gauge(
            "modelhub_load_seconds", "Time of the last load by phase", (*MODEL, "phase"),
            registry=self.registry,
        )  # fmt: skip
        self.registry.register(_Triton(self))

    def meter(self, model: str, version: int) -> ModelMeter:
        """The version's meter; a version loaded again goes on counting."""
        key = (model, version)
        if key not in self.meters:
            self.meters[key] = ModelMeter(self, model, version)
        return self.meters[key]

    def exposition(self) -> bytes:
        """The text Prometheus scrapes."""
        return generate_latest(self.registry)


class _Triton(Collector):
    """Triton's metric names from the same numbers, so its dashboards and autoscaling rules work."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def describe(self) -> Iterable[Metric]:
        return []  # names depend on nothing; saves a scrape at registration

    def collect(self) -> Iterable[Metric]:
        meters = list(self._telemetry.meters.values())

        def metric(name: str, words: str, read: Callable[[ModelMeter], float]) -> Metric:
            family = _metric(name, words)
            for meter in meters:
                family.add_sample(
                    family.name, dict(zip(MODEL, meter.labels, strict=True)), read(meter)
                )
            return family

        yield metric("request_success", "Successful requests", lambda m: m.success)
        failures = _metric("request_failure", "Failed requests")
        for meter in meters:
            for reason, count in meter.failure.items():
                labels = dict(zip(MODEL, meter.labels, strict=True))
                failures.add_sample(failures.name, {**labels, "reason": reason}, count)
        yield failures
        yield metric("count", "Rows inferred", lambda m: m.rows)
        yield metric("exec_count", "Runs of the graph", lambda m: m.runs)
        for name in TRITON_DURATIONS:
            words = f"Cumulative {name.replace('_', ' ')} time in microseconds"
            yield metric(f"{name}_duration_us", words, partial(_microseconds, name))
        yield metric("pending_request_count", "Rows waiting for a run", lambda m: m.pending())


def _metric(name: str, words: str) -> Metric:
    # Untyped, because the client library puts _total behind every counter that it is told of,
    # and Triton's have none.
    return Metric(f"nv_inference_{name}", words, "unknown")


def _microseconds(stage: str, meter: ModelMeter) -> float:
    return int(meter.seconds[stage] * 1e6)


class JsonFormatter(logging.Formatter):
    """One JSON object a line; what a record carries in ``fields`` stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        words = " ".join(f"{key}={_plain(value)}" for key, value in fields.items())
        return f"{super().format(record)} {words}".rstrip()


def _plain(value: object) -> str:
    """A caller's path may hold line ends and terminal codes; they shall not shape the log."""
    text = str(value)
    return text if text.isprintable() else repr(text)


def configure_logging(log_format: str, level: str) -> None:
    """Send everything, uvicorn's lines too, to standard error in one format."""
    handler = logging.StreamHandler(sys.stderr)
    text = TextFormatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # Its lines of start and stop repeat ours.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
