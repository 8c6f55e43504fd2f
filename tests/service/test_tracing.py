"""Traces: one for each request, batches linked to what is in them, sent to a real receiver."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from tests.service.collector import Collector
from tests.service.conftest import Start
from tests.service.server import Server

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
ROUTE = "/v1/models/{ref}/score"
MAX_STOP_S = 10.0
SERVER = 2  # the protocol's number for a span that answers somebody


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def traced(
    store: Path, start: Start, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> Server:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    return start(store, otlp_endpoint=collector.url, threads=1)


def score(server: Server, *items: object, ref: str = "sensor", **headers: str) -> Any:
    return server.client.post(
        f"/v1/models/{ref}/score", json={"inputs": items}, headers=headers
    )  # fmt: skip


def infer(server: Server, **headers: str) -> Any:
    tensor = {"name": "table", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    body = json.dumps({"inputs": [tensor]}).encode()
    return server.client.post("/v2/models/sensor/infer", content=body, headers=headers)


def test_request_is_a_child_of_its_caller_with_queue_and_run_in_it(
    traced: Server, collector: Collector
) -> None:
    answer = score(traced, [1, 2, 3], traceparent=TRACEPARENT)
    assert answer.status_code == 200
    (batch,) = collector.await_spans("batch sensor@1~model")
    (request,) = collector.await_spans(f"POST {ROUTE}")
    queue, run = collector.of(TRACE_ID)["queue"], collector.of(TRACE_ID)["run"]
    assert (request.trace_id, request.parent_id, request.kind) == (TRACE_ID, PARENT_ID, SERVER)
    assert queue.parent_id == run.parent_id == request.span_id
    assert request.start <= queue.start <= queue.end <= run.start <= run.end <= request.end
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": ROUTE,
        "http.response.status_code": 200,
        "modelhub.request_id": answer.headers["X-Request-Id"],
        "modelhub.model": "sensor",
        "modelhub.version": 1,
    }
    assert batch.trace_id != TRACE_ID
    assert batch.links == [(TRACE_ID, request.span_id)]
    assert run.links == [(batch.trace_id, batch.span_id)]
    assert (run.start, run.end) == (batch.start, batch.end)
    assert {span.service for span in collector.spans} == {"modelhub"}
    assert collector.paths == {"/v1/traces"}


def test_batch_links_every_request_in_it(traced: Server, collector: Collector) -> None:
    def snail(rounds: int) -> int:
        item = {"value": 1, "rounds": rounds}
        return int(score(traced, item, ref="snail").status_code)

    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(snail, 300)
        rest = [pool.submit(snail, 1) for _ in range(8)]  # wait while the first one runs
        assert [one.result() for one in (first, *rest)] == [200] * 9
    requests = {(span.trace_id, span.span_id) for span in collector.await_spans(f"POST {ROUTE}", 9)}
    collector.await_spans("run", 9)
    batches = collector.named("batch snail@1~model")
    linked = [link for batch in batches for link in batch.links]
    assert sorted(linked) == sorted(requests)
    assert max(len(batch.links) for batch in batches) > 1
    for batch in batches:
        assert batch.attributes["modelhub.batch.requests"] == len(batch.links)
    back = {span.trace_id: span.links for span in collector.named("run")}
    for batch in batches:
        for trace_id, _ in batch.links:
            assert back[trace_id] == [(batch.trace_id, batch.span_id)]


def test_v2_calls_are_traced_too_with_and_without_a_caller(
    traced: Server, collector: Collector
) -> None:
    assert infer(traced).status_code == 200
    assert infer(traced, traceparent=TRACEPARENT).status_code == 200
    spans = collector.await_spans("POST /v2/models/{name}/infer", 2)
    collector.await_spans("run", 2)
    assert {bool(span.parent_id) for span in spans} == {False, True}
    for span in spans:
        assert {"queue", "run"} < set(collector.of(span.trace_id))


def test_row_that_fails_alone_marks_its_spans_and_refusals_have_one_too(
    traced: Server, collector: Collector
) -> None:
    assert score(traced, [1, 2, 30], traceparent=TRACEPARENT).status_code == 500
    assert score(traced, [1, 2]).status_code == 422
    collector.await_spans("run")
    spans = collector.await_spans(f"POST {ROUTE}", 2)
    told = {span.attributes["http.response.status_code"]: span.failed for span in spans}
    assert told == {500: True, 422: False}
    assert collector.of(TRACE_ID)["run"].failed
    assert collector.named("batch sensor@1~model")[0].failed


def test_log_lines_of_a_request_carry_its_trace(traced: Server, collector: Collector) -> None:
    answer = score(traced, [1, 2, 30], traceparent=TRACEPARENT)
    lines = traced.logged(answer.headers["X-Request-Id"])
    assert [line["trace_id"] for line in lines] == [TRACE_ID] * 2  # the error and the access line
    assert all("trace_id" not in line for line in traced.log() if "loaded" in line["message"])
    collector.await_spans(f"POST {ROUTE}")


def test_probes_make_no_traces_and_the_rest_is_sent_before_the_end(
    store: Path, start: Start, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    server = start(store, otlp_endpoint=collector.url)
    assert server.client.get("/readyz").status_code == 200
    assert score(server, [1, 2, 3]).status_code == 200
    assert collector.spans == []
    assert server.stop() == 0
    names = {"queue", "run", "batch sensor@1~model", f"POST {ROUTE}"}
    assert {span.name for span in collector.spans} == names


def test_caller_that_does_not_sample_is_not_traced(traced: Server, collector: Collector) -> None:
    assert score(traced, [1, 2, 3], traceparent=f"{TRACEPARENT[:-2]}00").status_code == 200
    assert score(traced, [1, 2, 3]).status_code == 200
    (request,) = collector.await_spans(f"POST {ROUTE}")
    (batch,) = collector.await_spans("batch sensor@1~model")
    assert request.trace_id != TRACE_ID
    assert batch.links == [(request.trace_id, request.span_id)]


def test_collector_that_is_away_holds_nobody_up(store: Path, start: Start) -> None:
    server = start(store, otlp_endpoint="http://127.0.0.1:1")
    assert score(server, [1, 2, 3]).status_code == 200
    stopped = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - stopped < MAX_STOP_S


def test_endpoint_is_read_from_the_variable_that_the_field_uses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Settings().otlp_endpoint == ""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://theirs:4318")
    assert Settings().otlp_endpoint == "http://theirs:4318"
    monkeypatch.setenv("MODELHUB_OTLP_ENDPOINT", "http://ours:4318")
    assert Settings().otlp_endpoint == "http://ours:4318"
    assert Settings(otlp_endpoint="http://given:4318").otlp_endpoint == "http://given:4318"


OPTIONAL = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "requests")

PROBE = """
import sys
if sys.argv[1] == "absent":
    sys.modules["opentelemetry.sdk"] = None  # as if it were not installed
import logging
logging.basicConfig(format="%(message)s")
from service.app import create_app
from service.httpd import HttpProtocol, protocol_over
from service.settings import Settings
app = create_app(Settings(store=".", otlp_endpoint=sys.argv[2]))
kind = protocol_over(app, None)
print(kind._read_head is HttpProtocol._read_head, *sorted(sys.modules))
"""


def probe(library: str, endpoint: str) -> tuple[bool, set[str], str]:
    """Whether calls are answered below the app, the modules imported, and what was logged."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, library, endpoint],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    below, *modules = done.stdout.split()
    return below == "True", set(modules), done.stderr


def test_without_an_endpoint_nothing_of_it_is_imported_and_calls_stay_below_the_app() -> None:
    below, modules, said = probe("present", "")
    assert below
    # FastAPI imports the library's interface itself, which does nothing without these.
    assert not [name for name in modules if name.startswith(OPTIONAL)]
    assert said == ""


def test_with_an_endpoint_the_app_answers_every_call() -> None:
    below, modules, _ = probe("present", "http://127.0.0.1:1")
    assert not below
    assert "opentelemetry.sdk.trace" in modules


def test_where_only_callers_begin_traces_the_others_calls_stay_below_the_app(
    monkeypatch: pytest.MonkeyPatch, store: Path, start: Start, collector: Collector
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    assert probe("present", "http://127.0.0.1:1")[0]
    server = start(store, otlp_endpoint=collector.url)
    assert infer(server).status_code == 200
    assert infer(server, traceparent=TRACEPARENT).status_code == 200
    (span,) = collector.await_spans("POST /v2/models/{name}/infer")
    assert span.trace_id == TRACE_ID
    collector.await_spans("run")
    assert {span.trace_id for span in collector.named("run")} == {TRACE_ID}


def test_without_the_library_the_log_says_what_to_install_and_the_server_serves() -> None:
    below, _, said = probe("absent", "http://collector:4318")
    assert below
    assert "no traces are sent to http://collector:4318: " in said
    assert "pip install 'modelhub[otel]'" in said
