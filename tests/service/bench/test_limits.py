from pathlib import Path

import numpy as np
import pytest

from model_store.errors import NotFound
from service.bench import limits
from service.bench.errors import BenchError
from service.bench.limits import Graph, Layout, graph_path, layouts


def sides(found: list[Layout]) -> dict[tuple[int, int], list[int]]:
    """(callers, threads of each) → batch sizes."""
    batches: dict[tuple[int, int], list[int]] = {}
    for layout in found:
        batches.setdefault((layout.callers, layout.threads), []).append(layout.batch)
    return batches


def test_one_request_is_run_by_one_caller_with_one_thread_or_with_all() -> None:
    assert sides(layouts(1, 1, 2, batches=True)) == {(1, 2): [1], (1, 1): [1]}
    assert sides(layouts(1, 1, 1, batches=True)) == {(1, 1): [1]}


def test_requests_in_flight_fill_a_batch_or_one_for_each_core() -> None:
    assert sides(layouts(16, 1, 2, batches=True)) == {
        (1, 2): [1, 2, 4, 8, 16],
        (2, 1): [1, 2, 4, 8],
    }
    assert sides(layouts(6, 1, 4, batches=True)) == {(1, 4): [1, 2, 4, 6], (4, 1): [1]}


def test_no_run_has_more_rows_than_servers_allow() -> None:
    assert max(layout.batch for layout in layouts(1000, 1, 2, batches=True)) == 64
    assert max(layout.batch for layout in layouts(1000, 10, 2, batches=True)) == 6
    assert max(layout.batch for layout in layouts(1000, 100, 2, batches=True)) == 1


def test_a_graph_without_a_row_axis_runs_one_request_at_a_time() -> None:
    assert sides(layouts(64, 1, 2, batches=False)) == {(1, 2): [1], (2, 1): [1]}


@pytest.fixture
def graph(plain: Path) -> Graph:
    bodies = [{"x": np.full((2, 4), number, np.float32)} for number in range(3)]
    return Graph(graph_path(plain, "mixer"), bodies)


def test_a_graph_is_run_in_every_layout_and_the_best_are_kept(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TRY_S", 0.02)
    found = layouts(4, 2, 2, batches=True)
    best = graph.best(found)
    assert best
    assert set(best) <= set(found)
    assert len({layout.threads for layout in best}) == len(best)
    assert graph.most_per_s(best, 0.02) > 0
    assert graph.best(found) == best  # from memory: a second search would time anew


def test_a_graph_that_cannot_be_run_is_one_clear_line(tmp_path: Path) -> None:
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes(b"no graph")
    with pytest.raises(BenchError, match=r"model\.onnx cannot be run here"):
        Graph(damaged, [{}]).requests_per_s(Layout(1, 1, 1), 0.01)


def test_the_file_behind_a_name_is_found_in_plain_folders_and_in_bundles(
    plain: Path, store: Path
) -> None:
    assert graph_path(plain, "mixer") == plain / "mixer" / "1" / "model.onnx"
    assert graph_path(plain, "mixer@1") == plain / "mixer" / "1" / "model.onnx"
    assert graph_path(store, "codec") == store / "codec" / "1" / "encoder.onnx"
    assert graph_path(store, "codec~decoder") == store / "codec" / "1" / "decoder.onnx"
    with pytest.raises(BenchError, match="codec has the graphs model, decoder"):
        graph_path(store, "codec~other")
    with pytest.raises(NotFound):
        graph_path(plain, "nobody")
