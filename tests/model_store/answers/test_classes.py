from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_store.answers.classes import ClassesAnswer, ClassesParameters

SPEC = ClassesAnswer(labels=("cat", "dog", "eel"))


def answer(scores: list[float], **parameters: Any) -> dict[str, Any]:
    tensors = {"probabilities": np.array([scores], np.float32)}
    return SPEC.answer(tensors, {}, ClassesParameters(**parameters))


def test_the_likeliest_label_comes_first_with_its_runners_up() -> None:
    assert answer([0.25, 0.5, 0.125]) == {
        "label": "dog",
        "score": 0.5,
        "top": [
            {"label": "dog", "score": 0.5},
            {"label": "cat", "score": 0.25},
            {"label": "eel", "score": 0.125},
        ],
    }


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (3, 3), (1000, 3)])
def test_top_k_says_how_many_labels_are_listed(top_k: int, count: int) -> None:
    assert len(answer([0.25, 0.5, 0.25], top_k=top_k)["top"]) == count


def test_of_equal_scores_the_first_label_wins() -> None:
    assert [part["label"] for part in answer([0.25, 0.5, 0.5])["top"]] == ["dog", "eel", "cat"]


@pytest.mark.parametrize("top_k", [0, -1, 1001, "many", None])
def test_a_top_k_out_of_range_is_refused(top_k: object) -> None:
    with pytest.raises(ValidationError, match="top_k"):
        ClassesParameters.model_validate({"top_k": top_k})


def test_one_label_is_no_choice() -> None:
    with pytest.raises(ValidationError, match="labels"):
        ClassesAnswer(labels=("only",))


@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3))
def test_scores_never_rise_down_the_list(scores: list[float]) -> None:
    top = answer(scores)["top"]
    assert [part["score"] for part in top] == sorted(scores, reverse=True)
    assert {part["label"] for part in top} == set(SPEC.labels)
