"""A store in a temporary folder and a small bundle to put into it. No graph is run here."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model_store.answers.classes import ClassesAnswer
from model_store.inputs.table import Column, TableInput
from model_store.manifest import Draft, Graph, Manifest, Parity, Provenance, Tensor, Verb
from model_store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


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
def publish(store: Store, draft: Draft) -> Callable[..., Manifest]:
    """``publish("name")`` puts a bundle of three files into the store."""

    def publish(name: str = "toy", graph: bytes = b"a graph, for all the store knows") -> Manifest:
        with store.stage(name) as folder:
            (folder / "model.onnx").write_bytes(graph)
            (folder / "card.md").write_text("# Toy\n")
            (folder / "pictures").mkdir()
            (folder / "pictures" / "curve.png").write_bytes(b"\x89PNG")
            return store.publish(name, folder, draft)

    return publish
