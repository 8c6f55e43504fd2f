"""References to loaded versions: what loads, what fails and says so, what moves and what leaves."""

import asyncio
import itertools
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_store.bundle import MANIFEST_FILE
from model_store.errors import BadName, NotFound
from model_store.manifest import Draft, Manifest
from model_store.store import Store
from service.errors import DeadlinePassed, NoRoom, NotReady, OutOfMemory
from service.hub import ModelHub
from service.loaded import LoadedModel
from service.schema import Ask, Reply
from tests.service.bundles import codec, sensor, shades, snail, tide
from tests.service.loads import MB, Loads, adding, bad_example, bad_graph
from tests.service.odd_bundles import greedy, plain
from tests.service.workbench import PATIENCE_S, until

Publish = Callable[..., Manifest]
Hubs = Callable[..., ModelHub]


async def score(hub: ModelHub, ref: str = "sensor", *items: object) -> Reply:
    """Ask as a protocol does: with a lease for as long as it takes."""
    with await hub.find(ref) as model:
        deadline = time.monotonic() + PATIENCE_S
        return await hub.answer(Ask(ref, "score", list(items or [[1, 2, 0]]), {}, deadline), model)


async def find(hub: ModelHub, ref: str) -> LoadedModel:
    """The version, without a lease."""
    with await hub.find(ref) as model:
        return model


def ready(hub: ModelHub) -> set[str]:
    return {f"{name}@{version}" for name, version in hub.residency.loaded}


def spoil(root: Path, name: str, file: str = "model.onnx", version: int = 1) -> None:
    """Change one byte of a published file."""
    path = root / name / str(version) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def is_closed(model: LoadedModel) -> bool:
    return all(lane.runner._session is None for lane in model.lanes.values())


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at the store all the time and not only each second."""
    monkeypatch.setattr(Store, "watch_s", 0.01)


# --- loading -----------------------------------------------------------------------------------


async def test_hub_is_ready_once_every_model_is_loaded(
    put: Publish, hubs: Hubs, loads: Loads
) -> None:
    put(sensor)
    put(shades)
    hub = hubs()
    assert hub.not_ready == "loading"
    loads.hold()
    starting = asyncio.create_task(hub.start())
    await loads.begun()
    assert hub.not_ready == "loading"
    assert [entry["state"] for entry in await hub.listing()] == ["loading", "loading"]
    loads.release()
    await starting
    assert hub.not_ready == ""
    assert [entry["state"] for entry in await hub.listing()] == ["ready", "ready"]
    assert loads.count == 2


async def test_hub_over_an_empty_store_is_not_ready_and_says_why(hubs: Hubs) -> None:
    hub = hubs()
    await hub.start()
    assert hub.not_ready == "the store has no models"
    assert await hub.listing() == []


async def test_many_who_ask_at_once_share_one_load(put: Publish, hubs: Hubs, loads: Loads) -> None:
    put(sensor)
    hub = hubs()
    found = await asyncio.gather(*(hub.find("sensor") for _ in range(8)))
    assert loads.count == 1
    assert all(model is found[0] for model in found)
    for model in found:
        model.release()


async def test_deadline_holds_for_the_wait_for_a_load_too(
    put: Publish, hubs: Hubs, loads: Loads
) -> None:
    put(sensor)
    hub = hubs()
    loads.hold()
    with pytest.raises(DeadlinePassed, match=r"sensor@1 was loading"):
        await hub.find("sensor", time.monotonic() + 0.01)
    loads.release()
    assert (await score(hub)).version == 1
    assert loads.count == 1


@pytest.mark.parametrize(
    ("maker", "file", "reason"),
    [
        (sensor, "model.onnx", "model.onnx was changed"),
        (sensor, "manifest.json", "manifest.json"),
        (shades, "card.md", "card.md was changed"),
        (codec, "decoder.onnx", "decoder.onnx was changed"),
    ],
)
async def test_changed_byte_is_refused_by_the_files_name_and_the_rest_serve(
    root: Path, put: Publish, hubs: Hubs, maker: Callable[[Path], Draft], file: str, reason: str
) -> None:
    put(maker, "spoilt")
    put(sensor)
    spoil(root, "spoilt", file)
    hub = hubs()
    await hub.start()
    entries = {entry["id"]: entry for entry in await hub.listing()}
    assert entries["spoilt"]["state"] == "failed"
    assert reason in entries["spoilt"]["reason"]
    assert str(root) not in entries["spoilt"]["reason"]
    assert entries["sensor"]["state"] == "ready"
    assert hub.not_ready == "not loaded: spoilt"
    with pytest.raises(NotReady, match="spoilt@1 failed to load"):
        await hub.find("spoilt")
    assert (await score(hub)).outputs[0]["score"] == 3


@pytest.mark.parametrize("maker", [bad_graph, bad_example])
async def test_bundle_that_cannot_run_is_failed_with_the_reason_and_no_request_tries_it_again(
    root: Path, put: Publish, hubs: Hubs, loads: Loads, maker: Callable[[Path], Draft]
) -> None:
    put(maker, "bad")
    hub = hubs(repository="all")
    await hub.start()
    for _ in range(2):
        with pytest.raises(NotReady, match="bad@1 failed to load: ") as caught:
            await hub.find("bad")
        assert str(root) not in str(caught.value)
    assert loads.count == 1
    assert (await hub.entry("bad"))["state"] == "failed"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane bad")]


async def test_model_that_failed_does_not_hold_readiness_where_it_need_not(
    put: Publish, hubs: Hubs
) -> None:
    put(bad_graph, "bad")
    put(sensor)
    hub = hubs(strict_readiness=False)
    await hub.start()
    assert hub.not_ready == ""
    assert [entry["state"] for entry in await hub.listing()] == ["failed", "ready"]
    pinned = hubs(strict_readiness=False, pinned={"bad"})
    await pinned.start()
    assert pinned.not_ready == "not loaded: bad"


async def test_missing_file_is_refused_by_its_name(root: Path, put: Publish, hubs: Hubs) -> None:
    put(sensor)
    (root / "sensor" / "1" / "model.onnx").unlink()
    hub = hubs()
    await hub.start()
    assert "model.onnx cannot be read" in (await hub.entry("sensor"))["reason"]


async def test_plain_graph_is_served_and_listed_as_what_it_is(root: Path, hubs: Hubs) -> None:
    plain(root / "adder" / "1", adds=2)
    hub = hubs()
    await hub.start()
    entry = await hub.entry("adder")
    assert (entry["state"], entry["family"], entry["verbs"]) == ("ready", "other", ["predict"])
    with await hub.find("adder") as model:
        ask = Ask("adder", "predict", [[1, 2], [3, 4]], {}, time.monotonic() + PATIENCE_S)
        reply = await hub.answer(ask, model)
    assert [answer["outputs"]["y"] for answer in reply.outputs] == [[3, 4], [5, 6]]


# --- versions ----------------------------------------------------------------------------------


async def test_version_published_after_the_start_is_found_by_number_and_then_is_the_default(
    put: Publish, hubs: Hubs
) -> None:
    put(sensor)
    hub = hubs(repository="all")
    await hub.start()
    put(sensor)
    assert (await score(hub)).version == 1  # nobody has asked for the new one yet
    assert hub.not_ready == ""
    assert (await score(hub, "sensor@2")).version == 2
    assert (await score(hub)).version == 2
    assert (await score(hub, "sensor@1")).version == 1


async def test_new_version_that_fails_leaves_the_old_one_serving(put: Publish, hubs: Hubs) -> None:
    put(sensor)
    hub = hubs()
    await hub.start()
    put(bad_graph, "sensor")
    with pytest.raises(NotReady, match="sensor@2 failed to load"):
        await hub.find("sensor@2")
    assert (await score(hub)).version == 1
    assert hub.not_ready == ""
    assert (await hub.entry("sensor"))["version"] == 1


async def test_old_version_answers_while_the_new_one_loads(
    put: Publish, hubs: Hubs, loads: Loads
) -> None:
    put(sensor)
    hub = hubs()
    await hub.start()
    put(sensor)
    loads.hold()
    coming = asyncio.create_task(find(hub, "sensor@2"))
    await loads.begun()
    assert (await score(hub)).version == 1
    loads.release()
    assert (await coming).manifest.version == 2


async def test_model_published_after_the_start_is_found_by_its_name(
    put: Publish, hubs: Hubs
) -> None:
    hub = hubs()
    await hub.start()
    with pytest.raises(NotFound):
        await hub.find("sensor")
    put(sensor)
    assert (await score(hub)).version == 1


async def test_version_removed_since_the_start_is_unknown_and_not_failed(
    root: Path, put: Publish, hubs: Hubs
) -> None:
    put(sensor)
    put(sensor)
    hub = hubs(repository="all")
    await hub.start()
    Store(root).remove("sensor@1")
    with pytest.raises(NotFound, match="no version 1"):
        await hub.find("sensor@1")
    assert (await hub.entry("sensor"))["versions"] == [2]
    assert (await score(hub)).version == 2


@pytest.mark.parametrize("ref", ["nothing", "sensor@2", "sensor@0", "sensor@stable", "nothing@1"])
async def test_unknown_model_version_or_alias_is_not_found(
    put: Publish, hubs: Hubs, ref: str
) -> None:
    put(sensor)
    hub = hubs()
    await hub.start()
    for ask in (hub.find, hub.entry, hub.manifest):
        with pytest.raises(NotFound):
            await ask(ref)


@pytest.mark.parametrize(
    "ref", ["", "@1", "Sensor", "../sensor", "sensor@", "sensor@1@1", "a/b", "s" * 64, "sensor@-1"]
)
async def test_reference_that_cannot_be_is_a_bad_name(hubs: Hubs, ref: str) -> None:
    with pytest.raises(BadName):
        await hubs().find(ref)


async def test_what_is_at_hand_is_what_would_be_found_if_it_is_loaded(
    put: Publish, hubs: Hubs
) -> None:
    put(sensor)
    put(sensor)
    hub = hubs()
    assert hub.at_hand("sensor", "") is None
    await hub.start()
    second = await find(hub, "sensor")
    assert hub.at_hand("sensor", "") is hub.at_hand("sensor", "2") is second
    for name, selector in (("sensor", "1"), ("sensor", "stable"), ("nothing", ""), ("Sensor", "")):
        assert hub.at_hand(name, selector) is None
    await hub.set_alias("sensor", "kept", 1)
    assert hub.at_hand("sensor", "kept") is await find(hub, "sensor@1")


async def test_version_that_was_retired_the_moment_it_came_is_loaded_again_for_who_asked(
    put: Publish, hubs: Hubs, loads: Loads
) -> None:
    put(sensor)
    hub = hubs()
    settle, retirements = hub.residency._changed, itertools.count()

    def retire_the_first(name: str) -> None:
        settle(name)
        if hub.residency.loaded and next(retirements) == 0:
            hub.residency.retire((name, 1))

    hub.residency._changed = retire_the_first
    assert (await score(hub)).outputs[0]["score"] == 3
    assert loads.count == 2


# --- following the store -----------------------------------------------------------------------


def test_store_is_looked_at_often_enough_to_serve_what_is_new_within_two_seconds() -> None:
    assert Store.watch_s <= 1


@pytest.mark.usefixtures("watchful")
async def test_published_version_is_served_and_the_old_one_let_go_of(
    put: Publish, hubs: Hubs
) -> None:
    put(adding(1), "sensor")
    hub = hubs()
    await hub.start()
    old = await find(hub, "sensor")
    put(adding(2), "sensor")
    await until(lambda: ready(hub) == {"sensor@2"})
    reply = await score(hub)
    assert (reply.version, reply.outputs[0]["score"]) == (2, 5)
    await until(lambda: is_closed(old))
    assert (await hub.entry("sensor"))["version"] == 2


@pytest.mark.usefixtures("watchful")
async def test_published_model_is_served(put: Publish, hubs: Hubs, root: Path) -> None:
    hub = hubs()
    await hub.start()
    put(sensor)
    plain(root / "adder" / "7")
    await until(lambda: ready(hub) == {"sensor@1", "adder@7"})
    assert hub.not_ready == ""
    assert [entry["state"] for entry in await hub.listing()] == ["ready", "ready"]


@pytest.mark.usefixtures("watchful")
async def test_graph_that_is_still_being_copied_is_served_when_it_is_whole(
    hubs: Hubs, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.residency.FIRST_RETRY_S", 0.01)
    plain(tmp_path / "whole")
    content = (tmp_path / "whole" / "model.onnx").read_bytes()
    hub = hubs()
    await hub.start()
    folder = root / "adder" / "1"
    folder.mkdir(parents=True)
    await until(lambda: ("adder", 1) in hub.residency.failed)
    (folder / "model.onnx").write_bytes(content[:40])
    assert (await hub.entry("adder"))["state"] == "failed"
    (folder / "model.onnx").write_bytes(content)
    await until(lambda: ready(hub) == {"adder@1"})
    assert (await hub.entry("adder"))["state"] == "ready"


@pytest.mark.usefixtures("watchful")
async def test_alias_that_is_moved_in_the_store_is_followed(
    put: Publish, hubs: Hubs, root: Path
) -> None:
    for number in (1, 2, 3):
        put(adding(number), "sensor")
    store = Store(root)
    hub = hubs()
    await hub.start()
    assert ready(hub) == {"sensor@3"}
    store.set_alias("sensor", "stable", 1)
    await until(lambda: ready(hub) == {"sensor@1"})
    assert (await score(hub)).outputs[0]["score"] == 4
    store.set_alias("sensor", "stable", 2)
    await until(lambda: ready(hub) == {"sensor@2"})
    assert (await score(hub, "sensor@stable")).version == 2
    store.drop_alias("sensor", "stable")
    await until(lambda: ready(hub) == {"sensor@3"})
    assert (await hub.entry("sensor"))["aliases"] == {}


@pytest.mark.usefixtures("watchful")
async def test_version_that_an_alias_names_stays_beside_the_newest(
    put: Publish, hubs: Hubs, root: Path
) -> None:
    put(sensor)
    hub = hubs()
    await hub.start()
    Store(root).set_alias("sensor", "kept", 1)
    put(sensor)
    await until(lambda: ready(hub) == {"sensor@1", "sensor@2"})
    await asyncio.sleep(0.05)  # more looks at the store
    assert ready(hub) == {"sensor@1", "sensor@2"}
    assert (await score(hub, "sensor@kept")).version == 1
    assert (await score(hub)).version == 2


@pytest.mark.usefixtures("watchful")
async def test_removed_version_leaves_and_so_does_a_removed_model(
    put: Publish, hubs: Hubs, root: Path
) -> None:
    put(sensor)
    put(sensor)
    put(shades)
    hub = hubs()
    await hub.start()
    with await hub.find("sensor@2") as in_use:
        Store(root).remove("sensor@2")
        await until(lambda: ready(hub) == {"sensor@1", "shades@1"})
        assert not is_closed(in_use)
    await until(lambda: is_closed(in_use))
    assert (await score(hub)).version == 1
    shutil.rmtree(root / "shades")
    await until(lambda: ready(hub) == {"sensor@1"})
    assert hub.not_ready == ""
    assert [entry["id"] for entry in await hub.listing()] == ["sensor"]
    with pytest.raises(NotFound):
        await hub.find("shades")


@pytest.mark.usefixtures("watchful")
async def test_new_version_that_fails_is_tried_again_until_it_loads(
    put: Publish, hubs: Hubs, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.residency.FIRST_RETRY_S", 0.001)
    put(sensor)
    hub = hubs()
    await hub.start()
    loads.broken.add("sensor")
    put(sensor)
    await until(lambda: loads.refs.count("sensor@2") >= 3)
    assert (await score(hub)).version == 1
    assert hub.not_ready == ""
    assert hub.state(("sensor", 2))["state"] == "failed"
    loads.broken.clear()
    await until(lambda: ready(hub) == {"sensor@2"})
    assert (await score(hub)).version == 2


@pytest.mark.usefixtures("watchful")
async def test_failed_version_waits_for_its_next_try_however_often_the_store_is_looked_at(
    put: Publish, hubs: Hubs, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.residency.FIRST_RETRY_S", 1000)
    put(sensor)
    put(shades)
    hub = hubs()
    await hub.start()
    loads.broken.add("sensor")
    put(sensor)
    await until(lambda: ("sensor", 2) in hub.residency.failed)
    for _ in range(3):
        version = put(shades).version
        await until(lambda version=version: ready(hub) == {"sensor@1", f"shades@{version}"})  # type: ignore[misc]
    assert loads.refs.count("sensor@2") == 1


@pytest.mark.usefixtures("watchful")
async def test_failed_version_that_is_removed_is_forgotten(
    put: Publish, hubs: Hubs, root: Path
) -> None:
    put(sensor)
    put(bad_graph, "sensor")
    hub = hubs()
    await hub.start()
    await until(lambda: ("sensor", 2) in hub.residency.failed)
    Store(root).remove("sensor@2")
    await until(lambda: not hub.residency.failed)
    await until(lambda: ready(hub) == {"sensor@1"})
    assert hub.not_ready == ""


@pytest.mark.usefixtures("watchful")
async def test_request_for_an_unknown_version_does_not_make_the_watch_miss_a_new_one(
    put: Publish, hubs: Hubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(sensor)
    hub = hubs()
    monkeypatch.setattr(Store, "watch_s", 1000)
    await hub.start()
    put(sensor)
    with pytest.raises(NotFound):
        await hub.find("sensor@9")
    await hub.look()
    await until(lambda: ready(hub) == {"sensor@2"})


async def test_look_that_somebody_asks_for_follows_what_it_finds_where_there_is_a_watch(
    put: Publish, hubs: Hubs
) -> None:
    put(sensor)
    watched, alone = hubs(), hubs(repository="all")
    for hub in (watched, alone):
        await hub.start()
    put(sensor)
    for hub in (watched, alone):
        await hub.look()
        assert hub.catalog.shelves["sensor"].versions == [1, 2]
    await until(lambda: ready(watched) == {"sensor@2"})
    assert ready(alone) == {"sensor@1"}


@pytest.mark.usefixtures("watchful")
async def test_look_at_the_store_that_fails_is_not_the_last_one(
    put: Publish, hubs: Hubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(sensor)
    hub = hubs()
    scan, looks = hub.catalog.scan, itertools.count()

    async def stumble() -> list[str]:
        if next(looks) in (1, 2):
            raise RuntimeError("the disk is not well")
        return await scan()

    monkeypatch.setattr(hub.catalog, "scan", stumble)
    await hub.start()
    put(sensor)
    await until(lambda: ready(hub) == {"sensor@2"})


@pytest.mark.usefixtures("watchful")
async def test_without_a_watch_nothing_comes_by_itself(put: Publish, hubs: Hubs) -> None:
    put(sensor)
    watched, alone = hubs(), hubs(repository="all")
    await watched.start()
    await alone.start()
    put(sensor)
    await until(lambda: ready(watched) == {"sensor@2"})
    assert ready(alone) == {"sensor@1"}
    assert (await score(alone)).version == 1


# --- which models are served -------------------------------------------------------------------


async def test_explicit_hub_loads_what_is_named_and_nothing_else(
    put: Publish, hubs: Hubs, loads: Loads
) -> None:
    for name in "abc":
        put(sensor, name)
    hub = hubs(repository="explicit", models={"a"}, pinned={"b"})
    await hub.start()
    assert ready(hub) == {"a@1", "b@1"}
    assert hub.not_ready == ""
    with pytest.raises(NotReady, match="c is not loaded; POST /v2/repository/models/c/load"):
        await hub.find("c")
    assert [entry["state"] for entry in await hub.listing()] == ["ready", "ready", "unloaded"]
    await hub.load("c")
    assert (await score(hub, "c")).version == 1
    assert loads.refs == ["a@1", "b@1", "c@1"]


async def test_explicit_hub_without_any_model_is_ready(hubs: Hubs) -> None:
    hub = hubs(repository="explicit")
    await hub.start()
    assert hub.not_ready == ""


async def test_explicit_hub_whose_model_is_not_there_is_not_ready_until_it_is(
    put: Publish, hubs: Hubs
) -> None:
    hub = hubs(repository="explicit", models={"sensor"})
    await hub.start()
    assert hub.not_ready == "not loaded: sensor"
    put(sensor)
    await hub.load("sensor")
    assert hub.not_ready == ""


async def test_explicit_hub_keeps_to_the_version_that_was_loaded(put: Publish, hubs: Hubs) -> None:
    put(sensor)
    hub = hubs(repository="explicit", models={"sensor"})
    await hub.start()
    put(sensor)
    assert (await score(hub)).version == 1
    with pytest.raises(NotReady):
        await hub.find("sensor@2")
    assert (await score(hub)).version == 1
    old = await find(hub, "sensor")
    await hub.load("sensor")
    assert (await score(hub)).version == 2
    await until(lambda: is_closed(old))


async def test_explicit_hub_says_why_what_it_was_told_to_load_failed(
    put: Publish, hubs: Hubs
) -> None:
    put(bad_graph, "bad")
    hub = hubs(repository="explicit")
    await hub.start()
    with pytest.raises(NotReady, match="failed to load"):
        await hub.load("bad")
    with pytest.raises(NotReady, match="failed to load"):
        await hub.find("bad")


async def test_lazy_hub_is_ready_at_once_and_loads_what_is_asked_for(
    put: Publish, hubs: Hubs, loads: Loads
) -> None:
    for name in "abc":
        put(sensor, name)
    hub = hubs(lazy=True, pinned={"c"})
    await hub.start()
    assert hub.not_ready == ""
    assert loads.refs == ["c@1"]
    assert [entry["state"] for entry in await hub.listing()] == ["unloaded", "unloaded", "ready"]
    assert (await score(hub, "a")).version == 1
    assert ready(hub) == {"a@1", "c@1"}


@pytest.mark.usefixtures("watchful")
async def test_lazy_hub_swaps_what_serves_and_leaves_the_rest_on_the_disk(
    put: Publish, hubs: Hubs
) -> None:
    put(sensor, "a")
    put(sensor, "b")
    hub = hubs(lazy=True)
    await hub.start()
    await score(hub, "a")
    put(sensor, "b")
    put(sensor, "a")
    await until(lambda: ready(hub) == {"a@2"})
    assert hub.catalog.shelves["b"].versions == [1, 2]
    assert (await score(hub, "b")).version == 2


async def test_thousand_models_are_listed_rightly_and_ready_without_being_loaded(
    put: Publish, hubs: Hubs, root: Path, loads: Loads
) -> None:
    put(sensor)
    plain(root / "plain-0000" / "1")
    for number in range(1, 1000):
        shutil.copytree(root / "plain-0000", root / f"plain-{number:04}", copy_function=_link)
    hub = hubs(lazy=True)
    await hub.start()
    assert hub.not_ready == ""
    entries = await hub.listing()
    names = [f"plain-{number:04}" for number in range(1000)]
    assert [entry["id"] for entry in entries] == [*names, "sensor"]
    assert {entry["state"] for entry in entries} == {"unloaded"}
    assert Counter(entry["task"] for entry in entries) == {"inference": 1000, "telemetry": 1}
    assert loads.count == 0
    await find(hub, "plain-0777")
    assert [e["id"] for e in await hub.listing() if e["state"] == "ready"] == ["plain-0777"]
    assert loads.refs == ["plain-0777@1"]


def _link(source: str, target: str) -> None:
    """A thousand copies of one file need not be a thousand files."""
    Path(target).hardlink_to(source)


# --- an operator's word ------------------------------------------------------------------------


@pytest.mark.usefixtures("watchful")
async def test_unloaded_model_stays_away_until_it_is_loaded(
    put: Publish, hubs: Hubs, loads: Loads
) -> None:
    put(sensor)
    put(shades)
    hub = hubs()
    await hub.start()
    old = await find(hub, "sensor")
    await hub.unload("sensor")
    await until(lambda: is_closed(old))
    with pytest.raises(NotReady, match="sensor is not loaded"):
        await hub.find("sensor")
    assert hub.not_ready == ""
    assert (await hub.entry("sensor"))["state"] == "unloaded"
    put(sensor)  # what is published meanwhile does not bring it back either
    put(shades)
    await until(lambda: ready(hub) == {"shades@2"})
    for ref in ("sensor", "sensor@1", "sensor@2"):
        with pytest.raises(NotReady):
            await hub.find(ref)
    assert loads.refs == ["sensor@1", "shades@1", "shades@2"]
    await hub.load("sensor")
    assert (await score(hub)).version == 2
    put(sensor)
    await until(lambda: ready(hub) == {"shades@2", "sensor@3"})


async def test_unload_lets_requests_in_hand_finish(put: Publish, hubs: Hubs) -> None:
    put(snail)
    hub = hubs()
    await hub.start()
    asks = [asyncio.create_task(score(hub, "snail", [200, value])) for value in range(6)]
    await until(lambda: hub.residency.loaded["snail", 1].lanes["model"].batcher.running_s)
    model = hub.residency.loaded["snail", 1]
    await hub.unload("snail")
    replies = await asyncio.gather(*asks)
    assert [reply.outputs[0]["score"] for reply in replies] == list(range(6))
    await until(lambda: is_closed(model))


async def test_model_that_is_unloaded_while_it_loads_does_not_come(
    put: Publish, hubs: Hubs, loads: Loads
) -> None:
    put(sensor)
    hub = hubs(lazy=True)
    await hub.start()
    loads.hold()
    asks = [asyncio.create_task(hub.find("sensor")) for _ in range(2)]
    await loads.begun()
    await hub.unload("sensor")
    loads.release()
    for ask in asks:
        with pytest.raises(NotReady, match="sensor is not loaded"):
            await ask
    assert ready(hub) == set()
    await until(lambda: not hub.residency.leaving)
    await hub.load("sensor")
    assert (await score(hub)).version == 1


async def test_load_names_what_is_not_there(put: Publish, hubs: Hubs) -> None:
    put(sensor)
    hub = hubs()
    for ref in ("nothing", "sensor@9", "sensor@stable"):
        with pytest.raises(NotFound):
            await hub.load(ref)
    with pytest.raises(NotFound):
        await hub.unload("nothing")
    with pytest.raises(BadName):
        await hub.load("No Name")


async def test_load_of_one_version_does_not_change_what_the_name_means(
    put: Publish, hubs: Hubs
) -> None:
    put(sensor)
    put(sensor)
    hub = hubs(repository="explicit", models={"sensor"})
    await hub.start()
    await hub.load("sensor@1")
    assert ready(hub) == {"sensor@1", "sensor@2"}
    assert (await score(hub)).version == 2
    assert (await score(hub, "sensor@1")).version == 1


async def test_plain_graph_that_was_replaced_is_read_again_when_it_is_loaded_again(
    hubs: Hubs, root: Path
) -> None:
    plain(root / "adder" / "1", adds=1)
    hub = hubs()
    await hub.start()
    assert (await hub.manifest("adder")).graphs["model"].inputs[0].shape == ("N", 2)
    await hub.unload("adder")
    shutil.rmtree(root / "adder" / "1")
    plain(root / "adder" / "1", adds=5, columns=3)
    await hub.load("adder")
    assert (await hub.manifest("adder")).graphs["model"].inputs[0].shape == ("N", 3)
    assert (await hub.entry("adder"))["input"]["tensors"][0]["shape"] == [3]
    with await hub.find("adder") as model:
        ask = Ask("adder", "predict", [[1, 2, 3]], {}, time.monotonic() + PATIENCE_S)
        reply = await hub.answer(ask, model)
    assert reply.outputs[0]["outputs"]["y"] == [6, 7, 8]


async def test_load_tries_again_what_failed(put: Publish, hubs: Hubs, loads: Loads) -> None:
    put(sensor)
    loads.broken.add("sensor")
    hub = hubs(repository="all")
    await hub.start()
    loads.broken.clear()
    with pytest.raises(NotReady, match="failed to load"):
        await hub.find("sensor")
    await hub.load("sensor")
    assert hub.not_ready == ""
    assert (await score(hub)).version == 1


# --- aliases -----------------------------------------------------------------------------------


async def test_stable_moves_the_default_there_and_back(put: Publish, hubs: Hubs) -> None:
    for _ in range(3):
        put(sensor)
    hub = hubs()
    await hub.start()
    assert (await score(hub)).version == 3
    assert await hub.set_alias("sensor", "stable", 1) == {"stable": 1}
    assert (await score(hub)).version == 1
    assert (await hub.entry("sensor"))["version"] == 1
    assert await hub.set_alias("sensor", "stable", 2) == {"stable": 2}
    assert (await score(hub)).version == 2
    assert (await score(hub, "sensor@stable")).version == 2
    assert ready(hub) == {"sensor@2"}
    assert await hub.drop_alias("sensor", "stable") == {}
    await until(lambda: ready(hub) == {"sensor@3"})
    assert (await score(hub)).version == 3
    with pytest.raises(NotFound):
        await hub.find("sensor@stable")


async def test_alias_is_kept_in_the_store_for_the_next_start(put: Publish, hubs: Hubs) -> None:
    put(sensor)
    put(sensor)
    first = hubs()
    await first.start()
    await first.set_alias("sensor", "stable", 1)
    second = hubs()
    await second.start()
    assert (await score(second)).version == 1


async def test_alias_moves_only_to_a_version_that_loads(
    root: Path, put: Publish, hubs: Hubs
) -> None:
    put(sensor)
    hub = hubs(repository="all")
    await hub.start()
    await hub.set_alias("sensor", "stable", 1)
    put(bad_graph, "sensor")
    with pytest.raises(NotReady):
        await hub.set_alias("sensor", "stable", 2)
    with pytest.raises(NotFound):
        await hub.set_alias("sensor", "stable", 9)
    with pytest.raises(BadName):
        await hub.set_alias("sensor", "7", 1)
    with pytest.raises(NotFound):
        await hub.drop_alias("sensor", "old")
    assert Store(root).aliases("sensor") == {"stable": 1}
    assert (await score(hub)).version == 1


async def test_damaged_aliases_do_not_stop_a_model(root: Path, put: Publish, hubs: Hubs) -> None:
    put(sensor)
    (root / "sensor" / "aliases.json").write_text("{")
    hub = hubs()
    await hub.start()
    assert hub.not_ready == ""
    assert (await score(hub)).version == 1


async def swap_under_load(hub: ModelHub, swap: Callable[[int], Any], swaps: int) -> Counter[int]:
    """How many answers each version gave, all right, while the alias went back and forth."""
    versions: Counter[int] = Counter()
    ended = asyncio.Event()

    async def ask(seed: int) -> None:
        for number in itertools.count(seed):
            if ended.is_set():
                return
            reply = await score(hub, "sensor", [number % 100, 0, 0])
            assert reply.outputs[0]["score"] == number % 100 + reply.version
            versions[reply.version] += 1

    asks = [asyncio.create_task(ask(seed)) for seed in range(6)]
    for number in range(swaps):
        await swap(1 + number % 2)
    ended.set()
    await asyncio.gather(*asks)
    return versions


async def test_hundred_swaps_under_load_lose_nothing_and_mix_nothing_up(
    put: Publish, hubs: Hubs
) -> None:
    put(adding(1), "sensor")
    put(adding(2), "sensor")
    hub = hubs(repository="all")  # with nothing else that loads: each swap is a load
    await hub.start()
    models: set[LoadedModel] = set()

    async def swap(version: int) -> None:
        await hub.set_alias("sensor", "stable", version)
        models.update(hub.residency.loaded.values())

    versions = await swap_under_load(hub, swap, 100)
    assert set(versions) == {1, 2}
    await until(lambda: not hub.residency.leaving)
    assert len(models) == 100
    assert sum(not is_closed(model) for model in models) == 1  # the others were let go of


@pytest.mark.usefixtures("watchful")
async def test_swaps_that_are_made_in_the_store_lose_nothing_either(
    put: Publish, hubs: Hubs, root: Path
) -> None:
    put(adding(1), "sensor")
    put(adding(2), "sensor")
    hub = hubs()
    await hub.start()

    async def swap(version: int) -> None:
        await asyncio.to_thread(Store(root).set_alias, "sensor", "stable", version)
        await until(lambda: ready(hub) == {f"sensor@{version}"})

    assert set(await swap_under_load(hub, swap, 10)) == {1, 2}


# --- memory ------------------------------------------------------------------------------------


async def test_hub_whose_models_do_not_all_fit_is_ready_and_serves_them_in_turn(
    put: Publish, hubs: Hubs, loads: Loads
) -> None:
    for name in "abc":
        put(sensor, name)
        loads.memory_bytes[name] = 40 * MB
    hub = hubs(max_memory_bytes=100 * MB, pinned={"a"})
    await hub.start()
    assert hub.not_ready == ""
    assert "a@1" in ready(hub)
    for name in "bcbca":
        assert (await score(hub, name)).outputs[0]["score"] == 3
        assert f"{name}@1" in ready(hub)
        assert hub.residency.memory_bytes <= 100 * MB
    assert hub.not_ready == ""


async def test_model_that_never_fits_is_left_out_at_the_start_and_refused(
    put: Publish, hubs: Hubs, loads: Loads
) -> None:
    put(sensor, "large")
    put(sensor)
    loads.memory_bytes.update(large=101 * MB, sensor=10 * MB)
    hub = hubs(max_memory_bytes=100 * MB)
    await hub.start()
    assert hub.not_ready == ""
    with pytest.raises(NoRoom):
        await hub.find("large")
    assert (await hub.entry("large"))["state"] == "unloaded"
    assert (await score(hub)).version == 1


async def test_batch_that_does_not_fit_the_memory_is_halved_and_every_row_answered(
    put: Publish, hubs: Hubs
) -> None:
    put(greedy)
    hub = hubs()
    await hub.start()
    assert (await hub.entry("greedy"))["batching"] == {"max_rows": 8}
    reply = await score(hub, "greedy", *[[1, value] for value in range(8)])
    assert [answer["score"] for answer in reply.outputs] == list(range(8))
    assert (await hub.entry("greedy"))["batching"] == {"max_rows": 2}
    with pytest.raises(OutOfMemory):
        await score(hub, "greedy", [9, 1])
    assert (await score(hub, "greedy", [1, 5])).outputs[0]["score"] == 5


# --- leaving -----------------------------------------------------------------------------------


async def test_draining_hub_is_not_ready_answers_what_is_loaded_and_loads_no_more(
    put: Publish, hubs: Hubs
) -> None:
    put(sensor)
    hub = hubs()
    await hub.start()
    put(sensor)
    hub.draining = True
    assert hub.not_ready == "draining"
    assert (await score(hub)).version == 1
    with pytest.raises(NotReady, match="draining"):
        await hub.find("sensor@2")


async def test_closing_finishes_what_is_queued(put: Publish, hubs: Hubs) -> None:
    put(snail)
    hub = hubs()
    await hub.start()
    asks = [asyncio.create_task(score(hub, "snail", [300, value])) for value in range(6)]
    await until(lambda: hub.residency.loaded["snail", 1].lanes["model"].batcher.running_s)
    await hub.close(timeout_s=PATIENCE_S)
    replies = await asyncio.gather(*asks)
    assert [reply.outputs[0]["score"] for reply in replies] == list(range(6))


async def test_closing_during_a_load_does_not_wait_for_it(
    put: Publish, hubs: Hubs, loads: Loads
) -> None:
    put(sensor)
    hub = hubs()
    loads.hold()
    starting = asyncio.create_task(hub.start())
    await loads.begun()
    starting.cancel()
    await asyncio.wait_for(hub.close(timeout_s=PATIENCE_S), PATIENCE_S)
    loads.release()


@pytest.mark.usefixtures("watchful")
async def test_closed_hub_follows_nothing_any_more(put: Publish, hubs: Hubs, loads: Loads) -> None:
    put(sensor)
    hub = hubs()
    await hub.start()
    await hub.close(timeout_s=PATIENCE_S)
    put(sensor)
    await asyncio.sleep(0.05)  # five looks at the store, were there any
    assert loads.refs == ["sensor@1"]


async def test_stuck_names_a_lane_that_makes_no_progress(put: Publish, hubs: Hubs) -> None:
    put(tide)
    put(snail)
    hub = hubs(stuck_s=0.001)
    await hub.start()
    assert hub.stuck == ""
    answer = asyncio.create_task(score(hub, "snail", [3000, 1]))
    seen = set()
    while not answer.done():
        seen.add(hub.stuck)
        await asyncio.sleep(0.002)
    assert "snail@1" in seen
    assert hub.stuck == ""
    tide_lane = (await find(hub, "tide")).lanes["model"]
    await asyncio.to_thread(tide_lane.batcher.close, timeout_s=PATIENCE_S)
    assert hub.stuck == "tide@1"


# --- telling -----------------------------------------------------------------------------------


async def test_entry_tells_all_that_the_contract_lists(put: Publish, hubs: Hubs) -> None:
    put(shades)
    put(codec)
    hub = hubs()
    await hub.start()
    for entry in await hub.listing():
        assert {
            "id", "object", "created", "owned_by", "version", "versions", "aliases", "family",
            "category", "task", "state", "verbs", "input", "answer", "metrics", "size_bytes",
            "memory_bytes", "provider", "device", "description", "license",
        } <= set(entry)  # fmt: skip
        assert entry["object"] == "model"
        assert entry["size_bytes"] > 0
        assert entry["memory_bytes"] > 0
        assert (entry["provider"], entry["device"]) == ("CPUExecutionProvider", "cpu")
        assert entry["batching"] == {"max_rows": 64}
        assert time.time() - 3600 < entry["created"] <= time.time()
    assert (await hub.entry("shades"))["verbs"] == ["predict", "embed", "explain"]
    assert (await hub.entry("shades"))["input"]["kind"] == "image"
    assert (await hub.entry("shades"))["answer"]["kind"] == "classes"


async def test_unreadable_manifest_is_an_entry_with_its_reason(
    root: Path, put: Publish, hubs: Hubs
) -> None:
    put(sensor)
    (root / "sensor" / "1" / MANIFEST_FILE).write_bytes(b"{}")
    hub = hubs()
    await hub.start()
    (entry,) = await hub.listing()
    assert entry["state"] == "failed"
    assert "manifest.json" in entry["reason"]
    assert (entry["id"], entry["versions"]) == ("sensor", [1])


async def test_only_files_that_the_manifest_lists_are_given_out(
    root: Path, put: Publish, hubs: Hubs
) -> None:
    put(shades)
    hub = hubs()
    (root / "shades" / "1" / "stranger.txt").write_text("not published")
    card = await hub.file("shades", "card.md")
    assert card is not None
    assert card.read_text().startswith("# Shades")
    for name in ("stranger.txt", "manifest.json", "../1/card.md", "", "/etc/passwd", "pictures"):
        assert await hub.file("shades", name) is None


async def test_store_whose_folder_vanishes_is_not_found(
    root: Path, put: Publish, hubs: Hubs
) -> None:
    put(sensor)
    hub = hubs()
    shutil.rmtree(root)
    starting = asyncio.create_task(hub.start())  # waits for the folder to come
    await until(lambda: str(root) in hub.not_ready)
    with pytest.raises(NotFound):
        await hub.find("sensor")
    starting.cancel()
