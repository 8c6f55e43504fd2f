"""What is special to ``svm_features``; the contract of all recipes is tested elsewhere."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from model_store.store import Store
from training.data import elpv
from training.errors import DataError
from training.parts.svm import Svm, learn
from training.recipes.svm_features import SvmConfig, SvmFeatures

if TYPE_CHECKING:
    from tests.conftest import Trained


def test_alone_or_with_31_others_the_answer_is_the_same(trained: "Trained") -> None:
    recipe, networks = trained.recipes["svm_features"]
    bundle = Store(trained.store).open("svm_features")
    images = recipe.package(networks, Path()).graphs["model"].sample(32)["image"].numpy()
    assert len(images) == 32
    session = onnxruntime.InferenceSession(bundle.path("model.onnx"))
    together = session.run(None, {"image": images})
    for row in range(32):
        alone = session.run(None, {"image": images[row : row + 1]})
        for one, many in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], many[row], atol=1e-4, rtol=1e-4)


def test_scores_are_those_of_scikit_learn(trained: "Trained") -> None:
    manifest = Store(trained.store).open("svm_features").manifest
    for metric, value in manifest.baselines["scikit_learn_itself"].items():
        assert manifest.metrics[metric] == pytest.approx(value, abs=0.01)
    assert manifest.metrics["roc_auc"] > 0.8, "three digits are easily told apart"


def test_the_published_graph_answers_as_scikit_learn_does(trained: "Trained") -> None:
    recipe, _ = trained.recipes["svm_features"]
    assert isinstance(recipe, SvmFeatures)
    session = onnxruntime.InferenceSession(
        Store(trained.store).open("svm_features").path("model.onnx")
    )
    images = recipe.pictures.images[:20]
    got, _ = session.run(None, {"image": images.numpy()})
    expected = recipe.machines[-1].predict_proba(recipe.features[:20])
    np.testing.assert_allclose(got, expected, atol=1e-3)


@pytest.mark.parametrize("classes", [2, 4])
def test_a_machine_in_torch_is_the_machine_of_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % classes
    features = (rng.normal(size=(120, 6)) + labels[:, None] * [1, 0, 2, 0, 0, 0]).astype("f4")
    learned = learn(features, labels, np.arange(120) % 3, 2.0)
    unseen = rng.normal(size=(40, 6)).astype("f4") + 1
    with torch.no_grad():
        ours = Svm(learned)(torch.tensor(unseen)).numpy()

    np.testing.assert_allclose(ours, learned.predict_proba(unseen), atol=1e-4)
    assert np.ptp(ours[:, 0]) > 0.2


def test_without_the_solar_cells_the_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"CC-BY-NC-SA-4.0.*`modelhub data get elpv`.*--data"):
        SvmFeatures(SvmConfig()).load(None)


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder with one folder of"):
        SvmFeatures(SvmConfig()).load(tmp_path)


def test_a_model_made_from_the_solar_cells_is_not_for_commercial_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    buffer = io.BytesIO()
    Image.new("L", (40, 40)).save(buffer, "PNG")
    monkeypatch.setattr(elpv, "cells", lambda: iter([(buffer.getvalue(), n % 2) for n in range(8)]))
    recipe = SvmFeatures(SvmConfig(size=32))
    recipe.load(None)
    assert recipe.license == recipe.data_license == elpv.LICENSE


def test_the_users_own_pictures_do_not_make_the_model_non_commercial(trained: "Trained") -> None:
    manifest = Store(trained.store).open("svm_features").manifest
    assert manifest.license == "Apache-2.0"
    assert manifest.provenance
    assert manifest.provenance.data_license == "the user's own"
