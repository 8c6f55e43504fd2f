"""Probes, metrics and the hub page."""

import re
import time

import httpx
import pytest

from service.app import create_app
from service.hub import ModelHub
from service.protocols.ops import OPEN
from service.settings import Settings
from service.telemetry import Telemetry
from tests.service.bundles import sensor
from tests.service.conftest import Hubs, Publish
from tests.service.server import Server


@pytest.mark.parametrize("path", ["/livez", "/v2/health/live"])
def test_live_server_says_so(server: Server, path: str) -> None:
    response = server.client.get(path)
    assert (response.status_code, response.json()) == (200, {"live": True})


@pytest.mark.parametrize("path", ["/readyz", "/v2/health/ready"])
def test_ready_server_says_so(server: Server, path: str) -> None:
    response = server.client.get(path)
    assert (response.status_code, response.json()) == (200, {"live": True, "ready": True})


@pytest.mark.parametrize("path", sorted(OPEN))
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_operations_are_only_read(server: Server, path: str, method: str) -> None:
    response = server.client.request(method, path)
    assert response.status_code == 405
    shape = "application/json" if path.startswith("/v2") else "application/problem+json"
    assert response.headers["content-type"] == shape
    assert "GET" in response.headers["allow"]


def test_metrics_are_what_prometheus_reads(server: Server) -> None:
    text = server.client.get("/metrics").text
    sample = re.compile(r'[a-z_]+(\{([a-z_]+="[^"]*",?)+\})? [0-9.e+-]+')
    for line in text.splitlines():
        assert line.startswith("# ") or sample.fullmatch(line), line
    assert text.endswith("\n")


def test_page_is_html_and_each_of_its_parts_is_there(server: Server) -> None:
    response = server.client.get("/")
    assert response.headers["content-type"].startswith("text/html")
    parts = re.findall(r'(?:src|href)="(/[^"#]*)"', response.text)
    for part in parts:
        assert server.client.get(part).status_code == 200, part


def test_page_has_no_part_outside_its_folder(server: Server) -> None:
    for name in ("nothing.js", "index.html", "..%2Fapp.py", "%2e%2e/app.py", "../app.py"):
        request = f"GET /ui/{name} HTTP/1.1\r\nHost: h\r\n\r\n"
        assert server.raw(request.encode()).status_code == 404, name


async def ask(hub: ModelHub, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(create_app(hub.settings, hub))
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
        return await client.get(path)


async def test_stuck_lane_makes_the_probe_of_life_fail_and_is_named(
    put: Publish, hubs: Hubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(sensor)
    hub = hubs(stuck_s=10)
    await hub.start()
    assert (await ask(hub, "/livez")).status_code == 200
    batcher = (await hub.find("sensor")).lanes["model"].batcher
    monkeypatch.setattr(batcher, "_running", {1: time.monotonic() - 9})
    assert (await ask(hub, "/livez")).status_code == 200
    monkeypatch.setattr(batcher, "_running", {1: time.monotonic() - 11})
    for path in ("/livez", "/v2/health/live"):
        response = await ask(hub, path)
        assert response.status_code == 503
        assert response.json() == {"live": False, "reason": "sensor@1 makes no progress"}


async def test_not_ready_says_why_and_metrics_say_it_too(put: Publish, hubs: Hubs) -> None:
    put(sensor)
    hub = hubs()
    response = await ask(hub, "/readyz")
    assert response.status_code == 503
    assert response.json() == {"live": True, "ready": False, "reason": "loading"}
    assert "modelhub_ready 0.0" in (await ask(hub, "/metrics")).text
    await hub.start()
    assert (await ask(hub, "/readyz")).status_code == 200
    assert "modelhub_ready 1.0" in (await ask(hub, "/metrics")).text
    hub.draining = True
    assert (await ask(hub, "/readyz")).json()["reason"] == "draining"
    assert (await ask(hub, "/livez")).status_code == 200


def test_apps_share_nothing(store: object) -> None:
    settings = Settings.model_validate({"store": store})
    one, other = create_app(settings), create_app(settings)
    assert one.state.hub is not other.state.hub
    assert one.state.hub.telemetry is not other.state.hub.telemetry
    own = ModelHub(settings, Telemetry())
    assert create_app(settings, own).state.hub is own
