"""Metrics that add up."""

import pytest

from service.schema import BatchReport
from service.tally import NS, Duration, Tally
from service.telemetry import ROWS, SECONDS, Telemetry
from tests.service.conftest import Start
from tests.service.server import Server

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
    "modelhub_memory_budget_bytes": set(),
    "modelhub_load_seconds": {"model", "version", "phase"},
}
PROCESS: dict[str, set[str]] = {
    "process_resident_memory_bytes": set(),
    "process_cpu_seconds_total": set(),
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
    for name, expected in {**OURS, **PROCESS, **TRITONS}.items():
        found = [sample for sample in samples if sample.partition("{")[0] == name]
        assert found, name
        assert all(labels(sample) == expected for sample in found), name


def test_each_metric_of_ours_has_a_unit_or_is_a_count(server: Server) -> None:
    units = ("_seconds", "_bytes", "_rows", "_tokens", "_ratio", "_total", "_in_flight", "_running",
             "_waiting", "_ready")  # fmt: skip
    for line in server.client.get("/metrics").text.splitlines():
        if line.startswith("# TYPE modelhub_"):
            assert line.split()[2].endswith(units), line


def test_budget_of_memory_is_told(start: Start, server: Server) -> None:
    assert server.metric("modelhub_memory_budget_bytes") == 0
    bounded = start(server.store, max_memory_bytes=3 * 2**30)
    assert bounded.metric("modelhub_memory_budget_bytes") == 3 * 2**30
    assert bounded.metric("process_resident_memory_bytes") > 2**20


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
    for phase in ("verify", "load", "tune", "warm_up"):
        assert server.metric("modelhub_load_seconds", **sensor, phase=phase) > 0
    assert server.metric("modelhub_model_memory_bytes", **sensor) > 0


def test_unknown_paths_make_one_series_and_not_one_each(server: Server) -> None:
    before = server.metric("modelhub_requests_total", route="none", status="404")
    for place in range(3):
        assert server.client.get(f"/stranger/{place}").status_code == 404
    assert server.metric("modelhub_requests_total", route="none", status="404") == before + 3
    assert "stranger" not in server.client.get("/metrics").text


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


# --- plain numbers -----------------------------------------------------------------------------


def test_tally_counts_each_value_under_every_bound_that_it_is_not_above() -> None:
    tally = Tally((1, 2, 4))
    for value in (0, 1, 1.5, 2, 3, 4, 5, 100):
        tally.observe(value)
    assert tally.buckets() == [("1.0", 2), ("2.0", 4), ("4.0", 6), ("+Inf", 8)]
    assert tally.total == 116.5


@pytest.mark.parametrize("bounds", [SECONDS, ROWS])
def test_bounds_of_histograms_rise(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


def test_duration_counts_each_request_of_a_batch() -> None:
    duration = Duration()
    duration.add(0.5)
    duration.add(0.25, times=4)
    duration.add(9, times=0)
    assert (duration.count, duration.ns) == (5, 1.5 * NS)


def test_meter_tells_failed_runs_from_good_ones() -> None:
    meter = Telemetry().meter("m", 1)
    meter.batch(BatchReport(3, 0.5, [0.1, 0.2]))
    meter.batch(BatchReport(3, 0.25, [0.3]))
    meter.batch(BatchReport(4, 1.0, failed=True))
    assert (meter.rows, meter.runs) == (6, 3)
    assert set(meter.batches) == {3}
    assert (meter.batches[3].count, meter.batches[3].ns) == (2, 0.75 * NS)
    infer, queue = meter.durations["compute_infer"], meter.durations["queue"]
    assert (infer.count, infer.ns) == (3, 1.25 * NS)  # the time of a batch, for each of its own
    assert queue.count == 3
    assert queue.ns == pytest.approx(0.6 * NS)
    assert meter.batch_rows.total == 10


def test_meter_tells_requests_that_failed_by_their_reason() -> None:
    meter = Telemetry().meter("m", 1)
    assert meter.last_inference_ms == 0
    meter.request(0.5, "BACKEND")
    assert meter.last_inference_ms == 0
    meter.request(0.25, None)
    assert meter.last_inference_ms > 1_600_000_000_000  # milliseconds since 1970
    assert (meter.success, meter.failure["BACKEND"]) == (1, 1)
    assert meter.durations["fail"].ns == 0.5 * NS
    with pytest.raises(KeyError):
        meter.request(0.1, "WEATHER")


def test_version_that_was_unloaded_keeps_its_counts_and_has_no_memory() -> None:
    telemetry = Telemetry()
    meter = telemetry.meter("m", 1)
    meter.request(0.1, None)
    telemetry.memory.labels(*meter.labels).set(1000)
    assert "modelhub_model_memory_bytes{" in telemetry.exposition().decode()
    for _ in range(2):
        telemetry.unloaded(meter)
    text = telemetry.exposition().decode()
    assert "modelhub_model_memory_bytes{" not in text
    assert 'nv_inference_request_success{model="m",version="1"} 1.0' in text


def test_histograms_are_whole_for_prometheus() -> None:
    telemetry = Telemetry()
    telemetry.request("/v1", 200, 0.003)
    telemetry.request("/v1", 503, 20)
    lines = telemetry.exposition().decode().splitlines()
    counts = [float(line.split()[-1]) for line in lines
              if line.startswith("modelhub_request_seconds_bucket{")]  # fmt: skip
    assert counts == sorted(counts)
    assert len(counts) == len(SECONDS) + 1
    assert 'modelhub_request_seconds_count{route="/v1"} 2.0' in lines
    assert 'modelhub_request_seconds_sum{route="/v1"} 20.003' in lines
    assert 'modelhub_requests_total{route="/v1",status="503"} 1.0' in lines
