"""Graphs that load and graphs that do not; and how many cores this process may use."""

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from service.errors import NotReady
from service.runner import CUDA, Runner, cpu_budget
from tests.service.bundles import sensor


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


NO_CUDA = CUDA not in onnxruntime.get_available_providers()


@pytest.mark.gpu
@pytest.mark.skipif(NO_CUDA, reason="ONNX Runtime has no CUDA here")
def test_cuda_answers_as_the_cpu_does(graph: Path) -> None:
    runner = Runner(graph, device="cuda", threads=1)
    outputs = runner.run({"table": np.array([[3, -4, 0]], dtype=np.float32)})
    assert outputs["score"].tolist() == [7]
    assert runner.provider == CUDA


@pytest.mark.skipif(not NO_CUDA, reason="ONNX Runtime has CUDA here")
def test_cuda_that_is_not_there_is_refused_not_replaced(graph: Path) -> None:
    with pytest.raises(NotReady, match="CUDA"):
        Runner(graph, device="cuda", threads=1)


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


@pytest.mark.filterwarnings("ignore:Specified provider")  # ONNX Runtime's own way of saying so
def test_cuda_that_is_not_there_is_refused_and_not_replaced(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(NotReady, match="CUDA"):
        Runner(graph, device="cuda", threads=1)


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
