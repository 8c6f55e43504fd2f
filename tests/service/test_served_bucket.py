"""Serving a store in a bucket: followed, and served on when its server is not there."""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from model_store.cli import main
from model_store.errors import Unreachable
from model_store.manifest import Draft
from model_store.places import open_store
from model_store.remote import RemoteStore
from model_store.store import Store
from service.catalog import Catalog
from service.hub import ModelHub
from service.settings import Settings
from service.telemetry import Telemetry
from tests.buckets import S3
from tests.service.bundles import sensor, shades
from tests.service.conftest import Start
from tests.service.server import Server, patience

FEW_S = 10.0
"""What is published is served within a few seconds, also on a machine that does other work."""


def put(url: str, maker: Callable[[Path], Draft], name: str = "") -> int:
    store, name = open_store(url), name or maker.__name__
    with store.stage(name) as staged:
        return store.publish(name, staged, maker(staged)).version


def score(server: Server, ref: str = "sensor") -> Any:
    answer = server.predict("score", ref, [1, 2, 3])
    assert answer.status_code == 200, answer.text
    return answer.json()


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    for _ in patience(seconds):
        if true():
            return
    raise AssertionError("it does not come about")


def versions(server: Server) -> dict[str, int]:
    """Name → the version that its bare name means, of what is ready."""
    entries = server.client.get("/v1/models").json()["data"]
    return {entry["id"]: entry["version"] for entry in entries if entry["state"] == "ready"}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A server of the test's own, not started yet."""
    own = S3(tmp_path / "s3-log")
    for name, value in own.environment.items():
        monkeypatch.setenv(name, value)
    yield own
    own.stop()


# --- a server ----------------------------------------------------------------------------------


def test_bucket_is_served_and_followed(s3: S3, start: Start, tmp_path: Path) -> None:
    url = s3.bucket()
    put(url, sensor)
    server = start(tmp_path, "--store", url)
    assert score(server)["version"] == 1
    assert server.client.get("/v1/models/sensor").json()["files"]
    put(url, partial(sensor, adds=1), "sensor")
    put(url, shades)
    until(lambda: versions(server) == {"sensor": 2, "shades": 1}, FEW_S)
    assert score(server)["version"] == 2
    card = server.client.get("/v1/models/shades/files/card.md")
    assert card.text == "# Shades\n\nDark or bright.\n"
    store = open_store(url)
    store.set_alias("sensor", "stable", 1)
    until(lambda: versions(server)["sensor"] == 1)
    store.remove("shades")
    until(lambda: versions(server) == {"sensor": 1})
    moved = server.client.put("/v1/models/sensor/aliases/stable", json={"version": 2})
    assert moved.status_code == 200, moved.text
    assert store.aliases("sensor") == {"stable": 2}


def test_changed_object_fails_its_version_and_the_old_one_serves_on(
    s3: S3, start: Start, tmp_path: Path
) -> None:
    url = s3.bucket()
    put(url, sensor)
    server = start(tmp_path, "--store", url)
    store = open_store(url)
    assert isinstance(store, RemoteStore)
    with store.stage("sensor") as staged:
        draft = sensor(staged, adds=3)
        upload = store.bucket.upload

        def spoiled(file: Path, key: str) -> None:
            file.write_bytes(file.read_bytes()[:-1] + b"\0")
            upload(file, key)

        store.bucket.upload = spoiled  # type: ignore[method-assign]
        store.publish("sensor", staged, draft)
    until(lambda: any("failed to load" in line["message"] for line in server.log()))
    (line,) = [line for line in server.log() if "sensor@2 failed to load" in line["message"]][:1]
    assert f"{url}/sensor/2/model.onnx: expected sha256" in line["message"]
    assert score(server)["version"] == 1


def test_store_that_is_away_at_start_is_waited_for(own: S3, start: Start, tmp_path: Path) -> None:
    url = "s3://later/models"
    server = start(tmp_path, "--store", url, await_ready=False)
    words = f"{url} cannot be listed: "
    until(lambda: words in server.client.get("/readyz").json().get("reason", ""))
    assert server.client.get("/livez").status_code == 200
    listing = server.client.get("/v1/models").json()
    assert (listing["data"], listing["reason"].startswith(words)) == ([], True)
    refused = server.predict("score", "sensor", [1, 2, 3])
    assert refused.status_code == 503
    assert refused.json()["title"] == "The store cannot be reached"
    assert refused.headers["Retry-After"]
    assert any(words in line["message"] for line in server.log())
    own.start()
    own.bucket("later")
    put(url, sensor)
    server.await_ready()
    assert score(server)["version"] == 1
    assert "reason" not in server.client.get("/v1/models").json()
    assert any("can be read again" in line["message"] for line in server.log())


def test_store_that_goes_away_leaves_what_is_loaded_and_is_followed_when_it_returns(
    own: S3, start: Start, tmp_path: Path
) -> None:
    own.start()
    url = own.bucket("coming")
    put(url, sensor)
    server = start(tmp_path, "--store", url)
    own.stop()
    until(lambda: "reason" in server.client.get("/v1/models").json())
    assert versions(server) == {"sensor": 1}
    assert server.client.get("/readyz").status_code == 200
    assert score(server)["version"] == 1
    unknown = server.predict("score", "nothing", [1, 2, 3])
    assert unknown.status_code == 503
    assert url in unknown.json()["detail"]
    slowest = 0.0
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(server.predict, "score", "nothing", [1, 2, 3]) for _ in range(8)]
        while not all(one.done() for one in asked):
            before = time.monotonic()
            assert score(server)["version"] == 1
            slowest = max(slowest, time.monotonic() - before)
    assert slowest < 1, "what is loaded waits for a store that is away"
    own.start()
    own.bucket("coming")
    put(url, sensor)
    put(url, partial(sensor, adds=1), "sensor")
    until(lambda: versions(server) == {"sensor": 2})


def test_serve_says_what_to_install_for_a_url_it_cannot_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["serve", "--store", "ftp://host/models"]) == 2
    assert "--store ftp://host/models: expected a folder or one of s3://" in capsys.readouterr().err


# --- its parts ---------------------------------------------------------------------------------


class Flaky(Store):
    """A folder that cannot be read while ``away``."""

    away = False

    def stamps(self) -> dict[str, int]:
        self._check()
        return super().stamps()

    def versions(self, name: str) -> list[int]:
        self._check()
        return super().versions(name)

    def _check(self) -> None:
        if self.away:
            raise Unreachable("s3://bucket/models cannot be listed: away")


async def test_catalog_keeps_what_it_knows_while_the_store_is_away(tmp_path: Path) -> None:
    store = Flaky(tmp_path)
    with store.stage("sensor") as staged:
        store.publish("sensor", staged, sensor(staged))
    with ThreadPoolExecutor(1) as pool:
        catalog = Catalog(store, pool)
        assert await catalog.scan() == ["sensor"]
        store.away = True
        assert await catalog.scan() == []
        assert catalog.trouble == "s3://bucket/models cannot be listed: away"
        assert await catalog.resolve("sensor") == ("sensor", 1)
        with pytest.raises(Unreachable):
            await catalog.resolve("sensor@2")
        assert catalog.shelves["sensor"].versions == [1]
        with store.stage("sensor") as staged:
            draft = sensor(staged)
            store.away = False
            store.publish("sensor", staged, draft)
        assert await catalog.scan() == ["sensor"]
        assert catalog.trouble == ""
        assert catalog.shelves["sensor"].versions == [1, 2]


async def test_model_that_could_not_be_read_in_a_scan_is_read_by_the_next(tmp_path: Path) -> None:
    store = Flaky(tmp_path)
    with store.stage("sensor") as staged:
        store.publish("sensor", staged, sensor(staged))
    with ThreadPoolExecutor(1) as pool:
        catalog = Catalog(store, pool)
        stamps = store.stamps()
        store.stamps = lambda: stamps  # type: ignore[method-assign]
        store.away = True
        assert await catalog.scan() == []
        assert catalog.trouble
        store.away = False
        assert await catalog.scan() == ["sensor"]


async def test_what_a_scan_found_before_it_failed_is_told_by_the_next(tmp_path: Path) -> None:
    store = Flaky(tmp_path)
    for name in ("a", "b"):
        with store.stage(name) as staged:
            store.publish(name, staged, sensor(staged))
    with ThreadPoolExecutor(1) as pool:
        catalog = Catalog(store, pool)
        read, asked = store.versions, []

        def second_fails(name: str) -> list[int]:
            asked.append(name)
            if len(asked) == 2:
                raise Unreachable("away")
            return read(name)

        store.versions = second_fails  # type: ignore[method-assign]
        assert await catalog.scan() == []
        assert sorted(await catalog.scan()) == ["a", "b"]
        assert await catalog.scan() == []


async def test_hub_whose_folder_comes_late_is_ready_when_it_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.hub.FIRST_WAIT_S", 0.01)
    later = tmp_path / "later"
    settings = Settings(store=later, threads=1, tune=False, cache=tmp_path / "cache")
    hub = ModelHub(settings, Telemetry())
    starting = asyncio.create_task(hub.start())
    try:
        async with asyncio.timeout(20):
            while not hub.catalog.trouble:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.01)
        assert str(later) in hub.not_ready
        made = tmp_path / "made"
        store = Store(made)
        with store.stage("sensor") as staged:
            store.publish("sensor", staged, sensor(staged))
        shutil.move(made, later)
        await starting
        assert hub.not_ready == ""
    finally:
        await hub.close(timeout_s=20)


def test_setting_takes_a_url_and_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings(store="s3://bucket/models").store == "s3://bucket/models"
    monkeypatch.setenv("MODELHUB_STORE", "s3://bucket/models")
    assert Settings().store == "s3://bucket/models"
    monkeypatch.setenv("MODELHUB_STORE", "some/folder")
    assert Settings().store == Path("some/folder")
