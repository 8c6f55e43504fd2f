"""Decoders with smaller weights: what is lost is measured, and too much is refused."""

from pathlib import Path
from typing import Any

import onnx
import pytest

from model_store.cli import main
from model_store.store import Store
from tests.service.bundles import publish, sensor
from training import reference_decoders
from training.errors import DataError, ParityError
from training.parts.decoder import Shape
from training.quantize import Wish, quantize

MODEL = "tiny"
METRIC = "cross_entropy"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small decoder of random weights, in a store of its own."""
    shape = Shape(width=64, layers=2, heads=2, context=256)
    monkeypatch.setitem(reference_decoders.SHAPES, MODEL, shape)
    reference_decoders.write(MODEL, Store(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("And the evening and the morning were the sixth day. " * 200, encoding="utf-8")
    return path


def wish(store: Path, text: Path, **more: Any) -> Wish:
    facts = {"ref": MODEL, "kind": "int8", "publish_as": "small", "most_loss": 0.5}
    return Wish(store=store, texts=[text], **{**facts, **more})


@pytest.mark.parametrize(("kind", "share"), [("int8", 0.65), ("int4", 0.55)])
def test_a_smaller_model_says_what_it_lost_beside_the_one_it_came_from(
    store: Path, text: Path, kind: str, share: float
) -> None:
    made = quantize(wish(store, text, kind=kind))
    assert (made.name, made.version) == ("small", 1)
    whole = Store(store).open(MODEL)
    graph = made.graphs["model"]
    assert made.files[graph.file].size_bytes < share * whole.manifest.files[graph.file].size_bytes
    lost = made.metrics[METRIC] / made.baselines["float32"][METRIC] - 1
    assert abs(lost) < 0.05
    nodes = onnx.load(store / "small" / "1" / graph.file).graph.node
    assert "MatMulNBits" in {node.op_type for node in nodes}
    assert graph.decoding == whole.manifest.graphs["model"].decoding
    Store(store).open("small").verify()


def test_one_that_loses_too_much_is_not_published(store: Path, text: Path) -> None:
    with pytest.raises(
        ParityError, match=r"int4: .* nats a held-out token in place of .* nothing is published"
    ):
        quantize(wish(store, text, kind="int4", most_loss=-0.5))
    assert Store(store).names() == [MODEL]


def test_too_little_text_is_refused(store: Path, text: Path) -> None:
    text.write_text("Amen.", encoding="utf-8")
    with pytest.raises(DataError, match=r"--text: expected at least 256 tokens; got"):
        quantize(wish(store, text))


def test_a_model_that_says_no_text_is_refused(tmp_path: Path, text: Path) -> None:
    publish(tmp_path / "other", sensor)
    with pytest.raises(DataError, match="sensor: expected a model that says text from a shared"):
        quantize(wish(tmp_path / "other", text, ref="sensor"))


def test_the_command_says_what_it_did(
    store: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = ["quantize", MODEL, "--store", str(store), "--text", str(text), "--most-loss", "0.5"]
    assert main(order) == 0
    assert capsys.readouterr().out.startswith(f"published {MODEL}-int8@1: ")
    assert main([*order, "--most-loss", "-1", "--name", "other"]) == 2
    assert "nothing is published" in capsys.readouterr().err


def test_half_precision_is_not_for_text(store: Path, text: Path) -> None:
    with pytest.raises(DataError, match="--to float16: expected one of int4, int8 for a model of"):
        quantize(wish(store, text, kind="float16"))
    assert Store(store).names() == [MODEL]
