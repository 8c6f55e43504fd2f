"""A loaded graph behind its queue: padding, learning, warm-up, and answers that owe nothing to
mates.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store.bundle import Bundle
from model_store.manifest import Batching, Draft, Manifest
from model_store.spec import Tensors
from model_store.store import Store
from service import tuning
from service.errors import NotReady, OutOfMemory
from service.ground import Ground
from service.lane import Lane
from service.runner import Runner
from service.schema import BatchReport, Delivered, Priority
from service.settings import Settings
from service.tuning import Tuning
from service.turns import Turns
from tests.service.bundles import WEIGHTS, codec, sensor, shades, snail, words
from tests.service.odd_bundles import crowd, greedy, hermit, plain, quantised, turned
from tests.service.workbench import PATIENCE_S, until

Publish = Callable[[Callable[[Path], Draft]], Manifest]
Lanes = Callable[..., Lane]


@pytest.fixture
def reports() -> list[BatchReport]:
    return []


@pytest.fixture
async def lanes(
    root: Path, put: Publish, quiet: dict[str, Any], reports: list[BatchReport]
) -> AsyncIterator[Lanes]:
    """Makes lanes of bundles, in a thread and unmeasured unless told otherwise."""
    made: list[Lane] = []

    def make(
        maker: Callable[[Path], Draft], graph: str = "model", *, row: Tensors | None = None,
        guessed: bool = False, **options: Any,
    ) -> Lane:  # fmt: skip
        manifest = put(maker)
        settings = Settings(**{**quiet, **options})
        bundle = Store(root).open(f"{manifest.name}@{manifest.version}")
        ground = Ground(settings, asyncio.get_running_loop(), Turns(settings.threads))
        row = example(bundle, graph) if row is None else row
        made.append(
            Lane(bundle, graph, row, ground=ground, tell=reports.append, guessed=guessed)
        )  # fmt: skip
        return made[-1]

    yield make
    for lane in made:
        await asyncio.to_thread(lane.close, timeout_s=PATIENCE_S)


def example(bundle: Bundle, graph: str) -> Tensors:
    """One row as the graph's own verb encodes its example."""
    for name, verb in bundle.manifest.verbs.items():
        if verb.graph == graph:
            for_input, _ = verb.read_parameters({})
            encoded = bundle.encoder(name)(verb.example, for_input)
            return {key: array[:1] for key, array in encoded.tensors.items()}
    raise AssertionError(f"no verb is served by {graph}")


def text(*ids: int) -> Tensors:
    tokens = np.array([ids], dtype=np.int64)
    return {"tokens": tokens, "mask": np.ones_like(tokens)}


def kindness(*ids: int) -> float:
    mean = sum(WEIGHTS[i] for i in ids) / len(ids)
    return float(1 / (1 + np.exp(-mean)))


async def positive(future: "asyncio.Future[Delivered]") -> float:
    delivered = await asyncio.wait_for(future, PATIENCE_S)
    return float(delivered.tensors["probabilities"][0, 1])


def ask(lane: Lane, tensors: Tensors) -> "asyncio.Future[Delivered]":
    return lane.ask(tensors, time.monotonic() + PATIENCE_S, Priority.NORMAL)


def table(*rows: tuple[float, ...]) -> Tensors:
    return {"table": np.array(rows, dtype=np.float32)}


# --- padding -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "padded"), [(1, 4), (4, 4), (5, 8), (8, 8), (9, 9)])
async def test_padded_axis_grows_to_the_next_length_with_zeros(
    lanes: Lanes, length: int, padded: int
) -> None:
    tensors, lengths = lanes(words).pad(text(*[2] * length))
    assert tensors["tokens"].tolist() == [[2] * length + [0] * (padded - length)]
    assert tensors["mask"].tolist() == [[1] * length + [0] * (padded - length)]
    assert tensors["mask"].dtype == np.int64
    assert lengths == {"T": length}


async def test_graph_without_a_mask_is_never_padded(lanes: Lanes) -> None:
    lane = lanes(shades)
    given = {"image": np.zeros((1, 1, 4, 4), dtype=np.uint8)}
    tensors, lengths = lane.pad(given)
    assert tensors is given
    assert lane.crop(given, lengths) is given


def tagger(folder: Path) -> Draft:
    """The words' graph, said to give an output as long as its input."""
    draft = words(folder)
    graph = draft.graphs["model"]
    outputs = tuple(t.model_copy(update={"shape": ("N", "T")}) for t in graph.outputs)
    graphs = {"model": graph.model_copy(update={"outputs": outputs})}
    return draft.model_copy(update={"graphs": graphs})


async def test_what_padding_added_to_an_output_is_cut_off_again(lanes: Lanes) -> None:
    lane = lanes(tagger)
    _, lengths = lane.pad(text(1, 2, 3))
    outputs = {"probabilities": np.arange(8).reshape(2, 4)}
    assert lane.crop(outputs, lengths)["probabilities"].tolist() == [[0, 1, 2], [4, 5, 6]]
    _, lengths = lane.pad(text(1, 2, 3, 4))
    assert lane.crop(outputs, lengths)["probabilities"].shape == (2, 4)


async def test_axis_that_is_no_longer_than_its_input_is_left_as_it_is(lanes: Lanes) -> None:
    lane = lanes(words)
    _, lengths = lane.pad(text(1, 2, 3))
    outputs = {"probabilities": np.ones((5, 2), np.float32)}
    assert lane.crop(outputs, lengths)["probabilities"].shape == (5, 2)


# --- answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("tune", [False, True])
async def test_answer_depends_neither_on_padding_nor_on_mates(
    lanes: Lanes, reports: list[BatchReport], tune: bool
) -> None:
    lane = lanes(words, batch_delay_ms=200, tune=tune)
    texts = [(1,), (2, 2), (3, 4, 1), (1, 2, 3, 4), (4, 4, 4, 4, 1)]
    futures = [ask(lane, lane.pad(text(*ids))[0]) for ids in texts]
    for ids, future in zip(texts, futures, strict=True):
        assert await positive(future) == pytest.approx(kindness(*ids), abs=1e-6)
    assert sorted(report.rows for report in reports) == [1, 4]  # by bucket


@pytest.mark.parametrize("tune", [False, True])
async def test_row_alone_and_among_many_gets_the_same_numbers(lanes: Lanes, tune: bool) -> None:
    lane = lanes(sensor, tune=tune)
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(16, 3)).astype(np.float32)
    rows[:, 2] = 0
    alone = [lane.runner.run({"table": row[None]})["score"][0] for row in rows]
    futures = [ask(lane, {"table": row[None]}) for row in rows]
    together = [(await future).tensors["score"][0] for future in futures]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("tune", [False, True])
async def test_poison_that_only_the_graph_can_see_fails_alone(lanes: Lanes, tune: bool) -> None:
    lane = lanes(sensor, tune=tune)
    rows = np.zeros((6, 3), dtype=np.float32)
    rows[:, 0] = range(6)
    rows[4, 2] = 99  # no such code: the graph refuses the whole batch
    futures = [ask(lane, {"table": row[None]}) for row in rows]
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    scores = [
        outcome.tensors["score"][0] if isinstance(outcome, Delivered) else None
        for outcome in outcomes
    ]
    assert scores == [0, 1, 2, 3, None, 5]


async def test_batches_are_cut_to_the_lower_of_the_models_and_the_servers_limit(
    lanes: Lanes, reports: list[BatchReport]
) -> None:
    assert lanes(words).batcher.max_rows == 8
    assert lanes(words, max_batch_rows=3).batcher.max_rows == 3
    lane = lanes(snail, max_batch_rows=100)
    await ask(lane, table(*[(1, 1)] * 10))
    assert [report.rows for report in reports] == [4, 4, 2]


async def test_future_that_is_cancelled_takes_its_rows_out_of_the_queue(lanes: Lanes) -> None:
    lane = lanes(snail)
    runs = ask(lane, table((2000, 1)))
    await until(lambda: lane.batcher.running_s)
    gone = ask(lane, table((1, 2), (1, 3)))
    assert lane.batcher.queued_rows == 2
    gone.cancel()
    await asyncio.sleep(0)  # a future's callbacks run on the next turn of the loop
    assert lane.batcher.queued_rows == 0
    assert (await runs).tensors["score"].tolist() == [1]


async def test_each_graph_of_a_bundle_has_a_lane_of_its_own(lanes: Lanes) -> None:
    encoder, decoder = lanes(codec), lanes(codec, "decoder")
    doubled = await ask(encoder, table((1, 2)))
    assert doubled.tensors["embedding"].tolist() == [[2, 4]]
    noise = {"noise": np.zeros((2, 8), np.float32), "label": np.array([0, 1])}
    drawn = await ask(decoder, noise)
    assert drawn.tensors["image"][:, 0, 0, 0].tolist() == [80, 180]


async def test_batch_that_does_not_fit_the_memory_is_halved_for_good(
    lanes: Lanes, reports: list[BatchReport]
) -> None:
    lane = lanes(greedy)
    assert lane.batcher.max_rows == 8
    for _ in range(2):
        scores = (await ask(lane, table(*[(1, k) for k in range(8)]))).tensors["score"]
        assert scores.tolist() == list(range(8))
    tried = [(report.rows, report.failed) for report in reports]
    first = [(8, True), (4, True), (2, False), (2, False), (4, True), (2, False), (2, False)]
    assert tried == first + [(2, False)] * 4
    assert lane.batcher.max_rows == 2


async def test_row_that_never_fits_the_memory_is_told_so_and_its_mate_is_answered(
    lanes: Lanes,
) -> None:
    lane = lanes(greedy)
    fits, never = ask(lane, table((1, 5))), ask(lane, table((3, 6)))
    with pytest.raises(OutOfMemory):
        await never
    assert (await fits).tensors["score"].tolist() == [5]


# --- what is learned at load ---------------------------------------------------------------------


@pytest.mark.parametrize("tune", [False, True])
@pytest.mark.parametrize("maker", [crowd, hermit, quantised])
async def test_graph_whose_rows_must_not_meet_runs_each_alone_and_says_why(
    lanes: Lanes, reports: list[BatchReport], maker: Callable[[Path], Draft], tune: bool
) -> None:
    lane = lanes(maker, tune=tune)
    assert not lane.batches
    assert lane.why_not
    rows = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    alone = [lane.runner.run({"table": row[None]})["vector"] for row in rows]
    one, rest = ask(lane, {"table": rows[:1]}), ask(lane, {"table": rows[1:]})
    np.testing.assert_array_equal((await one).tensors["vector"], alone[0])
    np.testing.assert_array_equal((await rest).tensors["vector"], np.concatenate(alone[1:]))
    assert [report.rows for report in reports] == [1] * 5


async def test_graph_whose_output_has_no_row_axis_runs_each_request_as_it_came(
    lanes: Lanes, reports: list[BatchReport]
) -> None:
    lane = lanes(turned, max_batch_rows=8)
    assert not lane.has_rows
    assert "has shape" in lane.why_not
    futures = [ask(lane, table((1, 2, 3), (4, 5, 6))), ask(lane, table((7, 8, 9)))]
    outputs = [next(iter((await future).tensors.values())) for future in futures]
    assert [array.shape for array in outputs] == [(3, 2), (3, 1)]
    assert len(reports) == 2


def declaring(*shape: int | str) -> Callable[[Path], Draft]:
    """A maker whose graph gives three numbers a row, and whose manifest says something of it."""

    def liar(folder: Path) -> Draft:
        draft = hermit(folder)
        graph = draft.graphs["model"]
        outputs = tuple(t.model_copy(update={"shape": shape}) for t in graph.outputs)
        graphs = {"model": graph.model_copy(update={"outputs": outputs})}
        return draft.model_copy(update={"graphs": graphs})

    return liar


@pytest.mark.parametrize("shape", [("N", 4), ("N",), ("N", 3, 1), (2, 3)])
async def test_output_that_is_not_as_declared_fails_the_load(
    lanes: Lanes, shape: tuple[int | str, ...]
) -> None:
    with pytest.raises(NotReady, match=r"output vector is declared as .*; a run gives \[1, 3\]"):
        lanes(declaring(*shape))


@pytest.mark.parametrize("shape", [("N", 3), ("N", "M"), ("...",)])
async def test_output_that_is_declared_loosely_is_taken_as_it_comes(
    lanes: Lanes, shape: tuple[int | str, ...]
) -> None:
    answer = await ask(lanes(declaring(*shape)), table((1, 2, 3)))
    assert answer.tensors["vector"].tolist() == [[1, 2, 3]]


async def test_reason_of_the_manifest_comes_before_one_that_was_found(lanes: Lanes) -> None:
    def told(folder: Path) -> Draft:
        draft = crowd(folder)
        batching = Batching(rows=False, reason="the card says so", max_rows=1)
        graphs = {"model": draft.graphs["model"].model_copy(update={"batching": batching})}
        return draft.model_copy(update={"graphs": graphs})

    lane = lanes(told)
    assert lane.why_not == "the card says so"
    assert not lane.has_rows
    whole = await ask(lane, table((1, 2, 3), (3, 2, 1)))
    assert whole.tensors["vector"].tolist() == [[-1, 0, 1], [1, 0, -1]]  # as it came


async def test_tiny_graph_runs_on_the_event_loop(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "sweep", lambda *_, inline, **__: Tuning(16, inline=inline))
    lane = lanes(sensor, tune=True, threads=2)
    assert not lane.batcher.threaded
    assert lane.runner.threads == 1
    assert (await ask(lane, table((1, 2, 0)))).tensors["score"].tolist() == [3]


@pytest.mark.parametrize("maker", [snail, shades, words])
async def test_only_a_graph_that_takes_as_long_for_any_input_may_run_on_the_event_loop(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch, maker: Callable[[Path], Draft]
) -> None:
    monkeypatch.setattr(tuning, "sweep", lambda *_, inline, **__: Tuning(1, inline=inline))
    lane = lanes(maker, tune=True)
    assert lane.batcher.threaded is (maker is snail)  # it has a loop; words are padded


async def test_axis_of_any_length_keeps_a_graph_off_the_event_loop(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpadded(folder: Path) -> Draft:
        draft = words(folder)
        graphs = {"model": draft.graphs["model"].model_copy(update={"batching": Batching()})}
        return draft.model_copy(update={"graphs": graphs})

    monkeypatch.setattr(tuning, "sweep", lambda *_, inline, **__: Tuning(1, inline=inline))
    assert lanes(unpadded, tune=True).batcher.threaded


async def test_slow_graph_may_run_on_all_cores_or_side_by_side(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Tuning(4, side_by_side=True), Tuning(4)]
    monkeypatch.setattr(tuning, "sweep", lambda *_, **__: found.pop(0))
    apart = lanes(snail, tune=True, threads=2)
    assert len(apart.batcher._threads) == 2
    assert apart._single is not None
    assert (apart.runner.threads, apart._single.threads) == (2, 1)
    together = lanes(snail, tune=True, threads=2, max_batch_rows=3)  # another key
    assert len(together.batcher._threads) == 1
    assert together._single is None
    for lane in (apart, together):
        scores = [ask(lane, table((1, k))) for k in range(20)]
        assert [(await one).tensors["score"][0] for one in scores] == list(range(20))


async def test_what_was_learned_is_kept_and_not_measured_again(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def sweep(*_: object, max_rows: int, **__: object) -> Tuning:
        measured.append(max_rows)
        return Tuning(5, reason="", rows_per_s=1.0)

    monkeypatch.setattr(tuning, "sweep", sweep)
    for _ in range(3):
        assert lanes(sensor, tune=True).batcher.max_rows == 5
    assert measured == [64]
    lanes(sensor, tune=True, max_batch_rows=32)  # other limits, another measurement
    lanes(sensor, tune=True, threads=2)
    lanes(words, tune=True)
    assert measured == [64, 32, 64, 8]


async def test_measurement_of_a_busy_machine_is_used_and_not_kept(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tuning, "sweep", lambda *_, **__: Tuning(5, quiet=False))
    assert lanes(sensor, tune=True).batcher.max_rows == 5
    assert not (tmp_path / "cache").exists()


async def test_reason_not_to_batch_is_kept_too(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "sweep", lambda *_, **__: Tuning(1, rows_per_s=1.0))
    reason = lanes(crowd, tune=True).why_not
    monkeypatch.setattr(tuning, "why_not_batch", None)
    assert lanes(crowd, tune=True).why_not == reason != ""


async def test_real_measurement_of_a_tiny_graph_answers_rightly(lanes: Lanes) -> None:
    lane = lanes(sensor, tune=True, threads=2)
    assert 1 <= lane.batcher.max_rows <= 64
    scores = [ask(lane, table((k, -1, 0))) for k in range(40)]
    assert [(await one).tensors["score"][0] for one in scores] == [k + 1 for k in range(40)]


# --- warm-up -----------------------------------------------------------------------------------


async def test_warm_up_runs_one_row_and_a_full_batch_in_every_bucket(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []
    run = Runner.run

    def watched(runner: Runner, tensors: Tensors) -> Tensors:
        shapes.append(tensors["tokens"].shape)
        assert tensors["mask"].shape == tensors["tokens"].shape
        return run(runner, tensors)

    monkeypatch.setattr(Runner, "run", watched)
    monkeypatch.setattr(tuning, "why_not_batch", lambda *_: "")
    # Longer than the first bucket: cut, not refused.
    lanes(words, row=text(1, 2, 3, 4, 1))
    assert sorted(shapes) == [(1, 4), (1, 8), (8, 4), (8, 8)]


async def test_row_that_the_graph_does_not_take_fails_the_load(lanes: Lanes) -> None:
    with pytest.raises(Exception, match="out of data bounds"):
        lanes(sensor, row=table((0, 0, 99)))


async def test_row_that_was_a_guess_is_not_held_against_the_graph(
    lanes: Lanes, reports: list[BatchReport]
) -> None:
    lane = lanes(sensor, row=table((0, 0, 99)), guessed=True)
    assert not lane.batches
    assert lane.why_not.startswith("it could not be tried: it fails on an input of zeros (")
    scores = await ask(lane, table((1, 2, 0), (3, 4, 0)))
    assert scores.tensors["score"].tolist() == [3, 7]
    assert [report.rows for report in reports] == [1, 1]


async def test_plain_graph_batches_as_its_axes_say(root: Path, quiet: dict[str, Any]) -> None:
    plain(root / "adder" / "1")
    bundle = Store(root).open("adder")
    loop = asyncio.get_running_loop()
    ground = Ground(Settings(**quiet), loop, Turns(1))
    row = {"x": np.zeros((1, 2), np.float32)}
    lane = Lane(bundle, "model", row, ground=ground, tell=lambda _: None, guessed=True)
    assert lane.batches
    answer = await ask(lane, {"x": np.array([[1, 2]], np.float32)})
    assert answer.tensors["y"].tolist() == [[2, 3]]
    await asyncio.to_thread(lane.close, timeout_s=PATIENCE_S)


# --- life --------------------------------------------------------------------------------------


async def test_running_time_is_zero_when_idle(lanes: Lanes) -> None:
    batcher = lanes(snail).batcher
    assert batcher.running_s == 0
    lane = lanes(snail)
    future = ask(lane, table((2000, 1)))
    seen = 0.0
    while not future.done():
        seen = max(seen, lane.batcher.running_s)
        await asyncio.sleep(0.001)
    assert seen > 0
    await asyncio.to_thread(lane.close, timeout_s=PATIENCE_S)
    assert lane.batcher.running_s == 0


@pytest.mark.parametrize("side_by_side", [False, True])
async def test_closed_lane_has_given_its_graph_back(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch, side_by_side: bool
) -> None:
    monkeypatch.setattr(tuning, "sweep", lambda *_, **__: Tuning(4, side_by_side=side_by_side))
    lane = lanes(snail, tune=True, threads=2)
    await asyncio.to_thread(lane.close, timeout_s=PATIENCE_S)
    assert lane.runner._session is None
    assert lane._single is None or lane._single._session is None
    with pytest.raises(NotReady):
        ask(lane, table((1, 1)))


async def test_lane_that_does_not_come_to_an_end_keeps_its_graph(lanes: Lanes) -> None:
    lane = lanes(snail)
    runs = ask(lane, table((2000, 7)))
    await until(lambda: lane.batcher.running_s)
    waits = ask(lane, table((1, 8)))
    await asyncio.to_thread(lane.close, timeout_s=0)
    assert (await runs).tensors["score"].tolist() == [7]
    assert (await waits).tensors["score"].tolist() == [8]


async def test_graph_that_is_none_leaves_no_thread_behind(lanes: Lanes) -> None:
    def broken(folder: Path) -> Draft:
        draft = sensor(folder)
        (folder / "model.onnx").write_bytes(b"not a graph")
        return draft

    with pytest.raises(NotReady, match=r"model\.onnx"):
        lanes(broken)
    assert not [t for t in threading.enumerate() if t.name.startswith("lane broken")]


async def test_phases_of_the_load_are_timed(lanes: Lanes) -> None:
    lane = lanes(sensor)
    assert set(lane.seconds) == {"load", "tune", "warm_up"}
    assert all(seconds > 0 for seconds in lane.seconds.values())
