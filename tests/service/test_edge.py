"""What every request passes, over a real socket: ids, keys, and clients that go away."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from service.edge import Gate
from service.protocols.ops import OPEN
from service.settings import Settings
from service.telemetry import Telemetry
from tests.service.conftest import Start
from tests.service.server import PATIENCE_S, Server, patience, serving

# --- request ids -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/livez", "/v1/models", "/nowhere"])
@pytest.mark.parametrize("sent", ["abc-123", "x" * 128, "1", "a:b/c?d=e"])
def test_request_id_is_echoed_whatever_the_answer(server: Server, path: str, sent: str) -> None:
    response = server.client.get(path, headers={"X-Request-Id": sent})
    assert response.headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", [None, "", "x" * 129, "with space", "caf\xe9", "tab\there"])
def test_request_id_is_made_where_none_came_or_junk(server: Server, sent: str | None) -> None:
    headers = [] if sent is None else [(b"X-Request-Id", sent.encode("latin-1"))]
    made = {server.client.get("/livez", headers=headers).headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in made)


def test_every_answer_says_where_its_time_went(server: Server) -> None:
    timing = server.predict("score", "sensor", [1, 2, 0]).headers["server-timing"]
    parts = dict(part.split(";dur=") for part in timing.split(", "))
    assert list(parts) == ["queue", "compute", "total"]
    assert 0 <= float(parts["queue"]) + float(parts["compute"]) <= float(parts["total"])
    assert server.client.get("/livez").headers["server-timing"].startswith("total;dur=")
    assert server.client.get("/nowhere").headers["server-timing"].startswith("total;dur=")


def test_answer_does_not_name_the_software(server: Server) -> None:
    assert "server" not in server.client.get("/livez").headers


# --- keys --------------------------------------------------------------------------------------

USER, ADMIN = {"Authorization": "Bearer user-key"}, {"Authorization": "Bearer admin-key"}
GOOD = {"inputs": [[1, 2, 0]]}
SCORE = "/v1/models/sensor/score"
ALIAS = "/v1/models/sensor/aliases/kept"


@pytest.fixture(scope="module")
def locked(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with keys. It shares the session's store, so its aliases go as they came."""
    folder = tmp_path_factory.mktemp("locked")
    users, admins = '["user-key", "other"]', '["admin-key"]'
    with serving(server.store, folder, api_keys=users, admin_keys=admins) as locked:
        yield locked


@pytest.mark.parametrize("path", sorted(OPEN))
def test_probes_need_no_key(locked: Server, path: str) -> None:
    assert locked.client.get(path).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer user-key2"},
        {"Authorization": "Bearer user-ke"},
        {"Authorization": "Bearer"},
        {"Authorization": "user-key"},
        {"Authorization": "Basic user-key"},
        {"X-Api-Key": "user-key"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/nothing", "/docs", "/nowhere"])
def test_no_key_or_a_wrong_one_is_refused_before_anything_is_told(
    locked: Server, headers: dict[str, str], path: str
) -> None:
    response = locked.client.get(path, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == 401
    assert "user-key" not in response.text


def test_refused_body_is_not_read(locked: Server) -> None:
    with socket.create_connection(locked.address, PATIENCE_S) as client:
        client.sendall(
            b"POST /v1/models/sensor/score HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n{"
        )
        assert client.recv(4096).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("headers", [USER, ADMIN, {"Authorization": "bearer  other"}])
def test_known_key_may_use_models(locked: Server, headers: dict[str, str]) -> None:
    assert locked.client.post(SCORE, json=GOOD, headers=headers).status_code == 200
    assert locked.client.get("/v1/models", headers=headers).status_code == 200


def test_only_the_admin_key_may_change_the_hub(locked: Server) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        response = locked.client.request(method, ALIAS, json={"version": 1}, headers=USER)
        assert response.status_code == 403
        assert response.json()["title"] == "The key may not do this"
    assert locked.client.put(ALIAS, json={"version": 1}).status_code == 401
    assert locked.client.put(ALIAS, json={"version": 1}, headers=ADMIN).status_code == 200
    assert locked.client.delete(ALIAS, headers=ADMIN).status_code == 200


LOADS = [f"/v2/repository/models/sensor/{verb}" for verb in ("unload", "load")]


@pytest.mark.parametrize("path", [*LOADS, "/v2/logging"])
def test_posts_that_change_the_hub_need_the_admin_key(locked: Server, path: str) -> None:
    assert locked.client.post(path, json={}).status_code == 401
    refusal = locked.client.post(path, json={}, headers=USER)
    assert refusal.status_code == 403
    assert refusal.json() == {"error": "this key may use models, not change the hub"}
    assert locked.client.post(path, json={}, headers=ADMIN).status_code == 200


def test_posts_that_only_use_or_read_need_no_admin_key(locked: Server) -> None:
    tensor = {"name": "table", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 0]}
    infer = {"inputs": [tensor]}
    for path, body in (("/v2/models/sensor/infer", infer), ("/v2/repository/index", {})):
        assert locked.client.post(path, json=body).status_code == 401
        assert locked.client.post(path, json=body, headers=USER).status_code == 200


def test_gate_asks_for_the_fields_of_a_line_only_where_one_is_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "modelhub.access")
    telemetry = Telemetry()
    gate = Gate(Settings(access_log_per_s=1), telemetry, frozenset({"/livez"}))
    asked = []

    def fields() -> dict[str, object]:
        asked.append(True)
        return {"path": "/v1/models"}

    for route, status in (
        ("/livez", 200),
        ("/livez", 503),
        ("/v1", 200),
        ("/v1", 200),
        ("/v1", 500),
    ):
        gate.record(route, status, 0.5, fields)
    assert len(asked) == 2
    assert telemetry.requests == {("/livez", "200"): 1, ("/livez", "503"): 1, ("/v1", "200"): 2,
                                  ("/v1", "500"): 1}  # fmt: skip
    line = caplog.records[-1]
    assert line.fields == {"status": 500, "ms": 500.0, "path": "/v1/models"}  # type: ignore[attr-defined]


def test_without_keys_configured_none_is_asked_for(server: Server) -> None:
    assert server.client.post(SCORE, json=GOOD).status_code == 200
    assert server.client.post(SCORE, json=GOOD, headers=USER).status_code == 200


# --- clients that go away ----------------------------------------------------------------------


def request(request_id: str, *items: object, ref: str = "snail") -> bytes:
    body = json.dumps({"inputs": items}).encode()
    return (
        f"POST /v1/models/{ref}/score HTTP/1.1\r\nHost: h\r\nX-Request-Id: {request_id}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def pending(server: Server) -> float:
    return server.metric("nv_inference_pending_request_count", model="snail")


def await_log(server: Server, request_id: str) -> dict[str, object]:
    for _ in patience():
        if lines := server.logged(request_id):
            return lines[-1]
    raise AssertionError(f"{request_id} was never logged")


def test_client_that_disconnects_takes_its_work_out_of_the_queue(server: Server) -> None:
    rows = server.metric("nv_inference_count", model="snail")
    canceled = {"model": "snail", "reason": "CANCELED"}
    before = server.metric("nv_inference_request_failure", **canceled)
    with (
        socket.create_connection(server.address, PATIENCE_S) as slow,
        socket.create_connection(server.address, PATIENCE_S) as leaver,
    ):
        slow.sendall(request("edge-slow", [10000, 1]))
        while server.metric("modelhub_requests_in_flight") < 2:  # this scrape is one
            time.sleep(0.01)
        # It is queued by the time another is answered, and in hand once the queue is empty: what
        # comes now can't share its run.
        assert server.predict("score", "sensor", [1, 2, 0]).status_code == 200
        for _ in patience():
            if pending(server) == 0:
                break
        leaver.sendall(request("edge-leaver", [10000, 2], [10000, 3], [10000, 4]))
        for _ in patience():
            if pending(server) == 3:
                break
        assert pending(server) == 3
        leaver.close()
        line = await_log(server, "edge-leaver")
        assert line["status"] == 499
        assert pending(server) == 0
        assert not server.logged("edge-slow")  # its run is still in hand
        assert slow.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert server.metric("nv_inference_count", model="snail") == rows + 1
    assert server.metric("nv_inference_request_failure", **canceled) == before + 1
    assert server.predict("score", "snail", [1, 5]).json()["outputs"][0]["score"] == 5


def test_client_that_left_does_not_keep_its_model_in_memory(start: Start, server: Server) -> None:
    server = start(server.store, repository="explicit", models='["snail"]')
    with socket.create_connection(server.address, PATIENCE_S) as leaver:
        leaver.sendall(request("edge-lease", [3000, 1]))
        while server.metric("modelhub_requests_in_flight") < 2:
            time.sleep(0.01)
    await_log(server, "edge-lease")
    assert server.client.post("/v2/repository/models/snail/unload").status_code == 200
    for _ in patience():  # its run goes on to its end, and then it is closed
        if server.metric("modelhub_model_memory_bytes", model="snail") == 0:
            break
    assert server.metric("modelhub_model_memory_bytes", model="snail") == 0
    assert server.predict("score", "snail", [1, 1]).status_code == 503


def test_client_that_leaves_in_the_middle_of_its_body_is_no_fault_of_ours(server: Server) -> None:
    with socket.create_connection(server.address, PATIENCE_S) as client:
        client.sendall(request("edge-half", [1, 2, 0], ref="sensor")[:-5])
        time.sleep(0.05)
    line = await_log(server, "edge-half")
    assert line["status"] == 499
    assert line["level"] == "info"
    assert server.predict("score", "sensor", [1, 2, 0]).status_code == 200


async def test_many_clients_come_and_go_and_every_other_one_gets_its_own_answer(
    server: Server,
) -> None:
    async def stay(client: httpx.AsyncClient, value: int) -> float:
        response = await client.post(SCORE, json={"inputs": [[value, 0, 0]]})
        score: float = response.json()["outputs"][0]["score"]
        return score

    async def leave(value: int) -> None:
        _, writer = await asyncio.open_connection(*server.address)
        writer.write(request(f"edge-gone-{value}", [value, 0, 0], ref="sensor"))
        await writer.drain()
        await asyncio.sleep(value % 5 / 500)
        writer.close()
        await writer.wait_closed()

    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_S) as client:
        values = range(1, 41)
        scores, _ = await asyncio.gather(
            asyncio.gather(*(stay(client, value) for value in values)),
            asyncio.gather(*(leave(value) for value in values)),
        )
    assert scores == list(values)
    assert server.metric("modelhub_requests_in_flight") == 1


def test_answered_request_is_never_counted_as_abandoned(server: Server) -> None:
    def gone() -> float:
        return server.metric(
            "modelhub_requests_total", route="/v1/models/{ref}/score", status="499"
        )

    before = gone()
    for value in range(30):
        assert server.predict("score", "sensor", [value, 0, 0]).status_code == 200
    assert gone() == before


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    with socket.create_connection(server.address, PATIENCE_S) as client:
        client.sendall(b"".join(request(f"edge-{k}", [1, k, 0], ref="sensor") for k in range(3)))
        seen = b""
        while seen.count(b'"outputs"') < 3:
            chunk = client.recv(65536)
            assert chunk
            seen += chunk
    places = [seen.index(f"x-request-id: edge-{k}".encode()) for k in range(3)]
    assert places == sorted(places)
