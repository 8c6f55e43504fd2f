"""Models of rows in half precision and in 8 bits: judged by their own recipe, refused if worse."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import pytest

from model_store.store import Store
from tests.service.bundles import publish, sensor
from training.errors import DataError, ParityError, UnknownRecipe
from training.quantize import Wish, quantize

if TYPE_CHECKING:
    from tests.conftest import Trained

JUDGED = {
    "cnn_digits": "accuracy",
    "transformer_sentiment": "accuracy",
    "mlp_diagnosis": "accuracy",
    "autoencoder_telemetry": "average_precision",
}


@pytest.fixture
def store(trained: "Trained", tmp_path: Path) -> Path:
    """With the models of these recipes, as the other tests trained them."""
    for name in JUDGED:
        shutil.copytree(trained.store / name, tmp_path / "models" / name)
    return tmp_path / "models"


def wish(store: Path, name: str, **more: Any) -> Wish:
    return Wish(**{"ref": name, "kind": "int8", "store": store, "publish_as": "small",
                   "most_loss": 0.05, **more})  # fmt: skip


@pytest.mark.parametrize("kind", ["int8", "float16"])
@pytest.mark.parametrize("name", JUDGED)
def test_smaller_model_is_judged_on_held_out_rows_beside_the_one_it_came_from(
    store: Path, name: str, kind: str
) -> None:
    whole = Store(store).open(name).manifest
    made = quantize(wish(store, name, kind=kind))

    metric = JUDGED[name]
    assert list(made.metrics) == [metric]
    assert made.metrics[metric] >= 0.95 * made.baselines["float32"][metric]
    if whole.evaluation and name != "mlp_diagnosis":  # that one's score is of all its folds
        assert made.baselines["float32"][metric] == pytest.approx(whole.metrics[metric], abs=1e-6)
    assert f"which is {name}@1" in made.evaluation
    assert "weights.safetensors" not in made.files, "they are as large as ever"
    assert not [file for file in made.files if file.endswith(".png")], "they show the old scores"
    card = Store(store).open("small").path("card.md").read_text(encoding="utf-8")
    assert f"| this model | {made.metrics[metric]:.4g} |" in card
    assert not made.parity
    bundle = Store(store).open("small")
    bundle.verify()
    graph = onnx.load(bundle.path("model.onnx")).graph
    assert [value.name for value in graph.output] == [o.name for o in whole.graphs["model"].outputs]
    kinds = {tensor.data_type for tensor in graph.initializer}
    assert (onnx.TensorProto.INT8 if kind == "int8" else onnx.TensorProto.FLOAT16) in kinds


def test_one_that_loses_too_much_is_not_published(store: Path) -> None:
    with pytest.raises(ParityError, match=r"int8: .* accuracy in place of .* nothing is published"):
        quantize(wish(store, "cnn_digits", most_loss=-0.5))
    assert "small" not in Store(store).names()


def test_weights_of_four_bits_are_for_text(store: Path) -> None:
    with pytest.raises(DataError, match="--to int4: expected one of float16, int8 for this model"):
        quantize(wish(store, "mlp_diagnosis", kind="int4"))


def test_model_that_no_recipe_made_is_refused(tmp_path: Path) -> None:
    publish(tmp_path, sensor)
    with pytest.raises(UnknownRecipe, match="no recipe 'by_hand'"):
        quantize(wish(tmp_path, "sensor"))


def test_recipe_that_cannot_judge_its_graph_says_so(trained: "Trained", tmp_path: Path) -> None:
    shutil.copytree(trained.store / "gan_digits", tmp_path / "gan_digits")
    with pytest.raises(DataError, match="gan_digits does not say how its graph"):
        quantize(wish(tmp_path, "gan_digits"))
