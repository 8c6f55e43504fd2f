"""What the store holds, as it is kept in memory: followed on the disk, and told from memory."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from model_store.bundle import MANIFEST_FILE, Bundle
from model_store.errors import BadManifest, BadName, NotFound
from model_store.manifest import Manifest
from model_store.store import Store
from service.catalog import Catalog, Shelf
from tests.service.bundles import sensor, shades
from tests.service.odd_bundles import plain

Publish = Callable[..., Manifest]


@pytest.fixture
def catalog(root: Path) -> Iterator[Catalog]:
    with ThreadPoolExecutor(1) as pool:
        yield Catalog(Store(root), pool)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every version whose manifest was read from the disk, in order."""
    found: list[str] = []
    read = Bundle.open

    def watched(folder: Path) -> Bundle:
        found.append(f"{folder.parent.name}@{folder.name}")
        return read(folder)

    monkeypatch.setattr(Bundle, "open", watched)
    return found


def touch(folder: Path) -> None:
    """Put something into a folder, so that its time is another one."""
    before = folder.stat().st_mtime_ns
    number = 0
    while folder.stat().st_mtime_ns == before:  # clocks of file systems tick slowly
        (folder / f".touched-{number}").touch()
        number += 1


# --- scanning ----------------------------------------------------------------------------------


async def test_first_scan_finds_every_model_and_the_second_nothing_new(
    catalog: Catalog, put: Publish
) -> None:
    assert await catalog.scan() == []
    put(sensor)
    put(shades)
    assert sorted(await catalog.scan()) == ["sensor", "shades"]
    assert await catalog.scan() == []
    assert {name: shelf.versions for name, shelf in catalog.shelves.items()} == {
        "sensor": [1],
        "shades": [1],
    }


async def test_scan_names_what_was_published_moved_and_removed(
    catalog: Catalog, put: Publish, root: Path
) -> None:
    put(sensor)
    put(shades)
    store = Store(root)
    await catalog.scan()
    put(sensor)
    assert await catalog.scan() == ["sensor"]
    assert catalog.shelves["sensor"].versions == [1, 2]
    store.set_alias("sensor", "stable", 1)
    assert await catalog.scan() == ["sensor"]
    assert catalog.shelves["sensor"].aliases == {"stable": 1}
    store.drop_alias("sensor", "stable")
    assert await catalog.scan() == ["sensor"]
    assert catalog.shelves["sensor"].aliases == {}
    store.remove("sensor@1")
    assert await catalog.scan() == ["sensor"]
    assert catalog.shelves["sensor"].versions == [2]
    store.remove("shades")
    assert await catalog.scan() == ["shades"]
    assert set(catalog.shelves) == {"sensor"}
    shutil.rmtree(root / "sensor")
    assert await catalog.scan() == ["sensor"]
    assert catalog.shelves == {}
    assert await catalog.scan() == []


async def test_what_a_request_found_out_is_still_news_to_the_next_scan(
    catalog: Catalog, put: Publish
) -> None:
    put(sensor)
    await catalog.scan()
    put(sensor)
    with pytest.raises(NotFound):
        await catalog.resolve("sensor@9")  # looks at the disk, and sees version 2 by the way
    assert await catalog.scan() == ["sensor"]
    put(shades)
    assert await catalog.resolve("shades") == ("shades", 1)
    assert await catalog.scan() == ["shades"]
    assert await catalog.scan() == []


async def test_reading_that_was_overtaken_by_a_newer_one_is_put_right_by_the_next_scan(
    catalog: Catalog, put: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(sensor)
    await catalog.scan()
    old = catalog._read("sensor")
    put(sensor)
    await catalog.scan()
    with monkeypatch.context() as patch:
        patch.setattr(catalog, "_read", lambda _: old)  # as if it had begun before
        await catalog.refresh("sensor")
    assert catalog.shelves["sensor"].versions == [1]
    assert await catalog.scan() == ["sensor"]
    assert catalog.shelves["sensor"].versions == [1, 2]


async def test_request_for_what_is_not_there_is_no_news(catalog: Catalog, put: Publish) -> None:
    put(sensor)
    await catalog.scan()
    for ref in ("sensor@9", "sensor@stable", "nothing"):
        with pytest.raises(NotFound):
            await catalog.resolve(ref)
    assert await catalog.scan() == []


async def test_scan_reads_only_the_model_that_changed(
    catalog: Catalog, put: Publish, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        put(sensor, name)
    await catalog.scan()
    read, names = catalog._read, []

    def watched(name: str) -> Any:
        names.append(name)
        return read(name)

    monkeypatch.setattr(catalog, "_read", watched)
    touch(root / "b")
    assert await catalog.scan() == ["b"]
    assert names == ["b"]


async def test_folder_that_is_no_model_is_passed_over(
    catalog: Catalog, put: Publish, root: Path
) -> None:
    put(sensor)
    (root / "Not A Model" / "1").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / ".hidden" / "1").mkdir(parents=True)
    (root / "file").write_text("")
    (root / "link").symlink_to(root / "nowhere")
    await catalog.scan()
    assert set(catalog.shelves) == {"sensor"}


async def test_store_that_cannot_be_read_for_a_moment_changes_nothing(
    catalog: Catalog, put: Publish, root: Path
) -> None:
    put(sensor)
    await catalog.scan()
    shutil.move(root, root.with_name("away"))
    assert await catalog.scan() == []
    assert await catalog.resolve("sensor") == ("sensor", 1)
    shutil.move(root.with_name("away"), root)
    assert await catalog.scan() == []


async def test_damaged_aliases_leave_the_versions_served(
    catalog: Catalog, put: Publish, root: Path
) -> None:
    put(sensor)
    (root / "sensor" / "aliases.json").write_text("{")
    await catalog.scan()
    assert await catalog.resolve("sensor") == ("sensor", 1)
    assert catalog.shelves["sensor"].aliases == {}


# --- finding -----------------------------------------------------------------------------------


async def test_reference_means_what_the_store_says_it_means(
    catalog: Catalog, put: Publish, root: Path
) -> None:
    for _ in range(3):
        put(sensor)
    store = Store(root)
    store.set_alias("sensor", "stable", 2)
    store.set_alias("sensor", "old", 1)
    await catalog.scan()
    for ref in ("sensor", "sensor@1", "sensor@3", "sensor@stable", "sensor@old"):
        assert await catalog.resolve(ref) == store.resolve(ref)
    assert catalog.shelves["sensor"].target == 2
    store.drop_alias("sensor", "stable")
    await catalog.scan()
    assert await catalog.resolve("sensor") == store.resolve("sensor") == ("sensor", 3)


@pytest.mark.parametrize(
    "ref", ["nothing", "sensor@2", "sensor@0", "sensor@stable", "nothing@1", "sensor@1234567890123"]
)
async def test_reference_to_what_is_not_there_is_not_found(
    catalog: Catalog, put: Publish, ref: str
) -> None:
    put(sensor)
    await catalog.scan()
    with pytest.raises(NotFound):
        await catalog.resolve(ref)


@pytest.mark.parametrize("ref", ["", "@1", "Sensor", "../sensor", "sensor@", "sensor@1@1", "a/b"])
async def test_reference_that_cannot_be_is_a_bad_name(catalog: Catalog, ref: str) -> None:
    with pytest.raises(BadName):
        await catalog.resolve(ref)


async def test_what_was_published_a_moment_ago_is_found_without_a_scan(
    catalog: Catalog, put: Publish
) -> None:
    await catalog.scan()
    put(sensor)
    assert await catalog.resolve("sensor") == ("sensor", 1)
    put(sensor)
    assert await catalog.resolve("sensor@2") == ("sensor", 2)


async def test_stable_that_names_a_version_which_is_gone_is_passed_over(
    catalog: Catalog, put: Publish, root: Path
) -> None:
    put(sensor)
    put(sensor)
    Store(root).set_alias("sensor", "stable", 1)
    shutil.rmtree(root / "sensor" / "1")
    await catalog.scan()
    assert await catalog.resolve("sensor") == ("sensor", 2)


async def test_whoever_knows_what_is_loaded_chooses_what_a_bare_name_means(
    catalog: Catalog, put: Publish
) -> None:
    def choose(name: str, shelf: Shelf) -> int:
        return min(loaded, default=shelf.target) if name == "sensor" else shelf.target

    loaded: set[int] = set()
    catalog.choose = choose
    put(sensor)
    put(sensor)
    await catalog.scan()
    assert await catalog.resolve("sensor") == ("sensor", 2)
    loaded.add(1)
    assert await catalog.resolve("sensor") == ("sensor", 2)  # nobody has said that it changed
    catalog.settle("sensor")
    assert await catalog.resolve("sensor") == ("sensor", 1)
    assert await catalog.resolve("sensor@2") == ("sensor", 2)
    catalog.settle("nothing")


# --- manifests and entries ---------------------------------------------------------------------


async def test_manifest_is_read_once(catalog: Catalog, put: Publish, opened: list[str]) -> None:
    put(sensor)
    await catalog.scan()
    assert opened == []  # a scan of many models reads no manifest
    for _ in range(3):
        assert (await catalog.manifest(("sensor", 1))).task == "telemetry"
        assert (await catalog.entry(("sensor", 1)))["task"] == "telemetry"
    assert opened == ["sensor@1"]


async def test_manifest_that_is_forgotten_is_read_again(
    catalog: Catalog, root: Path, opened: list[str]
) -> None:
    plain(root / "adder" / "1")
    await catalog.scan()
    assert (await catalog.entry(("adder", 1)))["id"] == "adder"
    catalog.forget(("adder", 1))
    catalog.forget(("nothing", 1))
    assert (await catalog.entry(("adder", 1)))["id"] == "adder"
    assert opened == ["adder@1", "adder@1"]


async def test_manifest_that_cannot_be_read_is_an_entry_with_its_reason_until_it_can(
    catalog: Catalog, put: Publish, root: Path
) -> None:
    put(sensor)
    path = root / "sensor" / "1" / MANIFEST_FILE
    text = path.read_bytes()
    path.write_bytes(text[:-9])
    await catalog.scan()
    with pytest.raises(BadManifest):
        await catalog.manifest(("sensor", 1))
    entry = await catalog.entry(("sensor", 1))
    assert entry["state"] == "failed"
    assert MANIFEST_FILE in entry["reason"]
    path.write_bytes(text)
    assert "state" not in await catalog.entry(("sensor", 1))


async def test_entry_of_a_model_that_is_gone_is_not_found(catalog: Catalog) -> None:
    with pytest.raises(NotFound):
        await catalog.entry(("sensor", 1))


async def test_entries_say_which_versions_and_aliases_there_are_now(
    catalog: Catalog, put: Publish, root: Path
) -> None:
    put(sensor)
    await catalog.scan()
    assert (await catalog.entry(("sensor", 1)))["versions"] == [1]
    put(sensor)
    Store(root).set_alias("sensor", "kept", 1)
    await catalog.scan()
    entry = await catalog.entry(("sensor", 1))
    assert (entry["versions"], entry["aliases"]) == ([1, 2], {"kept": 1})


async def test_many_who_ask_at_once_get_the_same(catalog: Catalog, put: Publish) -> None:
    put(sensor)
    found = await asyncio.gather(*(catalog.resolve("sensor") for _ in range(20)), catalog.scan())
    assert found[:-1] == [("sensor", 1)] * 20
