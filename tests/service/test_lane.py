"""A loaded graph behind its queue: padding, warm-up, and answers that owe nothing to mates."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store.manifest import Draft, Manifest
from model_store.spec import Encoded, Tensors
from model_store.store import Store
from service.lane import Lane
from service.schema import BatchReport, Delivered, Priority
from service.settings import Settings
from tests.service.bundles import WEIGHTS, codec, sensor, shades, snail, words

PATIENCE_S = 20.0
Publish = Callable[[Callable[[Path], Draft]], Manifest]
Lanes = Callable[..., Lane]


@pytest.fixture
def reports() -> list[BatchReport]:
    return []


@pytest.fixture
async def lanes(root: Path, put: Publish, reports: list[BatchReport]) -> AsyncIterator[Lanes]:
    made: list[Lane] = []

    def make(maker: Callable[[Path], Draft], graph: str = "model", **options: Any) -> Lane:
        manifest = put(maker)
        settings = Settings(**{"store": root, **options})
        bundle = Store(root).open(f"{manifest.name}@{manifest.version}")
        made.append(
            Lane(
                bundle,
                graph,
                settings=settings,
                threads=1,
                loop=asyncio.get_running_loop(),
                tell=reports.append,
            )
        )
        return made[-1]

    yield make
    for lane in made:
        await asyncio.to_thread(lane.close, timeout_s=PATIENCE_S)


def text(*ids: int) -> Encoded:
    tokens = np.array([ids], dtype=np.int64)
    return Encoded({"tokens": tokens, "mask": np.ones_like(tokens)})


def kindness(*ids: int) -> float:
    mean = sum(WEIGHTS[i] for i in ids) / len(ids)
    return float(1 / (1 + np.exp(-mean)))


async def positive(future: "asyncio.Future[Delivered]") -> float:
    delivered = await asyncio.wait_for(future, PATIENCE_S)
    return float(delivered.tensors["probabilities"][0, 1])


def submit(lane: Lane, tensors: Tensors) -> "asyncio.Future[Delivered]":
    return lane.submit(tensors, time.monotonic() + PATIENCE_S, Priority.NORMAL)


@pytest.mark.parametrize(("length", "padded"), [(1, 4), (4, 4), (5, 8), (8, 8), (9, 9)])
async def test_padded_axis_grows_to_the_next_length_with_zeros(
    lanes: Lanes, length: int, padded: int
) -> None:
    tensors = lanes(words).pad(text(*[2] * length))
    assert tensors["tokens"].tolist() == [[2] * length + [0] * (padded - length)]
    assert tensors["mask"].tolist() == [[1] * length + [0] * (padded - length)]
    assert tensors["mask"].dtype == np.int64


async def test_graph_without_a_mask_is_never_padded(lanes: Lanes) -> None:
    picture = np.zeros((1, 1, 4, 4), dtype=np.uint8)
    assert lanes(shades).pad(Encoded({"image": picture}))["image"] is picture


async def test_answer_depends_neither_on_padding_nor_on_mates(
    lanes: Lanes, reports: list[BatchReport]
) -> None:
    lane = lanes(words, batch_delay_ms=200)
    texts = [(1,), (2, 2), (3, 4, 1), (1, 2, 3, 4), (4, 4, 4, 4, 1)]
    futures = [submit(lane, lane.pad(text(*ids))) for ids in texts]
    for ids, future in zip(texts, futures, strict=True):
        assert await positive(future) == pytest.approx(kindness(*ids), abs=1e-6)
    assert sorted(report.rows for report in reports) == [1, 4]  # by bucket


async def test_row_alone_and_among_many_gets_the_same_numbers(lanes: Lanes) -> None:
    lane = lanes(sensor, batch_delay_ms=200)
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(16, 3)).astype(np.float32)
    rows[:, 2] = 0
    alone = [lane.runner.run({"table": row[None]})["score"][0] for row in rows]
    futures = [submit(lane, {"table": row[None]}) for row in rows]
    together = [(await future).tensors["score"][0] for future in futures]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)


async def test_poison_that_only_the_graph_can_see_fails_alone(lanes: Lanes) -> None:
    lane = lanes(sensor, batch_delay_ms=200)
    table = np.zeros((6, 3), dtype=np.float32)
    table[:, 0] = range(6)
    table[4, 2] = 99  # no such code: the graph refuses the whole batch
    futures = [submit(lane, {"table": row[None]}) for row in table]
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    scores = [
        outcome.tensors["score"][0] if isinstance(outcome, Delivered) else None
        for outcome in outcomes
    ]
    assert scores == [0, 1, 2, 3, None, 5]


async def test_batches_are_cut_to_the_lower_of_the_models_and_the_servers_limit(
    lanes: Lanes, reports: list[BatchReport]
) -> None:
    assert lanes(words).max_rows == 8
    assert lanes(words, max_batch_rows=3).max_rows == 3
    lane = lanes(snail, max_batch_rows=100)
    await submit(lane, {"table": np.ones((10, 2), dtype=np.float32)})
    assert [report.rows for report in reports] == [4, 4, 2]


async def test_warm_up_runs_one_row_and_a_full_batch_in_every_bucket(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = lanes(words)
    shapes: list[tuple[int, ...]] = []
    run = lane.runner.run

    def watched(tensors: Tensors) -> Tensors:
        shapes.append(tensors["tokens"].shape)
        assert tensors["mask"].shape == tensors["tokens"].shape
        return run(tensors)

    monkeypatch.setattr(lane.runner, "run", watched)
    lane.warm_up(text(1, 2, 3, 4, 1))  # longer than the first bucket: cut, not refused
    assert sorted(shapes) == [(1, 4), (1, 8), (8, 4), (8, 8)]


async def test_each_graph_of_a_bundle_has_a_lane_of_its_own(lanes: Lanes) -> None:
    encoder, decoder = lanes(codec), lanes(codec, "decoder")
    doubled = await submit(encoder, {"table": np.array([[1, 2]], dtype=np.float32)})
    assert doubled.tensors["embedding"].tolist() == [[2, 4]]
    noise = {"noise": np.zeros((2, 8), np.float32), "label": np.array([0, 1])}
    drawn = await submit(decoder, noise)
    assert drawn.tensors["image"][:, 0, 0, 0].tolist() == [80, 180]


async def test_running_time_is_zero_when_idle(lanes: Lanes) -> None:
    lane = lanes(snail)
    assert lane.running_s == 0
    future = submit(lane, {"table": np.array([[2000, 1]], dtype=np.float32)})
    seen = 0.0
    while not future.done():
        seen = max(seen, lane.running_s)
        await asyncio.sleep(0.001)
    assert seen > 0
    await asyncio.to_thread(lane.close, timeout_s=PATIENCE_S)
    assert lane.running_s == 0


async def test_closed_lane_has_given_its_graph_back(lanes: Lanes) -> None:
    lane = lanes(shades)
    lane.close(timeout_s=PATIENCE_S)
    assert lane.runner._session is None
