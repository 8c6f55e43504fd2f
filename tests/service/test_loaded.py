"""One version in memory: loaded whole or not at all, leased while it is used, closed once."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store.errors import CorruptBundle
from model_store.manifest import Draft, Manifest
from model_store.spec import Tensors
from model_store.store import Store
from service import loaded
from service.errors import NoSuchVerb
from service.ground import Ground
from service.loaded import LoadedModel, load, weight_bytes
from service.runner import Runner
from service.schema import BatchReport
from service.settings import Settings
from service.telemetry import Telemetry
from service.turns import Turns
from tests.service.bundles import codec, sensor, shades, words
from tests.service.odd_bundles import crowd, plain
from tests.service.picture_bundles import stamps
from tests.service.workbench import PATIENCE_S, Clock

Publish = Callable[..., Manifest]
Load = Callable[..., LoadedModel]


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
async def loading(root: Path, quiet: dict[str, Any], telemetry: Telemetry) -> AsyncIterator[Load]:
    """Loads a version of the test's store, and closes it."""
    made: list[LoadedModel] = []

    def make(ref: str, **options: Any) -> LoadedModel:
        settings = Settings(**{**quiet, **options})
        ground = Ground(settings, asyncio.get_running_loop(), Turns(1))
        made.append(load(Store(root).open(ref), ground, telemetry))
        return made[-1]

    yield make
    for model in made:
        await asyncio.to_thread(model.close, timeout_s=PATIENCE_S)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Tensors]:
    """The tensors of every run of a graph."""
    found: list[Tensors] = []
    run = Runner.run

    def watched(runner: Runner, tensors: Tensors) -> Tensors:
        found.append(tensors)
        return run(runner, tensors)

    monkeypatch.setattr(Runner, "run", watched)
    return found


# --- leases ------------------------------------------------------------------------------------


async def test_retired_model_is_free_when_the_last_lease_ends_and_only_once(
    loading: Load, put: Publish
) -> None:
    put(sensor)
    model = loading("sensor")
    freed: list[bool] = []
    for _ in range(3):
        model.acquire()
    model.retire(lambda: freed.append(True))
    model.release()
    with model:
        assert freed == []
    assert freed == []
    model.release()
    assert freed == [True]


async def test_retired_model_that_nobody_uses_is_free_at_once(loading: Load, put: Publish) -> None:
    put(sensor)
    model = loading("sensor")
    freed: list[bool] = []
    model.acquire()
    model.release()
    assert freed == []  # it is not retired
    model.retire(lambda: freed.append(True))
    assert freed == [True]


async def test_lease_is_given_back_however_its_block_ends(loading: Load, put: Publish) -> None:
    put(sensor)
    model = loading("sensor")
    freed: list[bool] = []
    model.acquire()
    model.retire(lambda: freed.append(True))
    with pytest.raises(RuntimeError), model:
        raise RuntimeError
    assert freed == [True]


async def test_each_lease_is_a_use(
    loading: Load, put: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(sensor)
    model = loading("sensor")
    before = model.last_used
    clock = Clock()
    monkeypatch.setattr("service.loaded.time", clock)
    clock.now = before + 5
    model.acquire()
    assert model.last_used == before + 5
    model.release()
    assert model.last_used == before + 5


# --- what it can -------------------------------------------------------------------------------


async def test_verb_that_it_does_not_have_is_refused_with_those_it_has(
    loading: Load, put: Publish
) -> None:
    put(shades)
    model = loading("shades")
    assert model.verb("embed").graph == "model"
    with pytest.raises(NoSuchVerb, match="shades cannot generate; it can predict, embed"):
        model.verb("generate")


async def test_main_lane_is_that_of_the_main_graph_else_the_first(
    loading: Load, put: Publish
) -> None:
    def renamed(folder: Path) -> Draft:
        draft = codec(folder)
        graphs = {"encoder": draft.graphs["model"], "decoder": draft.graphs["decoder"]}
        verb = draft.verbs["embed"].model_copy(update={"graph": "encoder"})
        return draft.model_copy(update={"graphs": graphs, "verbs": {**draft.verbs, "embed": verb}})

    put(codec)
    put(renamed)
    assert loading("codec").main.graph.file == "encoder.onnx"
    assert loading("renamed").main.graph.file == "encoder.onnx"


async def test_model_says_how_many_rows_share_a_run_or_why_none_do(
    loading: Load, put: Publish, root: Path
) -> None:
    put(words)
    put(crowd)
    plain(root / "pair" / "1", rows=2)
    assert loading("words").batching == {"max_rows": 8}
    assert loading("words", max_batch_rows=4).batching == {"max_rows": 4}
    reason = "a row's answer among 2 differs from its answer alone"
    assert loading("crowd").batching == {"max_rows": 1, "reason": reason}
    reason = "input x has a fixed first axis of 2"
    assert loading("pair").batching == {"max_rows": 1, "reason": reason}


# --- loading -----------------------------------------------------------------------------------


async def test_graph_is_tried_with_the_example_of_its_verb(
    loading: Load, put: Publish, ran: list[Tensors]
) -> None:
    put(sensor)
    loading("sensor")
    assert ran[0]["table"].tolist() == [[0.25, -0.5, 0]]


async def test_one_row_of_an_example_of_many_is_enough(
    loading: Load, put: Publish, ran: list[Tensors]
) -> None:
    def many(folder: Path) -> Draft:
        draft = stamps(folder)
        verb = draft.verbs["generate"].model_copy(update={"example": {"n": 9, "seed": 1}})
        return draft.model_copy(update={"verbs": {"generate": verb}})

    put(many)
    loading("many", max_batch_rows=2)
    assert max(len(tensors["noise"]) for tensors in ran) <= 3


async def test_graph_that_no_verb_serves_is_tried_with_zeros(
    loading: Load, put: Publish, ran: list[Tensors]
) -> None:
    def half(folder: Path) -> Draft:
        draft = codec(folder)
        return draft.model_copy(update={"verbs": {"embed": draft.verbs["embed"]}})

    put(half)
    model = loading("half")
    assert set(model.lanes) == {"model", "decoder"}
    tried = next(tensors for tensors in ran if "noise" in tensors)
    assert not tried["noise"].any()
    assert tried["noise"].shape == (1, 8)


async def test_plain_graph_too_large_for_an_example_is_tried_all_the_same(
    loading: Load, root: Path, ran: list[Tensors]
) -> None:
    plain(root / "wide" / "1", columns=20_000)
    model = loading("wide")
    assert model.manifest.verbs["predict"].example is None
    assert ran[0]["x"].shape == (1, 20_000)
    assert model.lanes["model"].batches


async def test_changed_file_is_refused_before_any_graph_is_opened(
    loading: Load, put: Publish, root: Path, ran: list[Tensors]
) -> None:
    put(codec, "changed")
    with (root / "changed" / "1" / "decoder.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(CorruptBundle, match=r"decoder\.onnx was changed"):
        loading("changed")
    assert ran == []
    assert not [t for t in threading.enumerate() if t.name.startswith("lane changed")]


async def test_encoder_that_cannot_be_made_fails_the_load(loading: Load, put: Publish) -> None:
    def wordless(folder: Path) -> Draft:
        draft = words(folder)
        (folder / "tokenizer.json").write_text("{}")
        return draft

    put(wordless)
    with pytest.raises(Exception, match="Model missing"):
        loading("wordless")
    assert not [t for t in threading.enumerate() if t.name.startswith("lane wordless")]


async def test_an_example_that_nobody_here_ran_need_not_work(loading: Load, put: Publish) -> None:
    def brought(folder: Path) -> Draft:
        draft = sensor(folder)
        verb = draft.verbs["score"].model_copy(update={"example": [0, 0, 99]})
        return draft.model_copy(update={"verbs": {"score": verb}, "provenance": None})

    put(brought)
    reason = str(loading("brought").batching["reason"])
    assert reason.startswith("it could not be tried: ")


async def test_memory_is_at_least_that_of_the_weights(loading: Load, put: Publish) -> None:
    def heavy(folder: Path) -> Draft:
        draft = sensor(folder)
        (folder / "model.onnx.data").write_bytes(bytes(3_000_000))
        (folder / "model.onnx_data").write_bytes(bytes(2_000_000))  # as Optimum names it
        (folder / "curve.png").write_bytes(bytes(7_000_000))
        return draft

    put(heavy)
    model = loading("heavy")
    graph = model.manifest.files["model.onnx"].size_bytes
    assert weight_bytes(model.bundle) == 5_000_000 + graph
    assert model.memory_bytes >= weight_bytes(model.bundle)


async def test_phases_are_told_as_the_sum_over_the_graphs(
    loading: Load, put: Publish, telemetry: Telemetry
) -> None:
    put(codec)
    model = loading("codec")
    labels = {"model": "codec", "version": "1"}
    for phase in ("load", "tune", "warm_up"):
        told = telemetry.registry.get_sample_value(
            "modelhub_load_seconds", {**labels, "phase": phase}
        )
        assert told == pytest.approx(sum(lane.seconds[phase] for lane in model.lanes.values()))
    phases = {"phase": "verify", **labels}
    assert telemetry.registry.get_sample_value("modelhub_load_seconds", phases)


async def test_runs_of_every_graph_are_counted_under_the_version(
    loading: Load, put: Publish, telemetry: Telemetry
) -> None:
    put(codec)
    model = loading("codec")
    assert model.meter is telemetry.meter("codec", 1)
    for lane in model.lanes.values():
        lane.batcher._tell(BatchReport(2, 0.1, [0.0]))
    assert (model.meter.runs, model.meter.rows) == (2, 4)
    assert model.meter.pending() == 0


async def test_model_that_is_closed_has_no_threads_and_no_graphs(
    loading: Load, put: Publish
) -> None:
    put(codec)
    model = loading("codec")
    await asyncio.to_thread(model.close, timeout_s=PATIENCE_S)
    for lane in model.lanes.values():
        assert not lane.batcher.alive
        assert lane.runner._session is None


def test_what_it_takes_is_read_from_the_system() -> None:
    before = loaded.resident_bytes()
    ballast = np.ones(8_000_000)
    assert loaded.resident_bytes() - before > 32_000_000
    assert before > 1_000_000
    assert ballast.any()
    loaded.trim_memory()
