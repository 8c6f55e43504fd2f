"""``modelhub serve`` from the outside: what it refuses, what it says, and how it leaves."""

import concurrent.futures
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store.cli import main
from model_store.manifest import Draft, Manifest
from tests.service.bundles import sensor, snail
from tests.service.conftest import Start
from tests.service.loads import adding
from tests.service.server import MODELHUB, PATIENCE_S, Server, patience, serving

Publish = Callable[..., Manifest]
MAX_STOP_S = 10.0
"""What the README promises for the end after a signal."""
SIGNALS = [signal.SIGTERM, signal.SIGINT]


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Path.exists, Path.touch])
def test_serve_refuses_a_store_that_is_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], object]
) -> None:
    store = tmp_path / "nowhere"
    make(store)
    assert main(["serve", "--store", str(store)]) == 2
    said = capsys.readouterr().err
    assert f"--store {store}: expected a folder of models" in said
    assert said.count("\n") == 1


def refused(store: Path, *flags: str) -> str:
    run = subprocess.run(
        [MODELHUB, "serve", "--store", store, *flags],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
    return run.stderr


def test_serve_refuses_a_port_that_is_taken(store: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(store, "--port", str(port))
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in said


def test_serve_refuses_a_host_that_is_not_here(store: Path) -> None:
    assert "cannot listen on 192.0.2.1:0" in refused(store, "--host", "192.0.2.1", "--port", "0")


# --- starting ----------------------------------------------------------------------------------


def test_serve_says_where_to_look_and_each_place_answers(server: Server) -> None:
    lines = server.lines()
    assert lines[0] == f"modelhub serves on {server.url}"
    places = [line.split()[0] for line in lines[1:]]
    assert {"/", "/docs", "/v1/models", "/readyz", "/metrics"} == {
        place.removeprefix(server.url) for place in places
    }
    for place in places:
        assert server.client.get(place).status_code == 200


def test_serve_over_an_empty_store_lives_but_is_not_ready(root: Path, tmp_path: Path) -> None:
    with serving(root, tmp_path, await_ready=False) as server:
        for _ in patience():
            answer = server.client.get("/readyz").json()
            if answer["reason"] != "loading":
                break
        assert answer["reason"] == "the store has no models"
        assert server.client.get("/livez").status_code == 200
        assert server.client.get("/v1/models").json() == {"object": "list", "data": []}
        assert server.stop() == 0


def test_one_broken_bundle_is_shown_and_the_rest_serve(
    root: Path, put: Publish, tmp_path: Path
) -> None:
    put(sensor)
    put(sensor, "spoilt")
    (root / "spoilt" / "1" / "model.onnx").write_bytes(b"other")
    with serving(root, tmp_path, await_ready=False) as server:
        for _ in patience():
            answer = server.client.get("/readyz")
            if answer.json()["reason"] != "loading":
                break
        assert answer.status_code == 503
        assert answer.json()["reason"] == "not loaded: spoilt"
        assert server.predict("score", "sensor", [1, 2, 0]).status_code == 200
        refusal = server.predict("score", "spoilt", [1, 2, 0])
        assert refusal.status_code == 503
        assert "model.onnx was changed" in refusal.json()["detail"]
        entries = {entry["id"]: entry for entry in server.client.get("/v1/models").json()["data"]}
        assert entries["spoilt"]["state"] == "failed"
        assert "model.onnx" in entries["spoilt"]["reason"]
        assert server.stop() == 0


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
def test_serve_listens_on_ipv6(start: Start, store: Path) -> None:
    server = start(store, "--host", "::1")
    assert server.url.startswith("http://[::1]:")
    assert server.predict("score", "sensor", [1, 2, 0]).status_code == 200


# --- leaving -----------------------------------------------------------------------------------


def stop_s(server: Server, *signals: signal.Signals) -> float:
    """Seconds from the last signal to a clean end."""
    for number in signals:
        server.signal(number)
    since = time.monotonic()
    assert server.process.wait(PATIENCE_S) == 0
    return time.monotonic() - since


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_under_load_loses_no_answer(
    start: Start, store: Path, number: signal.Signals
) -> None:
    server = start(store)
    answered: dict[str, float] = {}
    numbers = itertools.count()
    stopping = threading.Event()

    def ask_until_gone() -> None:
        with httpx.Client(base_url=server.url, timeout=PATIENCE_S) as client:
            while True:
                value = next(numbers)
                body = {"inputs": [[100, value]]}
                headers = {"X-Request-Id": f"load-{value}"}
                try:
                    response = client.post("/v1/models/snail/score", json=body, headers=headers)
                except httpx.TransportError:
                    assert stopping.is_set()  # never before the signal
                    return
                assert response.status_code == 200
                assert response.json()["outputs"][0]["score"] == value
                answered[f"load-{value}"] = value

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(ask_until_gone) for _ in range(6)]
        while len(answered) < 20:
            time.sleep(0.01)
        stopping.set()
        assert stop_s(server, number) < MAX_STOP_S
        for client in clients:
            client.result()
    lines = [line for line in server.log() if line.get("path", "").endswith("score")]
    assert {line["status"] for line in lines} == {200}
    # Whatever the server took up it answered, and the client has it.
    assert {line["request_id"] for line in lines} == set(answered)


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_finishes_every_request_in_hand(
    start: Start, store: Path, number: signal.Signals
) -> None:
    server = start(store, shutdown_s=60)
    values = range(6)  # more than fit into one batch
    with concurrent.futures.ThreadPoolExecutor(len(values)) as pool:
        asks = [pool.submit(server.predict, "score", "snail", [3000, value]) for value in values]
        while server.metric("modelhub_requests_in_flight") <= len(values):  # this scrape is one
            assert not any(ask.done() for ask in asks)
        stop_s(server, number)
        assert [ask.result().json()["outputs"][0]["score"] for ask in asks] == list(values)


def test_readyz_says_draining_while_answers_go_on(start: Start, store: Path) -> None:
    server = start(store, drain_s=3000)
    server.signal()
    for _ in patience():
        if server.client.get("/readyz").status_code == 503:
            break
    for path in ("/readyz", "/v2/health/ready"):
        assert server.client.get(path).json()["reason"] == "draining"
    assert server.client.get("/livez").status_code == 200
    assert server.metric("modelhub_ready") == 0
    assert server.predict("score", "sensor", [1, 2, 0]).status_code == 200
    assert stop_s(server, signal.SIGTERM) < MAX_STOP_S  # a second signal ends the drain


@pytest.mark.parametrize("path", ["/v2/models/sensor/infer", "/v1/models/sensor/score"])
def test_draining_server_sends_its_clients_to_other_connections(
    start: Start, store: Path, path: str
) -> None:
    server = start(store, drain_s=3000)
    column = {"name": "table", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 0]}
    body = {"inputs": [column if path.startswith("/v2") else [1, 2, 0]]}
    assert "Connection" not in server.client.post(path, json=body).headers
    server.signal()
    for _ in patience():
        if server.client.get("/readyz").status_code == 503:
            break
    response = server.client.post(path, json=body)
    assert response.status_code == 200
    assert response.headers["Connection"] == "close"
    assert stop_s(server, signal.SIGTERM) < MAX_STOP_S


def test_drain_ends_by_itself(start: Start, store: Path) -> None:
    assert stop_s(start(store, drain_s=0.2), signal.SIGTERM) < MAX_STOP_S


def test_run_that_does_not_end_does_not_hold_the_exit(start: Start, store: Path) -> None:
    server = start(store, shutdown_s=1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ask = pool.submit(server.predict, "score", "snail", [200_000, 1])
        while server.metric("modelhub_requests_in_flight") < 2:
            time.sleep(0.01)
        assert stop_s(server, signal.SIGTERM) < MAX_STOP_S
        assert ask.result().status_code == 503
        assert ask.result().json()["title"] == "Not ready"
    assert server.log()[-1]["status"] == 503


def test_client_that_never_ends_its_body_does_not_hold_the_exit(start: Start, store: Path) -> None:
    server = start(store, shutdown_s=1)
    head = b"POST /v1/models/sensor/score HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n{"
    with socket.create_connection(server.address, PATIENCE_S) as client:
        client.sendall(head)
        while server.metric("modelhub_requests_in_flight") < 2:
            time.sleep(0.01)
        assert stop_s(server, signal.SIGTERM) < MAX_STOP_S
        assert client.recv(4096).startswith(b"HTTP/1.1 503 ")


def slow_to_warm(folder: Path) -> Draft:
    """A bundle whose warm-up alone takes longer than a stop may."""
    draft = snail(folder)
    verb = draft.verbs["score"].model_copy(update={"example": [200_000, 1]})
    return draft.model_copy(update={"verbs": {"score": verb}})


def test_load_that_does_not_end_does_not_hold_the_exit(
    root: Path, put: Publish, tmp_path: Path
) -> None:
    put(slow_to_warm, "slow")
    with serving(root, tmp_path, await_ready=False) as server:
        for _ in patience():
            if server.client.get("/v1/models").json()["data"]:
                break
        assert server.client.get("/v1/models").json()["data"][0]["state"] == "loading"
        assert server.client.get("/readyz").json()["reason"] == "loading"
        assert server.client.get("/livez").status_code == 200
        assert stop_s(server, signal.SIGTERM) < MAX_STOP_S


def test_signal_right_after_the_start_is_obeyed(store: Path, tmp_path: Path) -> None:
    with serving(store, tmp_path, await_ready=False) as server:
        assert stop_s(server, signal.SIGTERM) < MAX_STOP_S


def test_serve_needs_no_writable_store(start: Start, store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "read-only"
    shutil.copytree(store, copy)
    for folder, _, files in os.walk(copy):
        for file in files:
            (Path(folder) / file).chmod(0o444)
        Path(folder).chmod(0o555)
    try:
        server = start(copy)
        assert server.predict("score", "sensor", [1, 2, 0]).status_code == 200
    finally:
        for folder, _, _ in os.walk(copy):
            Path(folder).chmod(0o755)


def test_what_other_commands_do_to_the_store_is_followed(
    root: Path, put: Publish, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    put(adding(1), "sensor")
    server = start(root)

    def await_version(version: int) -> None:
        for _ in patience():
            body = server.predict("score", "sensor", [1, 2, 0]).json()
            assert body["outputs"][0]["score"] == 3 + body["version"]  # whichever it is
            if body["version"] == version:
                return
        raise AssertionError(f"version {version} is never served")

    await_version(1)
    put(adding(2), "sensor")
    await_version(2)
    assert main(["alias", "sensor", "stable", "1", "--store", str(root)]) == 0
    await_version(1)
    assert main(["alias", "sensor", "stable", "--drop", "--store", str(root)]) == 0
    await_version(2)
    assert main(["rm", "sensor@2", "--store", str(root)]) == 0
    await_version(1)
    assert server.client.get("/v1/models/sensor").json()["versions"] == [1]
    assert server.client.get("/readyz").status_code == 200
    assert capsys.readouterr().err == ""


def test_serve_loads_only_what_it_is_told_to(start: Start, store: Path) -> None:
    server = start(store, repository="explicit", models='["sensor"]')
    states = {e["id"]: e["state"] for e in server.client.get("/v1/models").json()["data"]}
    assert {name for name, state in states.items() if state == "ready"} == {"sensor"}
    assert server.predict("score", "sensor", [1, 2, 0]).status_code == 200
    refusal = server.predict("predict", "tide", [[1, 2]] * 4)
    assert refusal.status_code == 503
    assert "/v2/repository/models/tide/load" in refusal.json()["detail"]


def test_what_was_measured_at_one_start_is_not_measured_at_the_next(
    store: Path, tmp_path: Path, start: Start
) -> None:
    def learned() -> dict[str, int]:
        return {f.name: f.stat().st_mtime_ns for f in (tmp_path / "cache" / "tuning").iterdir()}

    assert start(store, cache=tmp_path / "cache").stop() == 0
    before = learned()
    assert before
    server = start(store, cache=tmp_path / "cache")
    assert server.predict("score", "sensor", [1, 2, 0]).status_code == 200
    after = learned()
    assert {name: after[name] for name in before} == before


def test_serve_needs_no_writable_cache(store: Path, tmp_path: Path, start: Start) -> None:
    (tmp_path / "file").touch()
    server = start(store, cache=tmp_path / "file")
    assert server.predict("score", "sensor", [1, 2, 0]).status_code == 200


def test_store_command_and_server_agree_on_what_is_there(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "--store", str(server.store), "--json"]) == 0
    listed: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    served = server.client.get("/v1/models").json()["data"]
    assert [row["name"] for row in listed] == [entry["id"] for entry in served]
    assert [row["verbs"] for row in listed] == [entry["verbs"] for entry in served]
