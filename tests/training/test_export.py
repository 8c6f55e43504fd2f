import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from model_store.manifest import Batching, Graph
from training.errors import ParityError
from training.export import OPSET, export
from training.recipe import GraphExport


class Reader(nn.Module):
    """Tokens and mask ``[B, T]``, a picture ``[B, 1, 4, 4]`` → ``[B, 2]``, ``[B, T]``, uint8."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 2)
        self.noise = nn.Dropout(0.5)

    def forward(self, tokens: Tensor, mask: Tensor, picture: Tensor) -> tuple[Tensor, ...]:
        words = self.noise(self.words(tokens)) * mask[..., None]
        bright = (picture.float() / 255).mean((1, 2, 3))
        mean = words.sum(1) / mask.sum(1, keepdim=True) + bright[:, None]
        return mean, words.sum(2), 255 - picture


def sample(rows: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return {
        "tokens": torch.randint(10, (rows, 6), generator=generator),
        "mask": torch.ones(rows, 6, dtype=torch.long),
        "picture": torch.randint(256, (rows, 1, 4, 4), generator=generator).to(torch.uint8),
    }


class Clash(nn.Module):
    """Its outputs are called like what the exporter calls a layer's result and a buffer."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 3)
        self.register_buffer("scale", torch.full((3,), 2.0))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        words = self.embedding(tokens) * self.scale
        return words.sum(1), words.mean(1)


class Exported:
    """A module, its graph on disk and what was said while it was made."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.module, self.folder = Reader(), folder
        self.graph: Graph = export(
            "reader",
            GraphExport(
                self.module,
                sample,
                ["answer", "each", "negative"],
                axes={"tokens": {1: "time"}, "mask": {1: "time"}},
                batching=Batching(max_rows=16, pad={"time": (8,)}),
            ),
            folder,
        )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("exported"))


def test_the_row_is_a_named_axis_of_every_input_and_output(exported: Exported) -> None:
    tensors = [*exported.graph.inputs, *exported.graph.outputs]
    assert {tensor.shape[0] for tensor in tensors} == {"batch"}


def test_the_graph_tells_nothing_of_the_machine_it_was_made_on(exported: Exported) -> None:
    """Else its digest would follow the folder that the code lies in."""
    written = (exported.folder / "reader.onnx").read_bytes()
    assert str(Path(__file__).parent).encode() not in written
    nodes = onnx.load(exported.folder / "reader.onnx").graph.node
    assert not [node.name for node in nodes if node.metadata_props or node.doc_string]


def test_every_axis_named_is_dynamic_and_all_others_are_not(exported: Exported) -> None:
    graph = exported.graph
    assert {t.name: (t.dtype, t.shape) for t in graph.inputs} == {
        "tokens": ("int64", ("batch", "time")),
        "mask": ("int64", ("batch", "time")),
        "picture": ("uint8", ("batch", 1, 4, 4)),
    }
    assert {t.name: (t.dtype, t.shape) for t in graph.outputs} == {
        "answer": ("float32", ("batch", 2)),
        "each": ("float32", ("batch", "time")),
        "negative": ("uint8", ("batch", 1, 4, 4)),
    }


def test_the_manifests_entry_says_what_the_file_says(exported: Exported) -> None:
    assert exported.graph.file == "reader.onnx"
    assert exported.graph.batching == Batching(max_rows=16, pad={"time": (8,)})
    model = onnx.load(exported.folder / "reader.onnx")
    for value, spec in zip(model.graph.input, exported.graph.inputs, strict=True):
        dims = value.type.tensor_type.shape.dim
        assert value.name == spec.name
        assert tuple(dim.dim_param or dim.dim_value for dim in dims) == spec.shape
    assert {opset.domain: opset.version for opset in model.opset_import}[""] == OPSET


def test_everything_is_in_one_file(exported: Exported) -> None:
    assert [path.name for path in exported.folder.iterdir()] == ["reader.onnx"]


@pytest.mark.parametrize(("rows", "time"), [(1, 1), (1, 6), (5, 3), (40, 50)])
def test_the_graph_runs_at_any_size_of_its_dynamic_axes(
    exported: Exported, rows: int, time: int
) -> None:
    inputs = {
        "tokens": torch.arange(rows * time).reshape(rows, time) % 10,
        "mask": torch.ones(rows, time, dtype=torch.long),
        "picture": torch.full((rows, 1, 4, 4), 51, dtype=torch.uint8),
    }
    session = onnxruntime.InferenceSession(exported.folder / "reader.onnx")
    got = session.run(None, {key: tensor.numpy() for key, tensor in inputs.items()})
    with torch.no_grad():
        expected = exported.module(*inputs.values())  # the export left it in eval mode
    for have, want in zip(got, expected, strict=True):
        np.testing.assert_allclose(have, want.numpy(), rtol=1e-5, atol=1e-6)


def test_the_export_is_silent_and_leaves_logs_and_warnings_as_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    level, filters = logging.getLogger("torch.onnx").level, list(warnings.filters)
    module = nn.Linear(2, 2)
    export("line", GraphExport(module, lambda rows: {"x": torch.randn(rows, 2)}, ["y"]), tmp_path)
    assert capsys.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []
    assert logging.getLogger("torch.onnx").level == level
    assert list(warnings.filters) == filters


def test_outputs_keep_their_names_whatever_the_layers_are_called(tmp_path: Path) -> None:
    module, inputs = Clash(), torch.tensor([[1, 2, 3, 4]])
    names = ["embedding", "scale"]
    sample = GraphExport(module, lambda rows: {"tokens": inputs.expand(rows, -1)}, names)
    graph = export("clash", sample, tmp_path)
    assert [tensor.name for tensor in graph.outputs] == names
    session = onnxruntime.InferenceSession(tmp_path / "clash.onnx")
    got = session.run(names, {"tokens": inputs.numpy()})
    with torch.no_grad():
        for have, want in zip(got, module(inputs), strict=True):
            np.testing.assert_allclose(have, want.numpy(), rtol=1e-6)


def test_a_module_that_needs_a_fixed_number_of_rows_is_refused(tmp_path: Path) -> None:
    class Three(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.arange(3.0)[:, None]

    graph = GraphExport(Three(), lambda rows: {"x": torch.randn(rows, 2)}, ["y"])
    with pytest.raises(ParityError, match="three: axis 0 of x came out as 3, not as 'batch'"):
        export("three", graph, tmp_path)
