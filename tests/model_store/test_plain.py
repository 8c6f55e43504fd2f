"""A plain graph in Triton's layout is a model, and says what was inferred."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_store.bundle import Bundle
from model_store.errors import BadManifest, CorruptBundle
from model_store.manifest import ANY_SHAPE, Batching, Graph, Manifest
from model_store.plain import infer_manifest
from model_store.store import Store
from tests.model_store.graphs import echo, stored

Plain = Callable[..., Path]


def _add_output(model: onnx.ModelProto, name: str, proto: onnx.TypeProto) -> None:
    model.graph.output.append(helper.make_value_info(name, proto))


def graph_of(manifest: Manifest) -> Graph:
    return manifest.graphs["model"]


def test_a_plain_graph_is_a_model(plain: Plain) -> None:
    folder = plain(echo({"x": ("FLOAT", ["N", 3]), "ids": ("INT64", ["N", "time"])}), "bare", 7)
    os.utime(folder / "model.onnx", (1_700_000_000,) * 2)
    manifest = infer_manifest(folder)
    assert (manifest.name, manifest.version, manifest.created) == ("bare", 7, 1_700_000_000)
    assert (manifest.family, manifest.category, manifest.task) == ("other", "other", "inference")
    assert (manifest.license, manifest.provenance) == ("unknown", None)
    assert (manifest.metrics, manifest.parity) == ({}, {})
    assert manifest.evaluation == "never evaluated here"
    assert [(t.name, t.dtype, t.shape) for t in graph_of(manifest).inputs] == [
        ("x", "float32", ("N", 3)),
        ("ids", "int64", ("N", "time")),
    ]
    assert list(manifest.verbs) == ["predict"]
    assert manifest.size_bytes == (folder / "model.onnx").stat().st_size


def test_what_was_inferred_is_said_in_sentences(plain: Plain) -> None:
    folder = plain()
    assert infer_manifest(folder).inferred == (
        "Inputs and outputs are those of model.onnx: x float32[N, 2] → x_out float32[N, 2].",
        "Rows of several requests share a run, up to 64: the first axis of every input and output"
        " is dynamic.",
        "The example is zeros; the sizes of dynamic axes in it are guesses.",
    )
    for place in (folder, folder.parent):
        (place / "config.pbtxt").write_text('platform: "onnxruntime_onnx"')
        assert infer_manifest(folder).inferred[-1] == "config.pbtxt beside it was not read."
        (place / "config.pbtxt").unlink()


# --- whether it batches ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": ("FLOAT", ["N", 2])},
        {"x": ("FLOAT", [None])},
        {"x": ("FLOAT", [-1, 2])},
        {"x": ("FLOAT", ["a", 2]), "y": ("FLOAT", ["b", 2])},  # the server tries before it trusts
        {"x": ("FLOAT", [None, "N"])},
    ],
)
def test_a_graph_whose_first_axes_are_all_dynamic_batches(plain: Plain, inputs: Any) -> None:
    manifest = infer_manifest(plain(echo(inputs)))
    assert graph_of(manifest).batching == Batching(rows=True, max_rows=64)
    verb: Any = manifest.verbs["predict"]
    assert verb.input.rows
    assert [tensor.shape for tensor in verb.input.tensors] == [
        tensor.shape[1:] for tensor in graph_of(manifest).inputs
    ]


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        ({"image": ("FLOAT", [1, 3])}, {}, "input image has a fixed first axis of 1"),
        ({"x": ("FLOAT", ["N"]), "s": ("INT64", [])}, {}, "input s is a scalar"),
        ({"x": ("FLOAT", ["N"])}, {"x": [5, 2]}, "output x_out has a fixed first axis of 5"),
        ({"x": ("FLOAT", ["N"])}, {"x": []}, "output x_out is a scalar"),
        ({"x": ("FLOAT", ["N"])}, {"x": None}, "output x_out declares no shape"),
        (
            {"x": ("FLOAT", ["N", 2])},
            {"x": ["N", "N"]},
            "output x_out has N, the rows, along axis 1 too",
        ),
    ],
)
def test_any_other_graph_runs_alone_and_says_why(
    plain: Plain, inputs: Any, outputs: Any, reason: str
) -> None:
    manifest = infer_manifest(plain(echo(inputs, **outputs)))
    assert graph_of(manifest).batching == Batching(rows=False, reason=reason, max_rows=1)
    assert f"Each request runs alone, as it came: {reason}." in manifest.inferred
    verb: Any = manifest.verbs["predict"]
    assert not verb.input.rows
    assert [tensor.shape for tensor in verb.input.tensors] == [
        tensor.shape for tensor in graph_of(manifest).inputs
    ]


def test_an_output_of_unknown_rank_has_a_shape_that_says_so(plain: Plain) -> None:
    [output] = graph_of(infer_manifest(plain(echo(x=None)))).outputs
    assert output.shape == (ANY_SHAPE,)


# --- what no client could send or read ---------------------------------------------------------


def test_an_output_that_is_no_tensor_is_left_out_and_named(plain: Plain) -> None:
    """As classifiers of other libraries give: beside the label, a list of mappings."""
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    mapping = helper.make_map_type_proto(TensorProto.INT64, tensor)
    model = echo()
    _add_output(model, "odds", helper.make_sequence_type_proto(mapping))
    manifest = infer_manifest(plain(model))
    assert [tensor.name for tensor in graph_of(manifest).outputs] == ["x_out"]
    assert graph_of(manifest).batching.rows
    assert any(
        note.startswith("Output odds is left out: it is sequence") for note in manifest.inferred
    )


def test_a_graph_that_nobody_could_ask_is_refused_with_the_reason(plain: Plain) -> None:
    odd = echo({"x": ("FLOAT8E5M2", ["N"])})
    shapeless = echo({"x": ("FLOAT", None)})
    closed = echo()
    closed.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 2), np.float32), "x"))
    silent = echo()
    del silent.graph.output[:]
    for version, (model, words) in enumerate(
        [
            (odd, "model.onnx: input x is float8e5m2"),
            (shapeless, "model.onnx: input x declares no shape"),
            (closed, "expected inputs and outputs that are tensors"),
            (silent, "expected inputs and outputs that are tensors"),
        ],
        start=1,
    ):
        with pytest.raises(CorruptBundle, match=words):
            infer_manifest(plain(model, "odd", version))


# --- the example -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": ("FLOAT", ["N", "time", 2]), "ids": ("INT32", ["N", "time"])},
        {"s": ("STRING", ["N"]), "b": ("BOOL", ["N", 1])},
        {"s": ("DOUBLE", []), "x": ("UINT8", ["H", "W", 3])},
        {"x": ("FLOAT16", [4, "time"])},
    ],
)
def test_onnx_runtime_answers_the_example(plain: Plain, inputs: Any) -> None:
    bundle = Bundle.open(plain(echo(inputs)))
    verb: Any = bundle.manifest.verbs["predict"]
    encoded = bundle.encoder("predict")(verb.example, None)
    assert encoded.row_axis == graph_of(bundle.manifest).batching.rows
    session = onnxruntime.InferenceSession(
        bundle.path("model.onnx"), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    made = dict(zip(names, session.run(names, encoded.tensors), strict=True))
    answer = verb.answer.answer(made, encoded.context, None)
    sent = verb.example if len(inputs) > 1 else {next(iter(inputs)): verb.example}
    assert answer == {"outputs": {f"{name}_out": value for name, value in sent.items()}}


def test_an_example_too_large_to_read_is_made_when_it_is_asked_for(plain: Plain) -> None:
    bundle = Bundle.open(plain(echo({"image": ("FLOAT", ["N", 3, 224, 224])})))
    verb: Any = bundle.manifest.verbs["predict"]
    assert verb.example is None
    encoded = bundle.encoder("predict")(verb.sample(), None)
    assert encoded.tensors["image"].shape == (1, 3, 224, 224)
    assert "The example would have more than 10,000 numbers, so none is kept." in (
        bundle.manifest.inferred
    )


# --- files -------------------------------------------------------------------------------------


def _with_weights(location: str) -> onnx.ModelProto:
    model = echo()
    model.graph.initializer.append(stored(location))
    return model


def test_weights_beside_the_graph_are_files_of_the_model(plain: Plain) -> None:
    folder = plain(_with_weights("weights.bin"))
    (folder / "weights.bin").write_bytes(bytes(8))
    (folder / "notes.txt").write_text("of no use to the graph")
    bundle = Bundle.open(folder)
    assert list(bundle.manifest.files) == ["model.onnx", "weights.bin"]
    assert {entry.sha256 for entry in bundle.manifest.files.values()} == {None}
    bundle.verify()
    (folder / "weights.bin").unlink()
    with pytest.raises(CorruptBundle, match=r"model\.onnx keeps weights in 'weights\.bin', which"):
        bundle.verify()


def test_the_graph_may_lie_in_a_folder_of_its_name(plain: Plain) -> None:
    folder = plain(_with_weights("data/weights.bin"))
    (folder / "model.onnx").rename(folder / "graph")
    (folder / "model.onnx" / "data").mkdir(parents=True)
    (folder / "graph").rename(folder / "model.onnx" / "model.onnx")
    (folder / "model.onnx" / "data" / "weights.bin").write_bytes(bytes(8))
    bundle = Bundle.open(folder)
    assert list(bundle.manifest.files) == ["model.onnx/model.onnx", "model.onnx/data/weights.bin"]
    assert graph_of(bundle.manifest).file == "model.onnx/model.onnx"
    bundle.verify()


def test_a_graph_that_is_a_link_to_outside_is_refused(plain: Plain, tmp_path: Path) -> None:
    folder = plain()
    (folder / "model.onnx").rename(tmp_path / "outside.onnx")
    (folder / "model.onnx").symlink_to(tmp_path / "outside.onnx")
    with pytest.raises(CorruptBundle, match=r"model\.onnx points outside its bundle"):
        infer_manifest(folder)


def test_a_folder_without_a_graph_has_nothing_to_infer_from(tmp_path: Path) -> None:
    with pytest.raises(CorruptBundle, match=r"model\.onnx is missing"):
        infer_manifest(tmp_path)


@pytest.mark.parametrize(("name", "version"), [("Bare", "1"), ("bare", "first"), ("bare", "0")])
def test_a_folder_that_is_no_version_of_a_model_is_refused(
    plain: Plain, store: Store, name: str, version: str
) -> None:
    (store.root / name).mkdir(parents=True, exist_ok=True)
    shutil.move(plain(name="other"), store.root / name / version)
    with pytest.raises(BadManifest, match=f"{name}/{version}: (name|version): "):
        infer_manifest(store.root / name / version)
