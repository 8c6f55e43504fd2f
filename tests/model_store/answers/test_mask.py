"""A mask has the size of the picture that was sent, and a class number at each pixel."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from model_store.answers.mask import MaskAnswer

SPEC = MaskAnswer(labels=("ground", "cat", "dog"))
MASK = np.array([[[0, 1], [2, 2]]], np.uint8)


def numbers(answer: dict[str, Any]) -> Any:
    picture = Image.open(io.BytesIO(base64.b64decode(answer["mask"]["b64"])))
    assert picture.mode == "L"
    return np.asarray(picture)


def test_a_mask_is_answered_in_the_size_that_was_sent() -> None:
    answer = SPEC.answer({"mask": MASK}, {"width": 6, "height": 4}, SPEC.parameters())
    assert numbers(answer).tolist() == [[0] * 3 + [1] * 3] * 2 + [[2] * 6] * 2
    assert answer["labels"] == ["ground", "cat", "dog"]
    assert answer["share"] == {"ground": 0.25, "cat": 0.25, "dog": 0.5}


def test_what_was_padded_is_no_part_of_the_mask() -> None:
    context = {"width": 10, "height": 5, "filled": (1, 0.5)}
    answer = SPEC.answer({"mask": MASK}, context, SPEC.parameters())
    assert numbers(answer).tolist() == [[0] * 5 + [1] * 5] * 5
    assert answer["share"] == {"ground": 0.5, "cat": 0.5, "dog": 0.0}
