"""One request through a loaded model: each item its own answer, each refusal before the queue."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store.errors import ItemMismatch, ItemTooLarge
from model_store.manifest import Manifest
from model_store.spec import Tensors
from service import answering, tuning
from service.entry import Done, Way
from service.errors import (
    BodyTooLarge,
    DeadlinePassed,
    ModelFault,
    NoSuchVerb,
    Overloaded,
)
from service.hub import ModelHub
from service.loaded import LoadedModel
from service.schema import Ask, Priority, Reply
from service.tuning import Tuning
from tests.service.bundles import sensor, words
from tests.service.odd_bundles import plain

PATIENCE_S = 20.0
Publish = Callable[..., Manifest]
Hubs = Callable[..., ModelHub]


class Desk:
    """A hub over ``root``, asked in one line."""

    def __init__(self, hub: ModelHub) -> None:
        self.hub = hub

    async def ask(
        self, ref: str, verb: str, *items: object, timeout_s: float = PATIENCE_S, **parameters: Any
    ) -> Reply:
        deadline = time.monotonic() + timeout_s
        with await self.hub.find(ref) as model:
            return await self.hub.answer(Ask(ref, verb, list(items), parameters, deadline), model)

    async def find(self, ref: str) -> LoadedModel:
        """The model, without a lease: nothing leaves here."""
        with await self.hub.find(ref) as model:
            return model

    async def hold(self, ref: str, monkeypatch: pytest.MonkeyPatch) -> "Held":
        """Let no run of the model's main graph end before :meth:`Held.release`."""
        return Held(await self.find(ref), monkeypatch)


class Held:
    """A model whose runs the test lets go by hand."""

    def __init__(self, model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lane = model.lanes["model"]
        self.rows = 0
        self._open, self._entered = threading.Event(), threading.Event()
        self._real = self.lane.runner.run
        for way in ("_alone", "_shared"):
            monkeypatch.setattr(self.lane.batcher, way, Way(self._run))

    def _run(self, tensors: Tensors) -> Tensors:
        self.rows += len(next(iter(tensors.values())))
        self._entered.set()
        assert self._open.wait(PATIENCE_S)
        return self._real(tensors)

    async def entered(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, PATIENCE_S)

    def release(self) -> None:
        self._open.set()


@pytest.fixture
def desk(
    request: pytest.FixtureRequest, store: Path, hubs: Hubs, monkeypatch: pytest.MonkeyPatch
) -> Desk:
    """Its models run in threads, and on the event loop too where a test asks for ``either``."""
    inline = getattr(request, "param", "thread") == "inline"
    if inline:
        monkeypatch.setattr(tuning, "sweep", _unswept)
    return Desk(hubs(store=store, max_items=50, tune=inline))


def _unswept(*_: object, max_rows: int, inline: bool, **__: object) -> Tuning:
    return Tuning(max_rows, inline=inline)


either = pytest.mark.parametrize("desk", ["thread", "inline"], indirect=True)


# --- answers -----------------------------------------------------------------------------------


@either
async def test_items_of_several_shapes_are_answered_in_their_order(desk: Desk) -> None:
    texts = ["good", "bad bad bad bad bad", "fine", "poor poor poor poor poor poor", "bad"]
    together = await desk.ask("words", "predict", *texts)
    alone = [(await desk.ask("words", "predict", text)).outputs[0] for text in texts]
    assert [answer["label"] for answer in together.outputs] == [
        "positive", "negative", "positive", "negative", "negative",
    ]  # fmt: skip
    for one, other in zip(together.outputs, alone, strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-6)


@either
async def test_items_of_several_rows_get_their_own_rows_back(desk: Desk) -> None:
    reply = await desk.ask(
        "stamps", "generate", {"seed": 1, "n": 3}, {"seed": 2}, {"seed": 3, "n": 2}, label="b"
    )
    seeds = [[image["seed"] for image in answer["images"]] for answer in reply.outputs]
    assert seeds == [[1, 2, 3], [2], [3, 4]]
    first, second, third = (answer["images"] for answer in reply.outputs)
    assert first[1]["b64"] == second[0]["b64"]  # seed 2, wherever it stands
    assert first[2]["b64"] == third[0]["b64"]
    assert first[0]["b64"] != first[1]["b64"]


@either
async def test_same_seed_gives_the_same_picture_whoever_shares_the_batch(desk: Desk) -> None:
    wish = {"seed": 11, "label": "a"}
    alone = await desk.ask("stamps", "generate", wish)
    crowd = [desk.ask("stamps", "generate", {"n": 7}) for _ in range(4)]
    together, *_ = await asyncio.gather(desk.ask("stamps", "generate", wish), *crowd)
    assert together.outputs == alone.outputs


@either
async def test_two_verbs_of_one_graph_answer_from_their_own_outputs(desk: Desk) -> None:
    white = [[255] * 4] * 4
    predicted = await desk.ask("shades", "predict", white)
    embedded = await desk.ask("shades", "embed", white)
    assert predicted.outputs[0]["label"] == "bright"
    assert embedded.outputs[0]["vector"] == [1.0] * 16


@either
async def test_verbs_of_two_graphs_each_go_to_their_own(desk: Desk) -> None:
    assert (await desk.ask("codec", "embed", [1, 2])).outputs == [{"vector": [2.0, 4.0]}]
    drawn = await desk.ask("codec", "generate", {"seed": 5})
    assert drawn.outputs == (await desk.ask("stamps", "generate", {"seed": 5})).outputs


@either
async def test_large_request_is_split_and_answered_in_order(desk: Desk) -> None:
    rows = [[number, 0, 0] for number in range(50)]  # heavy enough for the pool
    reply = await desk.ask("sensor", "score", *rows)
    assert [answer["score"] for answer in reply.outputs] == list(range(50))
    assert reply.compute_s > 0


async def test_parameters_reach_the_input_and_the_answer(desk: Desk) -> None:
    reply = await desk.ask("words", "predict", "good " * 20, top_k=1, truncate=True)
    assert len(reply.outputs[0]["top"]) == 1


async def test_picture_is_unpacked_off_the_event_loop_however_small_its_file(desk: Desk) -> None:
    model = await desk.find("shades")
    encode, threads = model.encoders["predict"], []

    def watched(item: object, parameters: Any) -> Any:
        threads.append(threading.current_thread())
        return encode(item, parameters)

    model.encoders["predict"] = watched
    await desk.ask("shades", "predict", [[255] * 4] * 4)
    assert threads != [threading.main_thread()]


@pytest.mark.parametrize(
    ("ref", "verb", "off"),
    [
        ("silhouette", "predict", True),
        ("spots", "score", True),
        ("negative", "generate", True),
        ("shades", "predict", False),
        ("sensor", "score", False),
    ],
)
async def test_picture_is_packed_off_the_event_loop_and_a_small_answer_is_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, ref: str, verb: str, off: bool
) -> None:
    pack, threads = answering._decode, []

    def watched(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return pack(*arguments)

    monkeypatch.setattr(answering, "_decode", watched)
    model = await desk.find(ref)
    await desk.ask(ref, verb, model.verb(verb).example)
    assert (threads != [threading.main_thread()]) is off


@either
async def test_models_run_where_the_test_says(desk: Desk, request: pytest.FixtureRequest) -> None:
    inline = request.node.callspec.params["desk"] == "inline"
    for ref in ("sensor", "words", "shades", "stamps"):
        assert (await desk.find(ref)).lanes["model"].batcher.threaded is not inline


async def test_items_of_a_graph_without_rows_are_each_answered_whole(
    hubs: Hubs, root: Path
) -> None:
    plain(root / "pair" / "1", rows=2)
    desk = Desk(hubs())
    items = [[[k, 1], [k, 2]] for k in range(3)]
    reply = await desk.ask("pair", "predict", *items)
    assert [answer["outputs"]["y"] for answer in reply.outputs] == [
        [[k + 1, 2], [k + 1, 3]] for k in range(3)
    ]
    meter = (await desk.find("pair")).meter
    assert (meter.rows, meter.runs) == (3, 3)


# --- refusals ----------------------------------------------------------------------------------


@either
async def test_item_at_fault_is_named_by_its_place(desk: Desk) -> None:
    with pytest.raises(ItemMismatch, match="code") as caught:
        await desk.ask("sensor", "score", [1, 2, 3], [1, 2, "x"], [1, 2, 3])
    assert caught.value.index == 1
    with pytest.raises(ItemTooLarge) as large:
        await desk.ask("words", "predict", "good", "good", "good " * 9)
    assert large.value.index == 2


@either
async def test_fault_of_the_graph_is_named_by_its_items_place(desk: Desk) -> None:
    with pytest.raises(ModelFault) as caught:
        await desk.ask("sensor", "score", [1, 2, 3], [1, 2, 3], [1, 2, 99], [1, 2, 3])
    assert caught.value.row == 2


async def test_poison_of_one_request_leaves_another_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await desk.hold("sensor", monkeypatch)
    plug = asyncio.create_task(desk.ask("sensor", "score", [0, 0, 0]))
    await held.entered()
    asks = [
        asyncio.create_task(desk.ask("sensor", "score", [k, 0, 99 if k == 2 else 0]))
        for k in range(5)
    ]
    await asyncio.sleep(0)
    held.release()
    outcomes = await asyncio.gather(plug, *asks, return_exceptions=True)
    scores = [
        outcome.outputs[0]["score"] if isinstance(outcome, Reply) else type(outcome)
        for outcome in outcomes
    ]
    assert scores == [0, 0, 1, ModelFault, 3, 4]


@pytest.mark.parametrize(
    ("verb", "items", "parameters", "error"),
    [
        ("predict", [[1, 2, 3]], {}, NoSuchVerb),
        ("score", [], {}, ItemMismatch),
        ("score", [[1, 2, 3]] * 51, {}, BodyTooLarge),
        ("score", [[1, 2, 3]], {"top_k": 1}, ItemMismatch),
        ("score", [[1, 2]], {}, ItemMismatch),
    ],
)
async def test_refusal_comes_before_anything_is_queued(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    items: list[object],
    parameters: dict[str, Any],
    error: type[Exception],
) -> None:
    held = await desk.hold("sensor", monkeypatch)
    held.release()
    with pytest.raises(error):
        await desk.ask("sensor", verb, *items, **parameters)
    assert held.rows == 0
    assert (await desk.ask("sensor", "score", [1, 2, 0])).outputs[0]["score"] == 3


async def test_items_of_too_many_rows_are_refused_before_they_are_drawn(desk: Desk) -> None:
    draws = 0
    model = await desk.find("stamps")
    encode = model.encoders["generate"]

    def watched(item: object, parameters: Any) -> Any:
        nonlocal draws
        draws += 1
        return encode(item, parameters)

    model.encoders["generate"] = watched
    with pytest.raises(BodyTooLarge, match="at most 50 rows"):
        await desk.ask("stamps", "generate", *[{"n": 30}] * 40)
    assert draws == 2


async def test_request_larger_than_the_whole_queue_is_too_large_and_not_told_to_retry(
    put: Publish, hubs: Hubs
) -> None:
    put(sensor)
    desk = Desk(hubs(max_queue_rows=4))
    with pytest.raises(BodyTooLarge, match="at most 4 inputs"):
        await desk.ask("sensor", "score", *[[1, 2, 3]] * 5)
    assert len((await desk.ask("sensor", "score", *[[1, 2, 3]] * 4)).outputs) == 4


# --- giving up ---------------------------------------------------------------------------------


async def test_deadline_passed_in_the_queue_costs_no_compute(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await desk.hold("sensor", monkeypatch)
    plug = asyncio.create_task(desk.ask("sensor", "score", [0, 0, 0]))
    await held.entered()
    with pytest.raises(DeadlinePassed):
        await desk.ask("sensor", "score", [1, 0, 0], [2, 0, 0], timeout_s=0.01)
    await asyncio.sleep(0)
    assert held.lane.batcher.queued_rows == 0
    held.release()
    assert (await plug).outputs[0]["score"] == 0
    assert (await desk.ask("sensor", "score", [3, 0, 0])).outputs[0]["score"] == 3
    assert held.rows == 2


async def test_deadline_passed_during_the_run_is_told_without_waiting_for_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await desk.hold("sensor", monkeypatch)
    with pytest.raises(DeadlinePassed):
        await desk.ask("sensor", "score", [1, 0, 0], timeout_s=0.05)
    held.release()


async def test_cancelled_request_takes_all_its_shapes_out_of_the_queue(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await desk.hold("words", monkeypatch)
    plug = asyncio.create_task(desk.ask("words", "predict", "good"))
    await held.entered()
    gone = asyncio.create_task(desk.ask("words", "predict", "bad", "bad bad bad bad bad"))
    await asyncio.sleep(0)
    assert held.lane.batcher.queued_rows == 2
    gone.cancel()
    await asyncio.wait([gone])
    await asyncio.sleep(0)
    assert held.lane.batcher.queued_rows == 0
    held.release()
    assert (await plug).outputs[0]["label"] == "positive"
    assert held.rows == 1


async def test_request_refused_halfway_takes_its_first_half_back(
    put: Publish, hubs: Hubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(words)
    desk = Desk(hubs(max_queue_rows=4))
    held = await desk.hold("words", monkeypatch)
    asks = [asyncio.create_task(desk.ask("words", "predict", "good"))]
    await held.entered()
    asks.append(asyncio.create_task(desk.ask("words", "predict", "good", "good")))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):  # two fit beside the two that wait, and the third does not
        await desk.ask("words", "predict", "bad", "bad", "bad bad bad bad bad")
    await asyncio.sleep(0)
    assert held.lane.batcher.queued_rows == 2
    held.release()
    assert [len((await ask).outputs) for ask in asks] == [1, 2]


async def test_priority_of_the_request_is_its_place_in_the_queue(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = await desk.find("sensor")
    seen = []
    submit = model.lanes["model"].submit

    def watched(tensors: Tensors, deadline: float, done: Done, priority: Priority) -> Any:
        seen.append(priority)
        return submit(tensors, deadline, done, priority)

    monkeypatch.setattr(model.lanes["model"], "submit", watched)
    deadline = time.monotonic() + PATIENCE_S
    for priority in Priority:
        await desk.hub.answer(Ask("sensor", "score", [[1, 2, 3]], {}, deadline, priority), model)
    assert seen == list(Priority)


# --- numbers -----------------------------------------------------------------------------------


async def test_each_outcome_is_counted_under_its_reason(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = (await desk.find("sensor")).meter
    await desk.ask("sensor", "score", [1, 2, 0], [1, 2, 0])
    with pytest.raises(ItemMismatch):
        await desk.ask("sensor", "score", ["x", 2, 0])
    with pytest.raises(ModelFault):
        await desk.ask("sensor", "score", [1, 2, 99])
    held = await desk.hold("sensor", monkeypatch)
    with pytest.raises(DeadlinePassed):
        await desk.ask("sensor", "score", [1, 2, 0], timeout_s=0.01)
    gone = asyncio.create_task(desk.ask("sensor", "score", [1, 2, 0]))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    held.release()
    assert meter.success == 1
    assert meter.failure == {"REJECTED": 1, "CANCELED": 1, "BACKEND": 1, "OTHER": 1}
    assert meter.rows == 2


@either
async def test_padding_is_counted_in_cells(desk: Desk) -> None:
    telemetry = desk.hub.telemetry
    await desk.ask("words", "predict", "good", "good bad good")
    counted = telemetry.registry.get_sample_value(
        "modelhub_padding_cells_total", {"model": "words", "version": "1"}
    )
    assert counted == (3 + 1) * 2  # tokens and mask, both up to four


@either
async def test_pool_and_event_loop_encode_alike(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(3)
    rows = np.hstack([generator.normal(size=(8, 2)), np.zeros((8, 1))]).tolist()
    inline = await desk.ask("sensor", "score", *rows)
    monkeypatch.setattr("service.answering.INLINE_ROWS", 0)
    pooled = await desk.ask("sensor", "score", *rows)
    assert pooled.outputs == inline.outputs
