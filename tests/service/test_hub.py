"""References to loaded versions: what loads, what fails and says so, what moves and what leaves."""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_store.errors import BadName, NotFound
from model_store.manifest import Draft, Manifest
from model_store.store import Store
from service.errors import DeadlinePassed, NotReady
from service.hub import ModelHub
from service.loaded import LoadedModel, load
from service.schema import Ask, Reply
from tests.service.bundles import codec, sensor, shades, snail, tide

PATIENCE_S = 20.0
Publish = Callable[..., Manifest]
Hubs = Callable[..., ModelHub]


async def score(hub: ModelHub, ref: str = "sensor") -> Reply:
    model = await hub.find(ref)
    return await hub.answer(Ask(ref, "score", [[1, 2, 0]], {}, time.monotonic() + 20), model)


def spoil(root: Path, name: str, file: str = "model.onnx", version: int = 1) -> None:
    """Change one byte of a published file."""
    path = root / name / str(version) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def bad_graph(folder: Path) -> Draft:
    """A bundle that hashes as it should and whose graph is none."""
    draft = sensor(folder)
    (folder / "model.onnx").write_bytes(b"not a graph")
    return draft


def bad_example(folder: Path) -> Draft:
    """A bundle whose own example makes its graph fail."""
    draft = sensor(folder)
    verb = draft.verbs["score"].model_copy(update={"example": [0, 0, 99]})
    return draft.model_copy(update={"verbs": {"score": verb}})


class Loads:
    """Counts loads, and can hold them."""

    def __init__(self) -> None:
        self.count = 0
        self.open = threading.Event()
        self.open.set()
        self.begun = threading.Event()

    def __call__(self, *arguments: Any) -> LoadedModel:
        self.count += 1
        self.begun.set()
        assert self.open.wait(PATIENCE_S)
        return load(*arguments)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    loads = Loads()
    monkeypatch.setattr("service.hub.load", loads)
    return loads


# --- loading -----------------------------------------------------------------------------------


async def test_hub_is_ready_once_every_model_is_loaded(
    put: Publish, hubs: Hubs, loads: Loads
) -> None:
    put(sensor)
    put(shades)
    hub = hubs()
    assert hub.not_ready == "loading"
    loads.open.clear()
    starting = asyncio.create_task(hub.start())
    assert await asyncio.to_thread(loads.begun.wait, PATIENCE_S)
    assert hub.not_ready == "loading"
    assert [entry["state"] for entry in await hub.listing()] == ["loading", "loading"]
    loads.open.set()
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


async def test_one_who_gives_up_does_not_stop_the_load_for_others(
    put: Publish, hubs: Hubs, loads: Loads
) -> None:
    put(sensor)
    hub = hubs()
    loads.open.clear()
    gone, stays = (asyncio.create_task(hub.find("sensor")) for _ in range(2))
    assert await asyncio.to_thread(loads.begun.wait, PATIENCE_S)
    gone.cancel()
    loads.open.set()
    assert (await stays).manifest.name == "sensor"
    assert gone.cancelled()
    assert loads.count == 1


async def test_deadline_holds_for_the_wait_for_a_load_too(
    put: Publish, hubs: Hubs, loads: Loads
) -> None:
    put(sensor)
    hub = hubs()
    loads.open.clear()
    with pytest.raises(DeadlinePassed, match=r"sensor@1 was loading"):
        await hub.find("sensor", time.monotonic() + 0.01)
    loads.open.set()
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
async def test_bundle_that_cannot_run_is_failed_with_the_reason_and_tried_once(
    root: Path, put: Publish, hubs: Hubs, loads: Loads, maker: Callable[[Path], Draft]
) -> None:
    put(maker, "bad")
    hub = hubs()
    await hub.start()
    for _ in range(2):
        with pytest.raises(NotReady, match="bad@1 failed to load: ") as caught:
            await hub.find("bad")
        assert str(root) not in str(caught.value)
    assert loads.count == 1
    assert (await hub.entry("bad"))["state"] == "failed"


async def test_failed_load_leaves_no_thread_behind(put: Publish, hubs: Hubs) -> None:
    put(bad_example, "bad")
    hub = hubs()
    await hub.start()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane bad")]


async def test_missing_file_is_refused_by_its_name(root: Path, put: Publish, hubs: Hubs) -> None:
    put(sensor)
    (root / "sensor" / "1" / "model.onnx").unlink()
    hub = hubs()
    await hub.start()
    assert "model.onnx cannot be read" in (await hub.entry("sensor"))["reason"]


# --- versions ----------------------------------------------------------------------------------


async def test_version_published_after_the_start_is_found_and_then_is_the_default(
    put: Publish, hubs: Hubs
) -> None:
    put(sensor)
    hub = hubs()
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


async def test_old_version_answers_while_the_new_one_loads(
    put: Publish, hubs: Hubs, loads: Loads
) -> None:
    put(sensor)
    hub = hubs()
    await hub.start()
    put(sensor)
    loads.begun.clear()
    loads.open.clear()
    coming = asyncio.create_task(hub.find("sensor@2"))
    assert await asyncio.to_thread(loads.begun.wait, PATIENCE_S)
    assert (await score(hub)).version == 1
    loads.open.set()
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
    hub = hubs()
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
    assert await hub.drop_alias("sensor", "stable") == {}
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
    hub = hubs()
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
    model = await hub.find("snail")
    asks = [
        Ask("snail", "score", [[300, value]], {}, time.monotonic() + PATIENCE_S)
        for value in range(6)
    ]
    answers = [asyncio.create_task(hub.answer(ask, model)) for ask in asks]
    await asyncio.sleep(0)
    await hub.close(timeout_s=PATIENCE_S)
    replies = await asyncio.gather(*answers)
    assert [reply.outputs[0]["score"] for reply in replies] == list(range(6))


async def test_closing_during_a_load_does_not_wait_for_it(
    put: Publish, hubs: Hubs, loads: Loads
) -> None:
    put(sensor)
    hub = hubs()
    loads.open.clear()
    starting = asyncio.create_task(hub.start())
    assert await asyncio.to_thread(loads.begun.wait, PATIENCE_S)
    starting.cancel()
    await asyncio.wait_for(hub.close(timeout_s=PATIENCE_S), PATIENCE_S)
    loads.open.set()


async def test_stuck_names_a_lane_that_makes_no_progress(put: Publish, hubs: Hubs) -> None:
    put(tide)
    put(snail)
    hub = hubs(stuck_s=0.001)
    await hub.start()
    assert hub.stuck == ""
    model = await hub.find("snail")
    ask = Ask("snail", "score", [[3000, 1]], {}, time.monotonic() + PATIENCE_S)
    answer = asyncio.create_task(hub.answer(ask, model))
    seen = set()
    while not answer.done():
        seen.add(hub.stuck)
        await asyncio.sleep(0.002)
    assert "snail@1" in seen
    assert hub.stuck == ""
    tide_lane = (await hub.find("tide")).lanes["model"]
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
            "memory_bytes", "provider", "description", "license",
        } <= set(entry)  # fmt: skip
        assert entry["object"] == "model"
        assert entry["size_bytes"] > 0
        assert entry["memory_bytes"] > 0
        assert entry["provider"] == "CPUExecutionProvider"
        assert time.time() - 3600 < entry["created"] <= time.time()
    assert (await hub.entry("shades"))["verbs"] == ["predict", "embed"]
    assert (await hub.entry("shades"))["input"]["kind"] == "image"
    assert (await hub.entry("shades"))["answer"]["kind"] == "classes"


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
    await hub.start()
    assert hub.not_ready == "the store has no models"
    with pytest.raises(NotFound):
        await hub.find("sensor")
