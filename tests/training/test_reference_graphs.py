from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from training.reference_graphs import REFERENCES, build, main, write

PARAMETERS = {"cnn_small": 96_658, "resnet18": 11_689_512, "encoder_small": 5_273_088}
"""ResNet-18's is the number everybody knows it by."""
SHAPES = {
    "cnn_small": (("image", ["batch", 1, 28, 28]), ("probabilities", ["batch", 10])),
    "resnet18": (("image", ["batch", 3, 224, 224]), ("logits", ["batch", 1000])),
    "encoder_small": (("tokens", ["batch", 64]), ("embedding", ["batch", 256])),
}


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three, as the command makes them."""
    root = tmp_path_factory.mktemp("graphs")
    assert main([str(root)]) == 0
    return root


def session(path: Path, optimised: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if optimised:
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def operations(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("name", REFERENCES)
def test_a_network_has_the_size_it_is_known_by(name: str) -> None:
    assert sum(weight.numel() for weight in build(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", REFERENCES)
def test_a_graph_is_one_file_in_tritons_layout_with_an_open_row_axis(
    graphs: Path, name: str
) -> None:
    folder = graphs / name / "1"
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    loaded = session(folder / "model.onnx")
    (taken,), (given,) = loaded.get_inputs(), loaded.get_outputs()
    assert ((taken.name, taken.shape), (given.name, given.shape)) == SHAPES[name]


def test_nothing_else_is_left_in_the_folder(graphs: Path) -> None:
    assert {path.name for path in graphs.iterdir()} == set(REFERENCES)


@pytest.mark.parametrize("name", ["cnn_small", "encoder_small"])
def test_a_graph_answers_like_its_network(graphs: Path, name: str) -> None:
    reference = REFERENCES[name]
    sample = reference.sample(5)
    with torch.no_grad():
        expected = build(name)(*sample.values()).numpy()
    feed = {key: value.numpy() for key, value in sample.items()}
    (got,) = session(graphs / name / "1" / "model.onnx").run(None, feed)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 1e-4  # a bench must tell rows apart


def test_resnet_is_folded_to_convolutions(graphs: Path) -> None:
    found = operations(graphs / "resnet18" / "1" / "model.onnx")
    assert found["Conv"] == 20
    assert found["BatchNormalization"] == 0


def test_onnx_runtime_joins_what_belongs_together_in_the_encoder(
    graphs: Path, tmp_path: Path
) -> None:
    optimised = tmp_path / "optimised.onnx"
    session(graphs / "encoder_small" / "1" / "model.onnx", optimised)
    found = operations(optimised)
    assert found["SkipLayerNormalization"] == 8
    assert found["BiasGelu"] == 4
    assert found["FusedMatMul"] == 4
    assert found["Softmax"] == 4
    assert found["Mul"] + found["Div"] + found["Gelu"] + found["Erf"] == 0


def test_what_is_there_is_left_alone_and_what_is_damaged_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "cnn_small" / "1" / "model.onnx"
    assert write("cnn_small", tmp_path)
    made = path.read_bytes()
    assert not write("cnn_small", tmp_path)
    path.write_bytes(b"half a graph")
    assert write("cnn_small", tmp_path)
    assert path.read_bytes() == made


def test_a_folder_that_cannot_be_written_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    assert main([str(file)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("reference_graphs: ")
    assert err.count("\n") == 1
