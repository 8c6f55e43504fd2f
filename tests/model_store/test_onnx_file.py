"""Graphs are made by ``onnx`` and read back by hand; none may lead out of its folder."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_store.errors import CorruptBundle
from model_store.onnx_file import ELEMENTS, PARTS, Value, read_signature
from model_store.spec import DType
from tests.model_store.graphs import IDENTITY, PLACES, X, echo, model_of, stored

Save = Callable[[onnx.ModelProto | bytes], Path]

EVIL = "../../etc/passwd"

# --- inputs and outputs ------------------------------------------------------------------------


def test_inputs_and_outputs_are_those_of_the_graph(save: Save) -> None:
    signature = read_signature(save(echo({"x": ("FLOAT", ["N", 3]), "s": ("INT64", [])})))
    assert signature.inputs == (Value("x", "float32", ("N", 3)), Value("s", "int64", ()))
    assert [value.name for value in signature.outputs] == ["x_out", "s_out"]
    assert signature.opsets == {"": 18}
    assert signature.operators == {("", "Identity")}
    assert signature.external == frozenset()


def test_an_axis_without_a_name_gets_one(save: Save) -> None:
    model = echo({"x": ("FLOAT", [None, 3, None]), "y": ("FLOAT", ["N", -1])})
    assert [value.shape for value in read_signature(save(model)).inputs] == [
        ("x_0", 3, "x_2"),
        ("N", "y_1"),
    ]


def test_first_axes_without_a_name_are_the_rows_where_no_other_axis_is(save: Save) -> None:
    model = echo({"x": ("FLOAT", [None, 3, None]), "y": ("FLOAT", [None, "T"])})
    shapes = [value.shape for value in read_signature(save(model)).inputs]
    assert shapes == [("N", 3, "x_2"), ("N", "T")]


def test_a_shape_that_is_not_declared_is_none_and_an_axis_may_be_empty(save: Save) -> None:
    signature = read_signature(save(echo(x=None)))
    assert signature.outputs == (Value("x_out", "float32", None),)
    [value] = read_signature(save(echo({"x": ("FLOAT", [0])}))).inputs
    assert value.shape == (0,)


def test_an_element_has_the_word_that_the_manifest_has_for_it(save: Save) -> None:
    words = {"float": "float32", "double": "float64"}
    for element, number in TensorProto.DataType.items():
        if 0 < number < len(ELEMENTS):  # a later onnx may have more
            [value] = read_signature(save(echo({"x": (element, [1])}))).inputs
            assert value.dtype == words.get(element.lower(), element.lower())
    assert set(get_args(DType)) < set(ELEMENTS)


def test_what_is_no_tensor_says_what_it_is(save: Save) -> None:
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
    kinds = {
        "sequence": helper.make_sequence_type_proto(tensor),
        "optional": helper.make_optional_type_proto(tensor),
        "sparse tensor": helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [1]),
        "map": helper.make_map_type_proto(TensorProto.INT64, tensor),
        "undeclared": onnx.TypeProto(),
    }
    outputs = [helper.make_value_info(kind, proto) for kind, proto in kinds.items()]
    odd = helper.make_tensor_value_info("odd", TensorProto.FLOAT, [1])
    odd.type.tensor_type.elem_type = 99
    signature = read_signature(save(model_of([IDENTITY], outputs=[*outputs, odd])))
    assert [value.dtype for value in signature.outputs] == [*kinds, "element type 99"]


def test_what_the_file_fills_in_is_not_asked_for(save: Save) -> None:
    weights = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    positions = numpy_helper.from_array(np.zeros(1, np.int64), "places")
    one = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    sparse = helper.make_sparse_tensor(one, positions, [4])
    given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 2]) for n in ("w", "sparse")]
    model = model_of([IDENTITY], (*given, X), initializer=[weights], sparse_initializer=[sparse])
    assert [value.name for value in read_signature(save(model)).inputs] == ["x"]


def test_runs_of_numbers_are_stepped_over_and_what_follows_is_read(save: Save) -> None:
    """As in a forest of trees: more numbers than one window holds, in fields of their own."""
    places = [(1 << 40) * (n % 2) - n for n in range(40_000)]
    node = helper.make_node(
        "Forest", ["x"], ["y"], domain="trees", places=places, values=[0.5] * 40_000,
        stored=stored("weights.bin"),
    )  # fmt: skip
    path = save(model_of([node]))
    (path.parent / "weights.bin").write_bytes(bytes(8))
    signature = read_signature(path)
    assert signature.external == {"weights.bin"}
    assert signature.operators == {("trees", "Forest")}


def test_onnx_runtime_reads_the_same(save: Save) -> None:
    """Operators with subgraphs and attributes of every kind; names in any script."""
    yes = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["yes"])], "yes", [],
        [helper.make_tensor_value_info("yes", TensorProto.FLOAT, None)],
    )  # fmt: skip
    no = helper.make_graph(
        [helper.make_node("Constant", [], ["no"], value_floats=[0.5])], "no", [],
        [helper.make_tensor_value_info("no", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [
        helper.make_node("If", ["c"], ["ja"], then_branch=yes, else_branch=no),
        helper.make_node("Identity", ["数"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2]),
        helper.make_tensor_value_info("数", TensorProto.STRING, ["N", None, 7]),
    ]
    outputs = [
        helper.make_tensor_value_info("ja", TensorProto.FLOAT, ["A", "B"]),
        helper.make_tensor_value_info("y", TensorProto.STRING, ["N", None, 7]),
    ]
    path = save(model_of(nodes, inputs, outputs))
    signature = read_signature(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for ours, theirs in (
        (signature.inputs, session.get_inputs()),
        (signature.outputs, session.get_outputs()),
    ):
        assert [value.name for value in ours] == [value.name for value in theirs]
        for value, other in zip(ours, theirs, strict=True):
            axes = zip(value.shape or (), other.shape, strict=True)
            assert all(axis == want for axis, want in axes if want is not None)
            assert {"float32": "float"}.get(value.dtype, value.dtype) in other.type
    assert signature.operators == {("", n) for n in ("If", "Relu", "Constant", "Identity")}


# --- files beside the graph --------------------------------------------------------------------


def test_every_way_to_a_tensor_that_onnx_has_is_walked() -> None:
    """So that a later onnx.proto cannot hide a file in a field that is new."""
    messages: dict[str, Any] = {
        "graph": onnx.GraphProto, "node": onnx.NodeProto, "attribute": onnx.AttributeProto,
        "sparse": onnx.SparseTensorProto, "tensor": onnx.TensorProto,
        "function": onnx.FunctionProto, "training": onnx.TrainingInfoProto,
    }  # fmt: skip
    names = {message.DESCRIPTOR.full_name: name for name, message in messages.items()}
    for name, message in {"model": onnx.ModelProto, **messages}.items():
        ways = {
            field.number: names[field.message_type.full_name]
            for field in message.DESCRIPTOR.fields
            if field.message_type and field.message_type.full_name in names
        }
        walked = PARTS.get(name, {})
        assert ways == {number: way for number, way in walked.items() if way in messages}
        assert ways or name == "tensor"


@pytest.mark.parametrize("place", PLACES)
def test_a_file_with_weights_is_found_wherever_the_graph_names_it(save: Save, place: str) -> None:
    path = save(PLACES[place](stored("data/weights.bin")))
    with pytest.raises(CorruptBundle, match=r"model\.onnx keeps weights in 'data/weights.bin', wh"):
        read_signature(path)
    (path.parent / "data").mkdir()
    (path.parent / "data" / "weights.bin").write_bytes(bytes(8))
    assert read_signature(path).external == {"data/weights.bin"}


@pytest.mark.parametrize("place", PLACES)
def test_a_file_outside_the_folder_is_refused_wherever_the_graph_names_it(
    save: Save, place: str
) -> None:
    path = save(PLACES[place](stored(EVIL)))
    with pytest.raises(CorruptBundle, match=f"keeps weights in '{EVIL}', which lies outside"):
        read_signature(path)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("/etc/passwd", "lies outside its folder"),
        ("..", "lies outside its folder"),
        ("data/../../secret.bin", "lies outside its folder"),
        ("data/../weights.bin", "lies outside its folder"),
        ("link.bin", "points outside its folder"),
        ("folder-link/secret.bin", "points outside its folder"),
        ("nowhere.bin", "is missing"),
        ("circle.bin", "is missing"),
        ("", "is missing"),
        (".", "is missing"),
        ("data", "is missing"),
        ("pipe.bin", "is missing"),
        ("null\0byte", "is missing"),
        ("x" * 5_000, "is missing"),
        ("*/_ORT_MEM_ADDR_/*", "is missing"),
        ("..\\secret.bin", "is missing"),
        ("C:\\secret.bin", "is missing"),
        ("pointer.bin", "pointer.bin is a Git LFS pointer"),
    ],
)
def test_a_file_that_is_not_beside_the_graph_is_refused(
    save: Save, tmp_path: Path, location: str, words: str
) -> None:
    path = save(model_of([IDENTITY], initializer=[stored(location)]))
    folder = path.parent
    (tmp_path / "secret.bin").write_bytes(bytes(8))
    (folder / "data").mkdir()
    (folder / "weights.bin").write_bytes(bytes(8))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "folder-link").symlink_to(tmp_path)
    (folder / "circle.bin").symlink_to("circle.bin")
    (folder / "pointer.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    os.mkfifo(folder / "pipe.bin")
    with pytest.raises(CorruptBundle, match=words) as caught:
        read_signature(path)
    assert len(str(caught.value)) < 300


def test_a_link_to_a_file_in_the_folder_is_as_good_as_the_file(save: Save) -> None:
    """As Kubernetes mounts files: each a link into a folder beside it."""
    path = save(model_of([IDENTITY], initializer=[stored("./weights.bin")]))
    (path.parent / "..data").mkdir()
    (path.parent / "..data" / "weights.bin").write_bytes(bytes(8))
    (path.parent / "weights.bin").symlink_to(Path("..data") / "weights.bin")
    assert read_signature(path).external == {"./weights.bin"}
