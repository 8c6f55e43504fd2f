"""Which versions are in memory: loaded once, within the budget, let go of when not needed."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from model_store.errors import NotFound
from model_store.manifest import Manifest
from model_store.store import Store
from service.errors import NoRoom, NotReady
from service.ground import Ground
from service.loaded import LoadedModel
from service.residency import FIRST_RETRY_S, LAST_RETRY_S, Residency
from service.settings import Settings
from service.telemetry import Telemetry
from service.turns import Turns
from tests.service.bundles import codec, sensor, shades, snail, tide
from tests.service.loads import MB, Loads, bad_example, bad_graph
from tests.service.workbench import PATIENCE_S, Clock, until

Publish = Callable[..., Manifest]
Residencies = Callable[..., Residency]
A, B, C = ("a", 1), ("b", 1), ("c", 1)


@pytest.fixture
def told() -> list[str]:
    """The models whose versions came or left, in order."""
    return []


@pytest.fixture
async def residencies(
    root: Path, quiet: dict[str, Any], told: list[str]
) -> AsyncIterator[Residencies]:
    made: list[Residency] = []

    def make(**options: Any) -> Residency:
        settings = Settings(**{**quiet, **options})
        ground = Ground(settings, asyncio.get_running_loop(), Turns(1))
        made.append(Residency(Store(root), ground, Telemetry(), told.append))
        return made[-1]

    yield make
    for residency in made:
        await residency.close(timeout_s=PATIENCE_S)


def lanes_of(name: str) -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith(f"lane {name}@")]


def is_closed(model: LoadedModel) -> bool:
    return all(lane.runner._session is None for lane in model.lanes.values())


# --- coming ------------------------------------------------------------------------------------


async def test_many_who_ask_at_once_share_one_load(
    residencies: Residencies, put: Publish, loads: Loads, told: list[str]
) -> None:
    put(sensor)
    residency = residencies()
    loads.hold()
    asks = [asyncio.create_task(residency.load(("sensor", 1))) for _ in range(8)]
    await loads.begun()
    assert set(residency.coming) == {("sensor", 1)}
    assert residency.loaded == {}
    loads.release()
    models = await asyncio.gather(*asks)
    assert loads.count == 1
    assert all(model is models[0] for model in models)
    assert residency.loaded == {("sensor", 1): models[0]}
    assert residency.coming == {}
    assert told == ["sensor"]
    assert await residency.load(("sensor", 1)) is models[0]
    assert loads.count == 1


async def test_one_who_gives_up_does_not_stop_the_load_for_others(
    residencies: Residencies, put: Publish, loads: Loads
) -> None:
    put(sensor)
    residency = residencies()
    loads.hold()
    gone, stays = (asyncio.create_task(residency.load(("sensor", 1))) for _ in range(2))
    await loads.begun()
    gone.cancel()
    loads.release()
    assert (await stays).manifest.name == "sensor"
    assert gone.cancelled()
    assert loads.count == 1


async def test_load_goes_on_when_everyone_gave_up(
    residencies: Residencies, put: Publish, loads: Loads
) -> None:
    put(sensor)
    residency = residencies()
    loads.hold()
    gone = asyncio.create_task(residency.load(("sensor", 1)))
    await loads.begun()
    gone.cancel()
    loads.release()
    await until(lambda: residency.loaded)
    assert loads.count == 1


async def test_versions_load_one_after_another(
    residencies: Residencies, put: Publish, loads: Loads
) -> None:
    put(sensor, "a")
    put(sensor, "b")
    residency = residencies()
    loads.hold()
    asks = [asyncio.create_task(residency.load(key)) for key in (A, B)]
    await loads.begun()
    assert set(residency.coming) == {A, B}
    assert loads.refs == ["a@1"]
    loads.release()
    await asyncio.gather(*asks)
    assert loads.refs == ["a@1", "b@1"]


@pytest.mark.parametrize("maker", [bad_graph, bad_example])
async def test_failure_is_told_with_its_reason_and_not_tried_again_unless_asked_for(
    residencies: Residencies, put: Publish, loads: Loads, root: Path, maker: Any, told: list[str]
) -> None:
    put(maker, "bad")
    residency = residencies()
    for _ in range(3):
        with pytest.raises(NotReady, match="bad@1 failed to load: ") as caught:
            await residency.load(("bad", 1))
        assert str(root) not in str(caught.value)
    assert loads.count == 1
    with pytest.raises(NotReady):
        await residency.load(("bad", 1), again=True)
    assert loads.count == 2
    assert residency.failed[("bad", 1)].reason in str(caught.value)
    assert lanes_of("bad") == []
    assert told == []


async def test_success_after_a_failure_forgets_it(
    residencies: Residencies, put: Publish, loads: Loads
) -> None:
    put(sensor)
    residency = residencies()
    loads.broken.add("sensor")
    with pytest.raises(NotReady, match="sensor is broken"):
        await residency.load(("sensor", 1))
    loads.broken.clear()
    await residency.load(("sensor", 1), again=True)
    assert residency.failed == {}


async def test_each_failure_waits_twice_as_long_for_the_next_try_up_to_a_limit(
    residencies: Residencies, put: Publish, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(sensor)
    residency = residencies()
    clock = Clock()
    monkeypatch.setattr("service.residency.time", clock)
    loads.broken.add("sensor")
    waits = []
    for _ in range(8):
        with pytest.raises(NotReady):
            await residency.load(("sensor", 1), again=True)
        waits.append(residency.failed[("sensor", 1)].retry_at - clock.now)
        clock.now += waits[-1]
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
    assert (waits[0], waits[-1]) == (FIRST_RETRY_S, LAST_RETRY_S)


async def test_second_graph_that_fails_takes_the_first_one_down_with_it(
    residencies: Residencies, put: Publish
) -> None:
    def half(folder: Path) -> Any:
        draft = codec(folder)
        (folder / "decoder.onnx").write_bytes(b"not a graph")
        return draft

    put(half, "half")
    with pytest.raises(NotReady, match=r"decoder\.onnx"):
        await residencies().load(("half", 1))
    assert lanes_of("half") == []


async def test_version_that_is_not_there_is_not_found_and_no_failure(
    residencies: Residencies, put: Publish
) -> None:
    put(sensor)
    residency = residencies()
    for key in (("sensor", 2), ("nothing", 1)):
        with pytest.raises(NotFound):
            await residency.load(key)
    assert residency.failed == {}
    assert residency.coming == {}


# --- leaving -----------------------------------------------------------------------------------


async def test_version_that_nobody_uses_is_closed_at_once(
    residencies: Residencies, put: Publish, told: list[str]
) -> None:
    put(sensor)
    residency = residencies()
    model = await residency.load(("sensor", 1))
    gone = residency.retire(("sensor", 1))
    assert residency.loaded == {}
    assert told == ["sensor", "sensor"]
    await asyncio.wait_for(gone, PATIENCE_S)
    assert is_closed(model)
    assert residency.leaving == {}
    assert not model.lanes["model"].batcher.alive


async def test_version_in_use_is_closed_when_the_last_lease_ends(
    residencies: Residencies, put: Publish
) -> None:
    put(sensor)
    residency = residencies()
    model = await residency.load(("sensor", 1))
    model.acquire()
    model.acquire()
    gone = residency.retire(("sensor", 1))
    model.release()
    await asyncio.sleep(0)
    assert not gone.done()
    assert not is_closed(model)
    assert set(residency.leaving) == {("sensor", 1)}
    with model:  # gives the last one back
        assert not is_closed(model)
    await asyncio.wait_for(gone, PATIENCE_S)
    assert is_closed(model)
    assert residency.leaving == {}


async def test_version_may_come_again_while_it_is_still_leaving(
    residencies: Residencies, put: Publish
) -> None:
    put(sensor)
    residency = residencies()
    first = await residency.load(("sensor", 1))
    first.acquire()
    gone = residency.retire(("sensor", 1))
    second = await residency.load(("sensor", 1))
    assert second is not first
    first.release()
    await asyncio.wait_for(gone, PATIENCE_S)
    assert is_closed(first)
    assert not is_closed(second)
    assert residency.loaded == {("sensor", 1): second}


async def test_metrics_tell_of_memory_only_while_it_is_taken(
    residencies: Residencies, put: Publish
) -> None:
    put(sensor)
    residency = residencies()
    registry = residency._telemetry.registry
    labels = {"model": "sensor", "version": "1"}
    model = await residency.load(("sensor", 1))
    told = registry.get_sample_value("modelhub_model_memory_bytes", labels)
    assert told == model.memory_bytes > 0
    await residency.retire(("sensor", 1))
    assert registry.get_sample_value("modelhub_model_memory_bytes", labels) is None
    assert registry.get_sample_value("modelhub_load_seconds", {**labels, "phase": "load"})


# --- the budget --------------------------------------------------------------------------------


@pytest.fixture
def three(put: Publish, loads: Loads) -> Loads:
    """Models a, b and c of 40 MB each."""
    for name in "abc":
        put(sensor, name)
        loads.memory_bytes[name] = 40 * MB
    return loads


async def use(residency: Residency, *keys: tuple[str, int]) -> None:
    for key in keys:
        model = await residency.load(key)
        model.acquire()
        model.release()


@pytest.mark.usefixtures("three")
async def test_without_a_budget_everything_stays(residencies: Residencies) -> None:
    residency = residencies()
    await use(residency, A, B, C)
    assert set(residency.loaded) == {A, B, C}
    assert residency.memory_bytes == 120 * MB


@pytest.mark.usefixtures("three")
async def test_least_recently_used_makes_room(residencies: Residencies, told: list[str]) -> None:
    residency = residencies(max_memory_bytes=100 * MB)
    await use(residency, A, B, A)
    first = residency.loaded[B]
    await use(residency, C)
    assert set(residency.loaded) == {A, C}
    assert residency.memory_bytes == 80 * MB
    assert is_closed(first)
    await use(residency, B)
    assert set(residency.loaded) == {B, C}
    assert told == ["a", "b", "b", "c", "a", "b"]


async def test_no_more_leave_than_have_to(residencies: Residencies, three: Loads) -> None:
    three.memory_bytes.update(a=60 * MB, b=10 * MB, c=30 * MB)
    residency = residencies(max_memory_bytes=90 * MB)
    await use(residency, B, A, C)
    assert set(residency.loaded) == {A, C}
    three.memory_bytes["a"] = 5 * MB
    residency = residencies(max_memory_bytes=90 * MB)
    await use(residency, A, B, C)
    assert set(residency.loaded) == {A, B, C}


@pytest.mark.usefixtures("three")
async def test_pinned_model_stays_whoever_else_is_used(residencies: Residencies) -> None:
    residency = residencies(max_memory_bytes=100 * MB, pinned={"a"})
    await use(residency, A, B, B, C, C, B)
    assert set(residency.loaded) == {A, B}


async def test_model_that_cannot_fit_beside_the_pinned_is_refused_and_nothing_leaves_for_it(
    residencies: Residencies, three: Loads
) -> None:
    three.memory_bytes["c"] = 70 * MB
    residency = residencies(max_memory_bytes=100 * MB, pinned={"a"})
    await use(residency, A)
    with pytest.raises(NoRoom, match="c@1 needs 70,000,000 bytes; pinned models leave 60,000,000"):
        await residency.load(C)
    assert set(residency.loaded) == {A}
    assert residency.failed == {}  # it may fit another time
    assert lanes_of("c") == []
    assert residency.coming == {}


async def test_model_larger_than_the_budget_is_refused(
    residencies: Residencies, three: Loads
) -> None:
    three.memory_bytes["b"] = 101 * MB
    residency = residencies(max_memory_bytes=100 * MB)
    await use(residency, A)
    with pytest.raises(NoRoom, match="b@1 needs 101,000,000 bytes; the memory budget is 100,000"):
        await residency.load(B)
    assert set(residency.loaded) == {A}
    assert lanes_of("b") == []


async def test_size_that_was_seen_is_known_before_the_next_load(
    residencies: Residencies, three: Loads
) -> None:
    three.memory_bytes["b"] = 101 * MB
    residency = residencies(max_memory_bytes=100 * MB)
    for _ in range(3):
        with pytest.raises(NoRoom):
            await residency.load(B)
    assert three.refs == ["b@1"]


async def test_weights_alone_may_be_too_much_to_begin_with(
    residencies: Residencies, put: Publish, loads: Loads, root: Path
) -> None:
    put(sensor)
    size = (root / "sensor" / "1" / "model.onnx").stat().st_size
    with pytest.raises(NoRoom):
        await residencies(max_memory_bytes=size - 1).load(("sensor", 1))
    assert loads.count == 0


async def test_newcomer_waits_until_what_it_displaces_has_been_let_finish(
    residencies: Residencies, three: Loads
) -> None:
    residency = residencies(max_memory_bytes=50 * MB)
    model = await residency.load(A)
    residency._sizes[B] = 40 * MB
    model.acquire()
    coming = asyncio.create_task(residency.load(B))
    await until(lambda: residency.leaving)
    assert not is_closed(model)
    assert three.refs == ["a@1"]  # there would be no room for both
    model.release()
    await coming
    assert is_closed(model)
    assert set(residency.loaded) == {B}


@pytest.mark.usefixtures("three")
async def test_request_that_does_not_end_holds_a_newcomer_up_for_a_while_only(
    residencies: Residencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.residency.CLOSE_S", 0.05)
    residency = residencies(max_memory_bytes=50 * MB)
    model = await residency.load(A)
    model.acquire()
    await residency.load(B)
    assert set(residency.loaded) == {B}
    model.release()
    await until(lambda: is_closed(model))


@pytest.mark.usefixtures("three")
async def test_many_who_come_at_once_stay_within_the_budget(residencies: Residencies) -> None:
    residency = residencies(max_memory_bytes=100 * MB)
    await asyncio.gather(*(residency.load(key) for key in (A, B, C) * 3))
    assert residency.memory_bytes <= 100 * MB
    assert len(residency.loaded) == 2


# --- the end -----------------------------------------------------------------------------------


async def test_close_unloads_everything_and_waits_for_what_was_leaving(
    residencies: Residencies, put: Publish
) -> None:
    put(shades)
    put(tide)
    residency = residencies()
    stays, leaves = [await residency.load((name, 1)) for name in ("shades", "tide")]
    leaves.acquire()
    residency.retire(("tide", 1))
    closing = asyncio.create_task(residency.close(timeout_s=PATIENCE_S))
    await until(lambda: is_closed(stays))
    assert not closing.done()
    leaves.release()
    await closing
    assert is_closed(leaves)


async def test_close_leaves_behind_what_takes_longer(
    residencies: Residencies, put: Publish
) -> None:
    put(snail)
    residency = residencies()
    model = await residency.load(("snail", 1))
    model.acquire()
    residency.retire(("snail", 1))
    await asyncio.wait_for(residency.close(timeout_s=0.05), PATIENCE_S)
    assert not is_closed(model)
    await asyncio.to_thread(model.close, timeout_s=PATIENCE_S)
    model.release()


async def test_close_does_not_wait_for_a_load(
    residencies: Residencies, put: Publish, loads: Loads
) -> None:
    put(sensor)
    residency = residencies()
    loads.hold()
    coming = asyncio.create_task(residency.load(("sensor", 1)))
    await loads.begun()
    await asyncio.wait_for(residency.close(timeout_s=PATIENCE_S), PATIENCE_S)
    with pytest.raises(asyncio.CancelledError):
        await coming
    loads.release()


# --- several GPUs ------------------------------------------------------------------------------


@pytest.mark.usefixtures("three")
async def test_next_model_goes_to_the_gpu_whose_models_weigh_least(
    residencies: Residencies,
) -> None:
    residency = residencies(device="cuda:0,cuda:1,cpu")
    await use(residency, A, B, C)
    places = {key: model.device for key, model in residency.loaded.items()}
    assert places == {A: "cuda:0", B: "cuda:1", C: "cuda:0"}
    for key in (A, C):
        await residency.retire(key)
    await use(residency, C)
    assert residency.loaded[C].device == "cuda:0"
    await use(residency, A)
    assert {model.device for model in residency.loaded.values()} == {"cuda:0", "cuda:1"}


@pytest.mark.usefixtures("three")
async def test_models_that_come_together_are_spread_over_the_gpus_too(
    residencies: Residencies,
) -> None:
    residency = residencies(device="cuda:0,cuda:1,cuda:2,cpu")
    await asyncio.gather(*(residency.load(key) for key in (A, B, C)))
    places = [residency.loaded[key].device for key in (A, B, C)]
    assert sorted(places) == ["cuda:0", "cuda:1", "cuda:2"]
