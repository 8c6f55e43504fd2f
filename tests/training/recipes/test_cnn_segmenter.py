"""The segmenter: over a socket, the mask of a picture of any size is as large as the picture."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from model_store.store import Store
from tests.pictures import masked, seen_in_odd_sizes
from tests.service.server import serving
from training import recipe as recipes
from training.recipes.cnn_segmenter import CLASSES, GROUND

if TYPE_CHECKING:
    from tests.conftest import Trained

pytestmark = pytest.mark.slow


def test_a_mask_over_a_socket_has_the_size_that_was_sent(
    trained: "Trained", tmp_path: Path
) -> None:
    with serving(
        trained.store, tmp_path, repository="explicit", models='["cnn_segmenter"]'
    ) as server:
        for width, height, output in seen_in_odd_sizes(server, "cnn_segmenter"):
            mask = Image.open(io.BytesIO(base64.b64decode(output["mask"]["b64"])))
            assert mask.size == (width, height)
            assert np.asarray(mask).max() < len(output["labels"])
            assert sum(output["share"].values()) == pytest.approx(1)


def test_a_published_segmenter_says_what_its_classes_are_and_its_baselines(
    trained: "Trained",
) -> None:
    manifest = Store(trained.store).open("cnn_segmenter").manifest
    answer = manifest.verbs["predict"].answer
    assert answer.kind == "mask"
    assert answer.labels == (GROUND, *CLASSES)
    assert set(manifest.baselines) == {"colour_of_each_pixel", "one_class_everywhere"}
    assert "whole emoji" in manifest.evaluation
    assert "a clock at another hour. " in manifest.evaluation
    assert "heart" not in manifest.evaluation


def test_a_class_that_is_in_one_picture_only_is_no_error(tmp_path: Path) -> None:
    kind = recipes.find("cnn_segmenter")
    recipe = kind(kind.profiles["quick"].model_copy(update=dict(kind.smoke)))
    recipe.load(masked(tmp_path, [0, 0, 0, 7, *[0] * 6]))
    with torch.no_grad():
        networks = {name: network.eval() for name, network in recipe.build(0).items()}
        evaluation = recipe.evaluate([networks])
    assert "2 of 10 pictures" in evaluation.description
    assert evaluation.baselines["one_class_everywhere"]["mean_iou"] == 1
