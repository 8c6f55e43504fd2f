"""Graphs are made by hand here: they agree with the torch module beside them, or do not."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from model_store.answers.classes import ClassesAnswer
from model_store.answers.vector import VectorAnswer
from model_store.inputs.table import Column, TableInput
from model_store.manifest import Batching, Graph, Parity, Verb
from model_store.manifest import Tensor as TensorSpec
from training.errors import ParityError
from training.recipe import GraphExport, Package
from training.verify import verify

Node = tuple[str, Sequence[str], str, Mapping[str, Any]]


class Torch(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def rows_of(*shape: int) -> Callable[[int], dict[str, Tensor]]:
    """Float inputs ``x`` with a row of noise each."""

    def sample(rows: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        return {"x": torch.randn(rows, *shape, generator=generator)}

    return sample


class Case:
    """A graph on disk beside the module it should equal."""

    def __init__(
        self,
        folder: Path,
        module: Callable[..., Any],
        *nodes: Node,
        constants: Mapping[str, Any] | None = None,
        output: tuple[str, Sequence[int | str]] = ("float32", ("batch", 2)),
        inputs: Mapping[str, Sequence[int | str]] | None = None,
        **export: Any,
    ) -> None:
        self.folder = folder
        inputs = inputs or {"x": ("batch", 2)}
        dtype, shape = output
        types = {
            "float32": TensorProto.FLOAT,
            "uint8": TensorProto.UINT8,
            "int64": TensorProto.INT64,
        }
        graph = helper.make_graph(
            [helper.make_node(op, list(ins), [out], **kw) for op, ins, out, kw in nodes],
            "case",
            [
                helper.make_tensor_value_info(k, TensorProto.FLOAT, list(v))
                for k, v in inputs.items()
            ],
            [helper.make_tensor_value_info("y", types[dtype], list(shape))],
            [onnx.numpy_helper.from_array(np.array(v), k) for k, v in (constants or {}).items()],
        )
        opset = [helper.make_opsetid("", 20)]
        onnx.save(
            helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "model.onnx"
        )
        self.export = GraphExport(
            **{"module": Torch(module), "sample": rows_of(2), "outputs": ["y"], **export}
        )
        self.graph = Graph(
            file="model.onnx",
            inputs=tuple(
                TensorSpec(name=k, dtype="float32", shape=tuple(v)) for k, v in inputs.items()
            ),
            outputs=(TensorSpec.model_validate({"name": "y", "dtype": dtype, "shape": shape}),),
            batching=self.export.batching,
        )
        self.verbs: dict[Any, Verb] = {}

    def verify(self) -> Parity:
        package = Package({"model": self.export}, self.verbs)
        return verify(package, {"model": self.graph}, self.folder)["model"]


TWICE: Node = ("Add", ["x", "x"], "y", {})


# --- the same numbers --------------------------------------------------------------------------


def test_a_graph_that_equals_its_module_passes_at_one_three_and_most_rows(tmp_path: Path) -> None:
    parity = Case(tmp_path, lambda x: x * 2, TWICE).verify()
    assert parity == Parity(rows=(1, 3, 64), max_difference=0.0, tolerance=1e-4)


def test_the_difference_is_recorded(tmp_path: Path) -> None:
    case = Case(tmp_path, lambda x: x * 2 + 3e-5, TWICE)
    assert case.verify().max_difference == pytest.approx(3e-5, rel=0.05)


def test_a_graph_that_differs_from_its_module_is_refused(tmp_path: Path) -> None:
    case = Case(tmp_path, lambda x: x * 2 + 1e-3, TWICE)
    with pytest.raises(ParityError, match=r"model at 1 rows: y is .*e-0\d off; 1e-04 is allowed"):
        case.verify()


def test_the_tolerance_is_the_exports(tmp_path: Path) -> None:
    assert Case(tmp_path, lambda x: x * 2 + 1e-3, TWICE, tolerance=1e-2).verify().tolerance == 1e-2


def test_of_large_numbers_the_difference_is_relative(tmp_path: Path) -> None:
    large: dict[str, Any] = {"sample": lambda rows: {"x": torch.full((rows, 2), 1e6)}}
    assert Case(tmp_path, lambda x: x * 2 + 10, TWICE, **large).verify().max_difference < 1e-5
    with pytest.raises(ParityError, match="off"):
        Case(tmp_path, lambda x: x * 2 + 1000, TWICE, **large).verify()


def test_a_difference_in_the_last_rows_of_a_full_batch_is_found(tmp_path: Path) -> None:
    def late(x: Tensor) -> Tensor:
        return x * 2 + (torch.arange(len(x)) >= 60).float()[:, None]

    with pytest.raises(ParityError, match="model at 64 rows"):
        Case(tmp_path, late, TWICE).verify()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_not_finite_is_refused_though_both_agree(tmp_path: Path, value: float) -> None:
    nodes: list[Node] = [("Mul", ["x", "zero"], "none", {}), ("Add", ["none", "value"], "y", {})]
    constants = {"zero": np.float32(0), "value": np.float32(value)}
    with pytest.raises(ParityError, match="off"):
        Case(tmp_path, lambda x: x * 0 + value, *nodes, constants=constants).verify()


def test_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"y has shape \(1, 2\), torch's \(1, 1\)"):
        Case(tmp_path, lambda x: x[:, :1] * 2, TWICE).verify()


def test_an_output_that_has_not_the_rows_is_refused(tmp_path: Path) -> None:
    total: Node = ("ReduceSum", ["x", "axis"], "y", {"keepdims": 1})
    case = Case(tmp_path, lambda x: x.sum(0, keepdim=True), total, constants={"axis": [0]})
    with pytest.raises(ParityError, match="output y is float32 of 1 rows"):
        case.verify()


def test_an_output_of_another_type_than_declared_is_refused(tmp_path: Path) -> None:
    case = Case(tmp_path, lambda x: x * 2, TWICE)
    declared = TensorSpec(name="y", dtype="float64", shape=("batch", 2))
    case.graph = case.graph.model_copy(update={"outputs": (declared,)})
    with pytest.raises(ParityError, match="output y is float32 of 1 rows"):
        case.verify()


def _whole(folder: Path, dtype: str, step: int) -> Case:
    """Rounded numbers from 0 to 9; the module says ``step`` more than the graph."""
    kind = {"uint8": TensorProto.UINT8, "int64": TensorProto.INT64}[dtype]
    return Case(
        folder,
        lambda x: (x.round() + step).to(getattr(torch, dtype)),
        ("Round", ["x"], "whole", {}),
        ("Cast", ["whole"], "y", {"to": kind}),
        output=(dtype, ("batch", 2)),
        sample=lambda rows: {"x": torch.arange(rows * 2).reshape(rows, 2) % 10 + 0.1},
    )


def test_a_pixel_may_round_the_other_way_but_no_further(tmp_path: Path) -> None:
    assert _whole(tmp_path, "uint8", 1).verify().max_difference == 0
    with pytest.raises(ParityError, match="off"):
        _whole(tmp_path, "uint8", 2).verify()


def test_a_whole_number_that_is_no_pixel_must_be_the_same(tmp_path: Path) -> None:
    """The place of a class, say: the next one is another class."""
    assert _whole(tmp_path, "int64", 0).verify().max_difference == 0
    with pytest.raises(ParityError, match="off"):
        _whole(tmp_path, "int64", 1).verify()


# --- batch mates -------------------------------------------------------------------------------


def test_a_graph_whose_rows_depend_on_their_batch_mates_is_refused(tmp_path: Path) -> None:
    case = Case(
        tmp_path,
        lambda x: x - x.mean(0),
        ("ReduceMean", ["x", "axis"], "mean", {"keepdims": 1}),
        ("Sub", ["x", "mean"], "y", {}),
        constants={"axis": [0]},
    )
    with pytest.raises(ParityError, match=r"model at 3 rows, row 0 alone: y is .* off"):
        case.verify()


def test_a_graph_that_runs_its_rows_in_the_wrong_order_is_refused(tmp_path: Path) -> None:
    backwards: Node = ("Slice", ["x", "start", "stop", "axis", "step"], "y", {})
    constants = {"start": [-1], "stop": [-(2**31)], "axis": [0], "step": [-1]}
    with pytest.raises(ParityError, match="row 0 alone"):
        Case(tmp_path, lambda x: x.flip(0), backwards, constants=constants).verify()


@pytest.mark.parametrize(("most", "rows"), [(1, (1,)), (2, (1, 2)), (3, (1, 3)), (5, (1, 3, 5))])
def test_never_more_rows_are_run_than_the_graph_may_have(
    tmp_path: Path, most: int, rows: tuple[int, ...]
) -> None:
    asked: list[int] = []

    def sample(count: int) -> dict[str, Tensor]:
        asked.append(count)
        return rows_of(2)(count)

    batching = Batching(max_rows=most)
    case = Case(tmp_path, lambda x: x * 2, TWICE, sample=sample, batching=batching)
    assert case.verify().rows == rows
    assert max(asked) == most


# --- padding -----------------------------------------------------------------------------------


def _mean_over_time(folder: Path, masked: bool, size: int = 5, pad: Any = None) -> Case:
    """``x`` [B, T] and its mask → the mean over time, with or without looking at the mask."""

    def sample(rows: int) -> dict[str, Tensor]:
        return {**rows_of(size)(rows), "mask": torch.ones(rows, size)}

    def mean(x: Tensor, mask: Tensor) -> Tensor:
        return (x * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)

    nodes: list[Node] = [
        ("Mul", ["x", "mask"], "seen", {}),
        ("ReduceSum", ["seen", "axis"], "total", {"keepdims": 1}),
        ("ReduceSum", ["mask", "axis"], "count", {"keepdims": 1}),
        ("Div", ["total", "count"], "y", {}),
    ]
    if not masked:
        nodes = [("Mul", ["x", "mask"], "seen", {}), ("ReduceMean", ["seen", "axis"], "y", {})]
    return Case(
        folder,
        mean,
        *nodes,
        constants={"axis": [1]},
        inputs={"x": ("batch", "time"), "mask": ("batch", "time")},
        output=("float32", ("batch", 1)),
        sample=sample,
        axes={"x": {1: "time"}, "mask": {1: "time"}},
        batching=Batching(pad={"time": (4, 8, 16)} if pad is None else pad),
    )


def test_a_graph_that_looks_at_its_mask_may_be_padded(tmp_path: Path) -> None:
    assert _mean_over_time(tmp_path, masked=True).verify().max_difference < 1e-6


def test_a_graph_whose_answer_changes_with_padding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"model at 3 rows, time padded to 8: y is .* off"):
        _mean_over_time(tmp_path, masked=False).verify()


def test_without_padding_the_same_graph_passes(tmp_path: Path) -> None:
    _mean_over_time(tmp_path, masked=False, pad={}).verify()


def test_every_length_is_tried_that_the_server_would_pad_to(tmp_path: Path) -> None:
    """This one is right up to 8 and wrong beyond."""
    case = _mean_over_time(tmp_path, masked=True)
    model = onnx.load(tmp_path / "model.onnx")
    more = [
        helper.make_node("Shape", ["mask"], ["shape"], start=1),
        helper.make_node("Greater", ["shape", "eight"], ["beyond"]),
        helper.make_node("Cast", ["beyond"], ["wrong"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["right", "wrong"], ["y"]),
    ]
    model.graph.node[-1].output[0] = "right"
    model.graph.node.extend(more)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([8]), "eight"))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ParityError, match="time padded to 16"):
        case.verify()


def test_a_padded_axis_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"batching\.pad names 'thyme', which is no axis"):
        _mean_over_time(tmp_path, masked=True, pad={"thyme": (8,)}).verify()


def test_a_sample_too_long_to_be_padded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="a sample of 16 time leaves nothing to pad"):
        _mean_over_time(tmp_path, masked=True, size=16).verify()


# --- examples ----------------------------------------------------------------------------------


def _with_verb(folder: Path, example: Any, **verb: Any) -> Case:
    case = Case(folder, lambda x: x * 2, TWICE)
    parts: dict[str, Any] = {
        "input": TableInput(tensor="x", columns=(Column(name="a"), Column(name="b"))),
        "answer": ClassesAnswer(tensor="y", labels=("good", "bad")),
        "example": example,
    }
    case.verbs = {"predict": Verb(**parts | verb)}
    return case


def test_an_example_is_run_as_a_callers_would_be(tmp_path: Path) -> None:
    _with_verb(tmp_path, {"a": 1, "b": 2}).verify()


def test_an_example_that_its_own_verb_refuses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"verb predict: its example is refused: .*missing \['b'"):
        _with_verb(tmp_path, {"a": 1}).verify()


def test_an_example_without_an_answer_is_refused(tmp_path: Path) -> None:
    class Silent(VectorAnswer):
        def answer(self, *_: Any) -> dict[str, Any]:
            return {}

    case = _with_verb(tmp_path, [1, 2])
    verb = case.verbs["predict"].model_copy(update={"answer": Silent(tensor="y", size=2)})
    case.verbs = {"predict": verb}
    with pytest.raises(ParityError, match="verb predict: its example has an empty answer"):
        case.verify()


def test_an_example_whose_answer_is_not_finite_is_refused(tmp_path: Path) -> None:
    """Twice the largest float32 is infinite, and JSON has no word for it."""
    case = _with_verb(tmp_path, [3e38, 0], answer=VectorAnswer(tensor="y", size=2))
    with pytest.raises(ParityError, match="verb predict: its example's answer is not JSON"):
        case.verify()
