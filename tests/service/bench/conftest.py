"""Real servers for the bench, and a plain graph for it to run."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.bench import servers
from service.bench.control import Control


@pytest.fixture(scope="session")
def echo() -> Iterator[Control]:
    """The bench's own echo server, a process of its own."""
    with servers.echo() as process:
        yield Control(process.url)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one plain graph, ``mixer``: ``x`` [N, 4] → ``y`` [N, 3], a matrix product."""
    root = tmp_path_factory.mktemp("plain")
    weights = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "mixer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder = root / "mixer" / "1"
    folder.mkdir(parents=True)
    onnx.save(model, str(folder / "model.onnx"))
    return root
