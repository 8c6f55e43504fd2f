"""Tiny bundles that do not batch as the others do, each in a way of its own."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnxruntime.quantization import quantize_dynamic

from model_store.answers.anomaly import AnomalyAnswer
from model_store.answers.vector import VectorAnswer
from model_store.inputs.table import Column, TableInput
from model_store.manifest import Batching, Draft, Graph, Tensor, Verb
from tests.service.by_hand import constant, draft_of, save

TABLE = (Tensor(name="table", dtype="float32", shape=("N", 3)),)
VECTOR = (Tensor(name="vector", dtype="float32", shape=("N", 3)),)
HUGE = 2**45
"""Float32 numbers: 128 TiB, more than any address space has."""


def _embeds(graph: Graph) -> Draft:
    columns = tuple(Column(name=name) for name in "abc")
    verb = Verb(
        input=TableInput(columns=columns), answer=VectorAnswer(size=3), example=[1, -2, 0.5]
    )
    return draft_of({"model": graph}, {"embed": verb}, category="tabular", task="odd")


def crowd(folder: Path) -> Draft:
    """Table → its distance from the mean of the batch: alone, nothing."""
    nodes = [
        helper.make_node("ReduceMean", ["table", "rows"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["table", "mean"], ["vector"]),
    ]
    return _embeds(save(folder, nodes, TABLE, VECTOR, [constant("rows", [0], "int64")]))


def turned(folder: Path) -> Draft:
    """Table → the same, rows and columns exchanged."""
    outputs = (Tensor(name="vector", dtype="float32", shape=(3, "N")),)
    nodes = [helper.make_node("Transpose", ["table"], ["vector"], perm=[1, 0])]
    return _embeds(save(folder, nodes, TABLE, outputs, []))


def hermit(folder: Path) -> Draft:
    """Table → the same, by way of a shape that has room for one row."""
    nodes = [helper.make_node("Reshape", ["table", "one"], ["vector"])]
    return _embeds(save(folder, nodes, TABLE, VECTOR, [constant("one", [1, 3], "int64")]))


def dice(folder: Path) -> Draft:
    """Table → noise, other noise each time."""
    nodes = [helper.make_node("RandomNormalLike", ["table"], ["vector"])]
    return _embeds(save(folder, nodes, TABLE, VECTOR, []))


def quantised(folder: Path) -> Draft:
    """Table → three sums of it, in 8-bit numbers whose scale is the largest of the whole batch."""
    weights = np.random.default_rng(0).normal(size=(3, 3))
    nodes = [helper.make_node("MatMul", ["table", "weights"], ["vector"])]
    graph = save(folder, nodes, TABLE, VECTOR, [constant("weights", weights)])
    path = folder / graph.file
    quantize_dynamic(onnx.load(str(path)), str(path))
    return _embeds(graph)


def greedy(folder: Path) -> Draft:
    """Table → ``value`` as the score. The run asks for 128 TiB where the ``size`` of all its rows
    together is above 2; a row of size 1 fits with one other, then, and not with two.
    """
    inputs = (Tensor(name="table", dtype="float32", shape=("N", 2)),)
    outputs = (
        Tensor(name="score", dtype="float32", shape=("N",)),
        Tensor(name="contributions", dtype="float32", shape=("N", 2)),
    )
    nodes = [
        helper.make_node("Gather", ["table", "first"], ["size"], axis=1),
        helper.make_node("ReduceSum", ["size", "rows"], ["total"], keepdims=1),
        helper.make_node("Greater", ["total", "limit"], ["large"]),
        helper.make_node("Where", ["large", "huge", "small"], ["cells"]),
        helper.make_node("ConstantOfShape", ["cells"], ["room"]),
        helper.make_node("ReduceMax", ["room"], ["nothing"], keepdims=0),
        helper.make_node("Gather", ["table", "second"], ["value"], axis=1),
        helper.make_node("Add", ["value", "nothing"], ["score"]),
        helper.make_node("Abs", ["table"], ["contributions"]),
    ]
    constants = [
        constant("first", 0, "int64"),
        constant("second", 1, "int64"),
        constant("rows", [0], "int64"),
        constant("limit", [2.5]),
        constant("huge", [HUGE], "int64"),
        constant("small", [8], "int64"),
    ]
    graph = save(folder, nodes, inputs, outputs, constants, batching=Batching(max_rows=8))
    verb = Verb(
        input=TableInput(columns=(Column(name="size"), Column(name="value"))),
        answer=AnomalyAnswer(features=("size", "value"), threshold=0.0, false_alarm_rate=0.5),
        example={"size": 0, "value": 1},
    )
    return draft_of({"model": graph}, {"score": verb}, family="classical", task="hungry")


def plain(folder: Path, adds: float = 1.0, rows: int | str = "N", columns: int = 2) -> None:
    """A graph without any manifest, as Triton's repositories have them: y = x + ``adds``."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [rows, columns]) for n in "xy"]
    nodes = [helper.make_node("Add", ["x", "adds"], ["y"])]
    graph = helper.make_graph(nodes, "graph", values[:1], values[1:], [constant("adds", adds)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir(parents=True)
    onnx.save(model, str(folder / "model.onnx"))
