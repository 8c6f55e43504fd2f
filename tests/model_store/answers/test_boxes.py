"""Boxes are in pixels of the picture that was sent, surest first, and never leave it."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from model_store.answers.boxes import BoxesAnswer, BoxesParameters

SPEC = BoxesAnswer(labels=("cat", "dog"), min_score=0.3)
TENSORS: dict[str, Any] = {
    "boxes": np.array([[[0, 0, 0.5, 0.25], [0.25, 0.1, 1.5, 0.5], [0, 0, 1, 1], [0, 0, 0, 0]]]),
    "scores": np.array([[0.4, 0.9, 0.2, 0.0]]),
    "classes": np.array([[0, 1, 1, 0]]),
}
SENT = {"width": 200, "height": 100}


def found(context: dict[str, Any], **parameters: Any) -> list[dict[str, Any]]:
    boxes: list[dict[str, Any]] = SPEC.answer(TENSORS, context, BoxesParameters(**parameters))[
        "boxes"
    ]
    return boxes


def test_boxes_are_in_pixels_of_what_was_sent_the_surest_first() -> None:
    assert found(SENT) == [
        {"label": "dog", "score": 0.9, "box": [50.0, 10.0, 200.0, 50.0]},
        {"label": "cat", "score": 0.4, "box": [0.0, 0.0, 100.0, 25.0]},
    ]


def test_a_picture_that_filled_half_of_the_square_has_its_boxes_at_their_places() -> None:
    [dog, cat] = found({**SENT, "filled": (1, 0.5)})
    assert dog["box"] == pytest.approx([50, 20, 200, 100])
    assert cat["box"] == pytest.approx([0, 0, 100, 50])


def test_a_caller_says_how_sure_and_how_many() -> None:
    assert [one["score"] for one in found(SENT, min_score=0.1)] == [0.9, 0.4, 0.2]
    assert [one["score"] for one in found(SENT, min_score=0)] == [0.9, 0.4, 0.2], "0 is no box"
    assert [one["score"] for one in found(SENT, max_boxes=1)] == [0.9]
    assert found(SENT, min_score=1) == []


@pytest.mark.parametrize("bad", [{"min_score": 1.1}, {"min_score": -0.1}, {"max_boxes": 0}])
def test_parameters_out_of_bounds_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        BoxesParameters(**bad)
