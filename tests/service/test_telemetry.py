"""Metrics that add up, and log lines that parse."""

import json
import logging
import sys

import pytest

from service.schema import BatchReport
from service.telemetry import JsonFormatter, Telemetry, TextFormatter
from tests.service.conftest import Start
from tests.service.server import Server, patience

OURS = {
    "modelhub_requests_total": {"route", "status"},
    "modelhub_request_seconds_count": {"route"},
    "modelhub_requests_in_flight": set(),
    "modelhub_ready": set(),
    "modelhub_queue_seconds_count": {"model", "version"},
    "modelhub_compute_seconds_count": {"model", "version"},
    "modelhub_batch_rows_count": {"model", "version"},
    "modelhub_padding_cells_total": {"model", "version"},
    "modelhub_model_memory_bytes": {"model", "version"},
    "modelhub_load_seconds": {"model", "version", "phase"},
}
TRITONS = {
    "nv_inference_request_success": {"model", "version"},
    "nv_inference_request_failure": {"model", "version", "reason"},
    "nv_inference_count": {"model", "version"},
    "nv_inference_exec_count": {"model", "version"},
    "nv_inference_request_duration_us": {"model", "version"},
    "nv_inference_queue_duration_us": {"model", "version"},
    "nv_inference_compute_input_duration_us": {"model", "version"},
    "nv_inference_compute_infer_duration_us": {"model", "version"},
    "nv_inference_compute_output_duration_us": {"model", "version"},
    "nv_inference_pending_request_count": {"model", "version"},
}


def labels(sample: str) -> set[str]:
    _, _, inside = sample.partition("{")
    return {part.partition("=")[0] for part in inside.rstrip("}").split('",') if part}


def test_every_metric_of_the_contract_is_there_with_its_labels(server: Server) -> None:
    assert server.predict("score", "sensor", [1, 2, 0]).status_code == 200
    response = server.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    samples = [line.rpartition(" ")[0] for line in response.text.splitlines() if line[0] != "#"]
    for name, expected in {**OURS, **TRITONS}.items():
        found = [sample for sample in samples if sample.partition("{")[0] == name]
        assert found, name
        assert all(labels(sample) == expected for sample in found), name


def test_each_metric_of_ours_has_a_unit_or_is_a_count(server: Server) -> None:
    units = ("_seconds", "_bytes", "_rows", "_total", "_in_flight", "_ready")
    for line in server.client.get("/metrics").text.splitlines():
        if line.startswith("# TYPE modelhub_"):
            assert line.split()[2].endswith(units), line


def test_numbers_add_up_after_known_traffic(start: Start, server: Server) -> None:
    server = start(server.store)
    assert server.metric("nv_inference_request_success", model="words") == 0
    for _ in range(3):
        assert server.predict("predict", "words", "good", "good bad").status_code == 200
    assert server.predict("predict", "words", 5).status_code == 422
    assert server.predict("score", "sensor", [1, 2, 99], [1, 2, 0]).status_code == 500
    assert server.predict("predict", "nothing", 1).status_code == 404

    def words(name: str, **more: str) -> float:
        return server.metric(name, model="words", version="1", **more)

    assert words("nv_inference_request_success") == 3
    assert words("nv_inference_request_failure", reason="OTHER") == 1
    assert words("nv_inference_count") == 6
    runs = words("nv_inference_exec_count")
    assert 3 <= runs <= 6
    assert words("modelhub_compute_seconds_count") == runs
    assert words("modelhub_batch_rows_count") == runs
    assert words("modelhub_batch_rows_sum") == 6
    assert words("modelhub_queue_seconds_count") == 3
    assert words("modelhub_padding_cells_total") == 3 * (3 + 2) * 2
    assert words("nv_inference_pending_request_count") == 0
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    spent = sum(words(f"nv_inference_{part}_duration_us") for part in parts)
    assert 0 < spent <= words("nv_inference_request_duration_us")

    sensor = {"model": "sensor", "version": "1"}
    assert server.metric("nv_inference_request_failure", **sensor, reason="BACKEND") == 1
    assert server.metric("nv_inference_request_success", **sensor) == 0

    route = "/v1/models/{ref}/predict"
    assert server.metric("modelhub_requests_total", route=route, status="200") == 3
    assert server.metric("modelhub_requests_total", route=route, status="422") == 1
    assert server.metric("modelhub_requests_total", route=route, status="404") == 1
    assert server.metric("modelhub_request_seconds_count", route=route) == 5
    assert server.metric("modelhub_requests_in_flight") == 1  # this very scrape
    assert server.metric("modelhub_ready") == 1
    for phase in ("verify", "load", "warm_up"):
        assert server.metric("modelhub_load_seconds", **sensor, phase=phase) > 0
    assert server.metric("modelhub_model_memory_bytes", **sensor) > 0


def test_unknown_paths_make_one_series_and_not_one_each(server: Server) -> None:
    before = server.metric("modelhub_requests_total", route="none", status="404")
    for place in range(3):
        assert server.client.get(f"/stranger/{place}").status_code == 404
    assert server.metric("modelhub_requests_total", route="none", status="404") == before + 3
    assert "stranger" not in server.client.get("/metrics").text


def test_log_line_carries_the_request_and_where_its_time_went(server: Server) -> None:
    headers = {"X-Request-Id": "log-line-1"}
    body = {"inputs": [[1, 2, 0]]}
    server.client.post("/v1/models/sensor/score", json=body, headers=headers)
    for _ in patience():
        if lines := server.logged("log-line-1"):
            break
    assert len(lines) == 1
    line = lines[0]
    assert line["level"] == "info"
    assert line["method"] == "POST"
    assert line["path"] == "/v1/models/sensor/score"
    assert (line["model"], line["version"], line["status"]) == ("sensor", 1, 200)
    assert line["queue_ms"] >= 0
    assert 0 < line["compute_ms"] <= line["ms"]


def test_fault_is_logged_with_its_request_and_every_line_is_json(server: Server) -> None:
    headers = {"X-Request-Id": "log-fault-1"}
    body = {"inputs": [[1, 2, 99]]}
    server.client.post("/v1/models/sensor/score", json=body, headers=headers)
    for _ in patience():
        lines = server.logged("log-fault-1")
        if len(lines) == 2:
            break
    assert {line["level"] for line in lines} == {"error", "info"}
    assert any("indices element out of data bounds" in line.get("exception", "")
               for line in server.log())  # fmt: skip


def test_probes_do_not_fill_the_log(server: Server) -> None:
    server.client.get("/readyz", headers={"X-Request-Id": "log-probe-1"})
    server.client.get("/v1/models", headers={"X-Request-Id": "log-probe-2"})
    for _ in patience():
        if server.logged("log-probe-2"):
            break
    assert server.logged("log-probe-1") == []


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("name", logging.INFO, "file", 1, message, (), None)
    made.fields = fields
    return made


def test_json_line_holds_whatever_it_is_given() -> None:
    try:
        raise ValueError('a "quoted"\nfault')
    except ValueError:
        made = record("two\nlines", path="/a\n/b", number=3, thing=object())
        made.exc_info = sys.exc_info()
    text = JsonFormatter().format(made)
    assert "\n" not in text
    line = json.loads(text)
    assert line["message"] == "two\nlines"
    assert (line["path"], line["number"]) == ("/a\n/b", 3)
    assert 'ValueError: a "quoted"' in line["exception"]


@pytest.mark.parametrize("path", ["/a\nERROR all is lost", "/a\x1b[2J", "/a\rb", "/a\u2028b"])
def test_callers_text_does_not_shape_the_log_for_people(path: str) -> None:
    text = TextFormatter("%(message)s").format(record("request", path=path, status=404))
    assert text.splitlines() == [text]
    assert text.isprintable()
    assert text.endswith("status=404")


def test_meter_of_a_version_loaded_again_goes_on_counting() -> None:
    telemetry = Telemetry()
    telemetry.meter("m", 1).batch(BatchReport(3, 0.5, [0.1]))
    telemetry.meter("m", 1).batch(BatchReport(2, 0.5, [0.1], failed=True))
    assert telemetry.meter("m", 1).rows == 3
    assert telemetry.meter("m", 1).runs == 2
    assert 'nv_inference_count{model="m",version="1"} 3.0' in telemetry.exposition().decode()


def test_two_apps_in_one_process_have_numbers_of_their_own() -> None:
    one, other = Telemetry(), Telemetry()
    one.meter("m", 1).request(0.1, None)
    assert 'nv_inference_request_success{model="m"' not in other.exposition().decode()
