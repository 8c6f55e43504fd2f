"""Every metric name. Nothing global: one Telemetry per app.

What happens per request or per batch is counted in plain numbers on the event loop and made into
Prometheus samples at a scrape; the client library's own counters would cost more than the routing.
"""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from service import token_meter
from service.errors import DeadlinePassed, ModelFault, NotReady, Overloaded
from service.schema import BatchReport
from service.tally import MODEL, Duration, Tally, histogram
from service.token_meter import TokenMeter

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
STAGES = ("queue", "compute_input", "compute_infer", "compute_output")


def reason_of(error: Exception) -> str:
    """Triton's word for why a request failed."""
    if isinstance(error, (DeadlinePassed, NotReady, Overloaded)):
        return "REJECTED"
    return "BACKEND" if isinstance(error, ModelFault) else "OTHER"


class ModelMeter:
    """What one version has done. Written on the event loop only."""

    def __init__(self, model: str, version: int) -> None:
        self.labels = (model, str(version))
        self.failure = dict.fromkeys(("REJECTED", "CANCELED", "BACKEND", "OTHER"), 0)
        self.rows = 0
        """Rows inferred."""
        self.runs = 0
        """Runs of a graph, failed ones too."""
        self.durations = {name: Duration() for name in ("success", "fail", *STAGES)}
        """Per request; the time of a batch counts for each request that begins in it."""
        self.batches: dict[int, Duration] = defaultdict(Duration)
        """Rows in a run → runs that went well."""
        self.last_inference_ms = 0
        """Unix milliseconds; 0 when there was none."""
        self.pending: Callable[[], int] = lambda: 0
        self.queue_s, self.compute_s = Tally(SECONDS), Tally(SECONDS)
        self.batch_rows = Tally(ROWS)
        self.padding_cells = 0
        self.tokens: TokenMeter | None = None
        """Of a version that is run token by token."""

    @property
    def success(self) -> int:
        return self.durations["success"].count

    def batch(self, report: BatchReport) -> None:
        """One run of a graph is over."""
        self.batch_rows.observe(report.rows)
        self.compute_s.observe(report.compute_s)
        self.runs += 1
        if not report.failed:
            self.rows += report.rows
            self.durations["compute_infer"].add(report.compute_s, len(report.queue_s))
            self.batches[report.rows].add(report.compute_s)
        queue = self.durations["queue"]
        for waited in report.queue_s:
            self.queue_s.observe(waited)
            queue.add(waited)

    def stage(self, name: str, seconds: float) -> None:
        """Time spent before (``compute_input``) or after (``compute_output``) the graph."""
        self.durations[name].add(seconds)

    def succeeded(self, input_s: float, output_s: float, total_s: float) -> None:
        """The two stages and the request in one: a call that only passes tensors takes this way."""
        durations = self.durations
        durations["compute_input"].add(input_s)
        durations["compute_output"].add(output_s)
        durations["success"].add(total_s)
        self.last_inference_ms = int(time.time() * 1000)

    def padded(self, real: int, padded: int) -> None:
        """Cells sent to the graph, and how many of them were real."""
        self.padding_cells += padded - real

    def request(self, seconds: float, failure: str | None) -> None:
        """One request is over; ``failure`` is one of Triton's reasons."""
        if failure:
            self.failure[failure] += 1
            self.durations["fail"].add(seconds)
        else:
            self.durations["success"].add(seconds)
            self.last_inference_ms = int(time.time() * 1000)


@contextlib.contextmanager
def metered(meter: ModelMeter) -> Iterator[None]:
    """Around a request: how long it took, and why it failed. Raises DeadlinePassed where its time
    ran out, else what was raised inside.
    """
    started = time.monotonic()
    failure: str | None = "CANCELED"
    try:
        yield
        failure = None
    except TimeoutError:
        failure = "REJECTED"
        raise DeadlinePassed("the request's deadline passed") from None
    except Exception as error:
        failure = reason_of(error)
        raise
    finally:
        meter.request(time.monotonic() - started, failure)


class Telemetry:
    """The registry and every metric in it."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each one, which nothing here reads
        self.registry = CollectorRegistry()
        self.meters: dict[tuple[str, int], ModelMeter] = {}
        self.requests: dict[tuple[str, str], int] = defaultdict(int)
        """(route, status) → answered."""
        self.request_s: dict[str, Tally] = defaultdict(lambda: Tally(SECONDS))
        """Route → from the first byte read to the last one sent."""
        self.in_flight = 0
        self.ready = Gauge("modelhub_ready", "1 when /readyz says yes", registry=self.registry)
        self.memory = Gauge(
            "modelhub_model_memory_bytes", "Memory a loaded version took", MODEL,
            registry=self.registry,
        )  # fmt: skip
        self.memory_budget = Gauge(
            "modelhub_memory_budget_bytes", "What loaded versions may take in all; 0: no budget",
            registry=self.registry,
        )  # fmt: skip
        self.load = Gauge(
            "modelhub_load_seconds", "Time of the last load by phase", (*MODEL, "phase"),
            registry=self.registry,
        )  # fmt: skip
        ProcessCollector(registry=self.registry)
        self.registry.register(_Own(self))
        self.registry.register(_Triton(self.meters))

    def meter(self, model: str, version: int) -> ModelMeter:
        """The version's meter; a version loaded again goes on counting."""
        key = (model, version)
        if key not in self.meters:
            self.meters[key] = ModelMeter(model, version)
        return self.meters[key]

    def unloaded(self, meter: ModelMeter) -> None:
        """The version is no longer in memory; what it did stays counted."""
        with contextlib.suppress(KeyError):
            self.memory.remove(*meter.labels)

    def request(self, route: str, status: int, seconds: float) -> None:
        """One HTTP request was answered."""
        self.requests[route, str(status)] += 1
        self.request_s[route].observe(seconds)

    def exposition(self) -> bytes:
        """The text Prometheus scrapes."""
        return generate_latest(self.registry)


class _Own(Collector):
    """``modelhub_*``, in base units."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def describe(self) -> Iterable[Metric]:
        return []  # names depend on nothing; saves a scrape at registration

    def collect(self) -> Iterable[Metric]:
        telemetry = self._telemetry
        requests = CounterMetricFamily(
            "modelhub_requests", "HTTP requests by route and status", labels=("route", "status")
        )
        for labels, number in list(telemetry.requests.items()):
            requests.add_metric(labels, number)
        yield requests
        in_flight = Metric("modelhub_requests_in_flight", "Requests being answered", "gauge")
        in_flight.add_sample(in_flight.name, {}, telemetry.in_flight)
        yield in_flight
        routes: dict[tuple[str, ...], Tally] = {
            (route,): tally for route, tally in telemetry.request_s.items()
        }
        yield histogram("request_seconds", "From the first byte read to the last one sent",
                         ("route",), routes)  # fmt: skip
        meters = list(telemetry.meters.values())
        histograms: tuple[tuple[str, str, Callable[[ModelMeter], Tally]], ...] = (
            ("queue_seconds", "Waiting for a batch", lambda m: m.queue_s),
            ("compute_seconds", "One run of a graph", lambda m: m.compute_s),
            ("batch_rows", "Rows in one run", lambda m: m.batch_rows),
        )
        for name, words, read in histograms:
            yield histogram(name, words, MODEL, {m.labels: read(m) for m in meters})
        padding = CounterMetricFamily(
            "modelhub_padding_cells", "Cells computed only because of padding", labels=MODEL
        )
        for meter in meters:
            padding.add_metric(meter.labels, meter.padding_cells)
        yield padding
        yield from token_meter.collect({m.labels: m.tokens for m in meters if m.tokens})


class _Triton(Collector):
    """Triton's metric names from the same numbers, so its dashboards and autoscaling rules work."""

    def __init__(self, meters: Mapping[tuple[str, int], ModelMeter]) -> None:
        self._meters = meters

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        meters = list(self._meters.values())

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
        for stage in ("request", *STAGES):
            words = f"Cumulative {stage.replace('_', ' ')} time in microseconds"
            key = "success" if stage == "request" else stage
            yield metric(f"{stage}_duration_us", words, partial(_microseconds, key))
        yield metric("pending_request_count", "Rows waiting for a run", lambda m: m.pending())


def _microseconds(stage: str, meter: ModelMeter) -> float:
    return meter.durations[stage].ns // 1000


def _metric(name: str, words: str) -> Metric:
    # Untyped, because the client library puts _total behind every counter that it is told of,
    # and Triton's have none.
    return Metric(f"nv_inference_{name}", words, "unknown")
