"""Graphs that load and graphs that do not; and how many cores this process may use."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from service.errors import NotReady, OutOfMemory
from service.runner import Runner, cpu_budget, cpu_name, gpu_names
from tests.service.bundles import sensor
from tests.service.odd_bundles import greedy


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    sensor(tmp_path)
    return tmp_path / "model.onnx"


def test_every_output_comes_by_name(graph: Path) -> None:
    runner = Runner(graph, threads=1)
    outputs = runner.run({"table": np.array([[3, -4, 0]], dtype=np.float32)})
    assert outputs["score"].tolist() == [7]
    assert outputs["contributions"].tolist() == [[3, 4, 0]]
    assert runner.provider == "CPUExecutionProvider"


def test_only_the_outputs_that_are_wanted_are_computed(graph: Path) -> None:
    runner = Runner(graph, ["score"], threads=1)
    assert set(runner.run({"table": np.zeros((1, 3), np.float32)})) == {"score"}


def test_output_that_the_graph_does_not_have_is_not_ready(graph: Path) -> None:
    with pytest.raises(
        NotReady, match=r"no output \['colour'\], only \['score', 'contributions'\]"
    ):
        Runner(graph, ["score", "colour"], threads=1)


def test_runs_of_several_threads_at_once_do_not_mix(graph: Path) -> None:
    runner = Runner(graph, threads=1)

    def ask(number: int) -> float:
        rows = np.array([[number, 0, 0]], dtype=np.float32)
        return float(runner.run({"table": rows})["score"][0])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(200))) == list(range(200))


def test_row_that_the_graph_refuses_raises_and_the_next_is_answered(graph: Path) -> None:
    runner = Runner(graph, threads=1)
    with pytest.raises(Exception, match="out of data bounds") as caught:
        runner.run({"table": np.array([[3, 4, 99]], dtype=np.float32)})
    assert not isinstance(caught.value, OutOfMemory)
    assert runner.run({"table": np.array([[3, 4, 0]], dtype=np.float32)})["score"] == [7]


def test_run_that_asks_for_more_memory_than_there_is_says_so(tmp_path: Path) -> None:
    greedy(tmp_path)
    runner = Runner(tmp_path / "model.onnx", threads=1)
    with pytest.raises(OutOfMemory):
        runner.run({"table": np.array([[1, 5]] * 3, dtype=np.float32)})
    assert runner.run({"table": np.array([[1, 5]], dtype=np.float32)})["score"] == [5]


def test_bfloat16_travels_as_the_bits_of_its_numbers(tmp_path: Path) -> None:
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.BFLOAT16, ["N", 2])
        for name in ("x", "y")
    ]
    nodes = [onnx.helper.make_node("Identity", ["x"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "graph", values[:1], values[1:])
    opsets = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save(model, str(tmp_path / "model.onnx"))
    bits = np.array([[0x3F80, 0xC000], [0x7F80, 0x0001]], dtype=np.uint16)  # 1, -2, inf, tiny
    runner = Runner(tmp_path / "model.onnx", threads=1)
    for rows in (bits, bits.T):  # a view whose bytes lie apart, too
        given = runner.run({"x": rows})["y"]
        assert given.dtype == np.uint16
        assert (given == rows).all()


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x09\x12\x00"])
def test_file_that_is_no_graph_is_not_ready_with_its_name_and_without_its_folder(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(NotReady, match=r"model\.onnx") as caught:
        Runner(path, threads=1)
    assert str(tmp_path) not in str(caught.value)


def test_truncated_graph_is_not_ready(graph: Path) -> None:
    graph.write_bytes(graph.read_bytes()[:200])
    with pytest.raises(NotReady):
        Runner(graph, threads=1)


def test_missing_graph_is_not_ready(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"model\.onnx") as caught:
        Runner(tmp_path / "model.onnx", threads=1)
    assert str(tmp_path) not in str(caught.value)


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cgroup folder, and eight cores to run on."""
    monkeypatch.setattr("service.runner.CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    return tmp_path


@pytest.mark.parametrize(
    ("line", "cores"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("6400000 100000", 8),
        ("nonsense", 8),
        ("", 8),
    ],
)
def test_cores_are_cut_by_the_quota_of_cgroup_2(cgroup: Path, line: str, cores: int) -> None:
    (cgroup / "cpu.max").write_text(line + "\n")
    assert cpu_budget() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("300000", 3), ("1", 1)])
def test_cores_are_cut_by_the_quota_of_cgroup_1(cgroup: Path, quota: str, cores: int) -> None:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert cpu_budget() == cores


@pytest.mark.usefixtures("cgroup")
def test_cores_without_any_cgroup_are_those_of_the_affinity() -> None:
    assert cpu_budget() == 8


def test_processor_has_a_name_and_keeps_it() -> None:
    assert cpu_name() == cpu_name() != ""


def test_gpus_are_named_by_the_driver_in_their_order_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.runner.NVIDIA", tmp_path)
    assert gpu_names() == ""
    for place, name in (("0000:02:00.0", "NVIDIA L4"), ("0000:01:00.0", "NVIDIA H100")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "information").write_text(f"Model: \t\t {name}\nIRQ:   \t\t 44\n")
    assert gpu_names() == "NVIDIA H100\nNVIDIA L4"
