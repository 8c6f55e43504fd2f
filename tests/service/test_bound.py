"""Runs from places of their own give what plain runs give. Here on the CPU's memory; the same with
CUDA's in ``test_cuda.py``.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from model_store.spec import Array
from service import bound
from service.bound import Places
from tests.service.bundles import sensor

OUTPUTS = ["score", "contributions"]


@pytest.fixture
def session(tmp_path: Path) -> Any:
    sensor(tmp_path)
    return onnxruntime.InferenceSession(
        str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]
    )


@pytest.fixture(params=[False, True], ids=["bound", "captured"])
def places(session: Any, request: pytest.FixtureRequest) -> Places:
    return Places(session, OUTPUTS, ("cpu", 0), graphs=request.param)


def rows(*numbers: float) -> Array:
    return np.array([[number, -number, 0] for number in numbers], np.float32)


def score(places: Places, table: Array) -> list[float]:
    outputs = places.run({"table": table})
    assert outputs is not None
    assert len(outputs) == len(OUTPUTS)
    found: list[float] = outputs[0].tolist()
    return found


def test_each_run_answers_what_came_with_it(places: Places) -> None:
    assert score(places, rows(1, 2)) == [2, 4]
    assert score(places, rows(3, 4)) == [6, 8]
    assert score(places, rows(5)) == [10]
    assert score(places, rows(6, 7)) == [12, 14]


def test_answer_is_not_overwritten_by_the_next_run(places: Places) -> None:
    for _ in range(2):  # the second comes from a place that is there already
        first = places.run({"table": rows(1)})
        assert first is not None
        score(places, rows(9))
        assert first[0].tolist() == [2]
        assert first[1].tolist() == [[1, 1, 0]]


def test_view_whose_numbers_lie_apart_is_taken_as_it_reads(places: Places) -> None:
    wide = np.zeros((2, 6), np.float32)
    wide[:, ::2] = rows(1, 2)
    for _ in range(2):
        assert score(places, wide[:, ::2]) == [2, 4]


def test_runs_of_several_threads_do_not_mix(places: Places) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda number: score(places, rows(number)), range(100))
        assert list(found) == [[2 * number] for number in range(100)]


def test_shapes_past_the_last_place_are_left_to_a_plain_run(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bound, "MAX_PLACES", 2)
    assert score(places, rows(1)) == [2]
    assert score(places, rows(1, 2)) == [2, 4]
    assert places.run({"table": rows(1, 2, 3)}) is None
    assert score(places, rows(4)) == [8]


def test_shapes_that_would_take_too_much_memory_are_left_to_a_plain_run(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bound, "MAX_BYTES", rows(1, 2).nbytes)
    assert places.run({"table": rows(1, 2, 3)}) is None
    assert score(places, rows(1)) == [2]
    assert places.run({"table": rows(1, 2)}) is None
    assert score(places, rows(4)) == [8]


def test_row_that_the_graph_refuses_takes_no_place(places: Places) -> None:
    bad = np.array([[3, 4, 99]], np.float32)
    for _ in range(2):
        with pytest.raises(Exception, match="out of data bounds"):
            places.run({"table": bad})
        assert score(places, rows(1)) == [2]
