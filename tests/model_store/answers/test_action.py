import numpy as np
import pytest
from pydantic import ValidationError

from model_store.answers.action import ActionAnswer

BOUNDS = ((-2.0, 2.0), (0.0, 1.0))


def test_a_choice_is_the_likeliest_ones_number_counted_from_the_first() -> None:
    chances = {"probabilities": np.array([[0.25, 0.5, 0.25]], np.float32)}
    for first in (0, 1, -3):
        spec = ActionAnswer(names=("left", "stay", "right"), first=first)
        assert spec.answer(chances, {}, None) == {
            "action": first + 1,
            "probabilities": [0.25, 0.5, 0.25],
        }


def test_of_equal_chances_the_first_is_taken() -> None:
    chances = {"probabilities": np.array([[0.25, 0.375, 0.375]], np.float32)}
    assert ActionAnswer(names=("a", "b", "c")).answer(chances, {}, None)["action"] == 1


def test_a_vector_is_the_action_and_has_no_probabilities() -> None:
    spec = ActionAnswer(tensor="action", names=("torque", "brake"), bounds=BOUNDS)
    answer = spec.answer({"action": np.array([[-1.5, 0.25]], np.float32)}, {}, None)
    assert answer == {"action": [-1.5, 0.25], "probabilities": None}


def test_bounds_are_as_many_as_names_and_finite() -> None:
    with pytest.raises(ValidationError, match="1 names have 2 pairs of bounds"):
        ActionAnswer(tensor="action", names=("torque",), bounds=BOUNDS)
    with pytest.raises(ValidationError, match="finite"):
        ActionAnswer(tensor="action", names=("torque",), bounds=((0.0, float("inf")),))
