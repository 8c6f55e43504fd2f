"""The detector: what it says over a socket of a picture of odd size, and what it takes to learn."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from model_store.store import Store
from tests.service.server import serving
from training.data.scenes import CLASSES

if TYPE_CHECKING:
    from tests.conftest import Trained

pytestmark = pytest.mark.slow


def _png(width: int, height: int) -> bytes:
    pixels = np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_boxes_over_a_socket_lie_within_a_picture_of_any_size(
    trained: "Trained", tmp_path: Path
) -> None:
    with serving(
        trained.store, tmp_path, repository="explicit", models='["cnn_detector"]'
    ) as server:
        for width, height in ((333, 77), (50, 401), (1, 1), (640, 480)):
            answer = server.client.post(
                "/v1/models/cnn_detector/predict",
                params={"min_score": 0, "max_boxes": 20},
                content=_png(width, height),
                headers={"Content-Type": "image/png"},
            )
            assert answer.status_code == 200, answer.text
            boxes = answer.json()["outputs"][0]["boxes"]
            assert len(boxes) <= 20
            for found in boxes:
                left, top, right, bottom = found["box"]
                assert 0 <= left <= right <= width
                assert 0 <= top <= bottom <= height
                assert found["label"] in CLASSES
        item = {"b64": base64.b64encode(_png(20, 20)).decode()}
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
