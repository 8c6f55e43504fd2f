"""The cache that grows: what is its own, beside what every form does."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from model_store.manifest import Graph
from service.decoder.growing import GrowingCache
from service.runner import Runner
from tests.service.decoder.bundles import walker


def halved(folder: Path) -> Graph:
    """A walker whose graph gives its logits in half precision."""
    graph = walker(folder, "growing").graphs["model"]
    model = onnx.load(folder / graph.file)
    for node in model.graph.node:
        node.output[:] = ["wide" if name == "logits" else name for name in node.output]
    model.graph.node.append(helper.make_node("Cast", ["wide"], ["logits"], to=TensorProto.FLOAT16))
    [logits] = [value for value in model.graph.output if value.name == "logits"]
    logits.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, folder / graph.file)
    return graph


def test_logits_of_half_precision_come_as_float32(tmp_path: Path) -> None:
    graph = halved(tmp_path)
    assert graph.decoding
    runner = Runner(tmp_path / graph.file, device="cpu", threads=1)
    cache = GrowingCache(runner, graph, graph.decoding, 2)
    cache.open(0, {})
    assert cache.read(0, [2, 3]).dtype == np.float32
    assert cache.step(0, 1).dtype == np.float32
    runner.close()
