"""The detector: what it says over a socket of a picture of odd size, and what it takes to learn."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from model_store.store import Store
from tests.pictures import boxed, noise, seen_in_odd_sizes
from tests.service.server import serving
from training import recipe as recipes
from training.data.emoji_scenes import CLASSES

if TYPE_CHECKING:
    from tests.conftest import Trained

pytestmark = pytest.mark.slow


def test_boxes_over_a_socket_lie_within_a_picture_of_any_size(
    trained: "Trained", tmp_path: Path
) -> None:
    with serving(
        trained.store, tmp_path, repository="explicit", models='["cnn_detector"]'
    ) as server:
        parameters = {"min_score": 0, "max_boxes": 20}
        for width, height, output in seen_in_odd_sizes(server, "cnn_detector", **parameters):
            boxes = output["boxes"]
            assert len(boxes) <= 20
            for found in boxes:
                left, top, right, bottom = found["box"]
                assert 0 <= left <= right <= width
                assert 0 <= top <= bottom <= height
                assert found["label"] in CLASSES
        item = {"b64": base64.b64encode(noise(20, 20)).decode()}
        refused = server.predict("predict", "cnn_detector", item, min_score=2)
        assert refused.status_code == 422
        assert "min_score" in refused.json()["detail"]


def test_a_published_detector_says_what_its_classes_are_and_its_baseline(
    trained: "Trained",
) -> None:
    manifest = Store(trained.store).open("cnn_detector").manifest
    answer = manifest.verbs["predict"].answer
    assert answer.kind == "boxes"
    assert answer.labels == tuple(CLASSES)
    assert set(manifest.baselines) == {"sliding_window"}
    assert "whole emoji" in manifest.evaluation
    assert "a clock at another hour, a heart in another colour. " in manifest.evaluation


def test_own_pictures_are_learned_and_a_class_that_is_not_tested_is_said(tmp_path: Path) -> None:
    kind = recipes.find("cnn_detector")
    recipe = kind(kind.profiles["quick"].model_copy(update=dict(kind.smoke)))
    recipe.load(boxed(tmp_path))
    with torch.no_grad():
        networks = {name: network.eval() for name, network in recipe.build(0).items()}
        evaluation = recipe.evaluate([networks])
    assert "2 of 10 pictures" in evaluation.description
    assert "odd not tested" in evaluation.description
