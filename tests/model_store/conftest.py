"""A store in a temporary folder, and a small bundle and plain graphs to put into it."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import helper

from model_store.answers.classes import ClassesAnswer
from model_store.inputs.table import Column, TableInput
from model_store.manifest import Draft, Graph, Manifest, Parity, Provenance, Tensor, Verb
from model_store.store import Store
from tests.model_store.commands import Modelhub
from tests.model_store.graphs import echo, model_of, values


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture(scope="session")
def graph() -> bytes:
    """What the draft says: table float32 [batch, 2] → probabilities of the same shape."""
    table, probabilities = values(
        {name: ("FLOAT", ["batch", 2]) for name in ("table", "probabilities")}
    )
    node = helper.make_node("Softmax", ["table"], ["probabilities"], axis=1)
    return bytes(model_of([node], [table], [probabilities]).SerializeToString())


@pytest.fixture
def plain(store: Store) -> Callable[..., Path]:
    """``plain(model)`` puts a plain graph into the store, in Triton's layout, and says where."""

    def plain(model: onnx.ModelProto | None = None, name: str = "bare", version: int = 1) -> Path:
        folder = store.root / name / str(version)
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes((model or echo()).SerializeToString())
        return folder

    return plain


@pytest.fixture
def draft() -> Draft:
    return Draft(
        family="other",
        category="tabular",
        task="fault-diagnosis",
        description="Tells a good part from a bad one.",
        license="Apache-2.0",
        graphs={
            "model": Graph(
                file="model.onnx",
                inputs=(Tensor(name="table", dtype="float32", shape=("batch", 2)),),
                outputs=(Tensor(name="probabilities", dtype="float32", shape=("batch", 2)),),
            )
        },
        verbs={
            "predict": Verb(
                input=TableInput(columns=(Column(name="a"), Column(name="b"))),
                answer=ClassesAnswer(labels=("good", "bad")),
                example=[1.5, -2.0],
            )
        },
        metrics={"zeta": 0.75, "accuracy": 0.9, "mean_error": 0.125},
        baselines={"majority_class": {"accuracy": 0.5, "zeta": 0.25}},
        evaluation="100 rows held out",
        parity={"model": Parity(rows=(1, 3, 64), max_difference=1e-7, tolerance=1e-4)},
        provenance=Provenance(
            recipe="toy_faults",
            profile="quick",
            config={"epochs": 3, "learning_rate": 0.01},
            seed=7,
            data="made up",
            data_license="CC0-1.0",
            train_seconds=1.5,
            packages={"modelhub": "0.1.0"},
        ),
    )


@pytest.fixture
def publish(store: Store, draft: Draft, graph: bytes) -> Callable[..., Manifest]:
    """``publish("name")`` puts a bundle of three files into the store."""

    def publish(name: str = "toy", content: bytes = graph) -> Manifest:
        with store.stage(name) as folder:
            (folder / "model.onnx").write_bytes(content)
            (folder / "card.md").write_text("# Toy\n")
            (folder / "pictures").mkdir()
            (folder / "pictures" / "curve.png").write_bytes(b"\x89PNG")
            return store.publish(name, folder, draft)

    return publish


@pytest.fixture
def modelhub(store: Store, capsys: pytest.CaptureFixture[str]) -> Modelhub:
    return Modelhub(store, capsys)


@pytest.fixture
def save(tmp_path: Path) -> Callable[[onnx.ModelProto | bytes], Path]:
    def save(model: onnx.ModelProto | bytes) -> Path:
        path = tmp_path / "model" / "model.onnx"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return path

    return save
