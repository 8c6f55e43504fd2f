"""The best path through the steps' probabilities, as words with times."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from model_store.answers.transcript import TranscriptAnswer

WORDS = TranscriptAnswer(tokens=("one", "two"), step_seconds=0.1)
LETTERS = TranscriptAnswer(tokens=(" ", "a", "b"), separator=" ", step_seconds=0.1)


def heard(spec: TranscriptAnswer, path: Sequence[int], **context: Any) -> dict[str, Any]:
    """The answer where step ``t`` says token ``path[t]`` with probability 0.9."""
    probabilities = np.full((1, len(path), len(spec.tokens) + 1), 0.1 / len(spec.tokens))
    probabilities[0, range(len(path)), path] = 0.9
    scores = {"log_probabilities": np.log(probabilities).astype(np.float32)}
    return spec.answer(scores, context, spec.parameters())


def test_repeats_are_one_word_and_a_blank_between_makes_two() -> None:
    assert heard(WORDS, [0, 1, 1, 2, 2, 0, 2])["text"] == "one two two"


def test_a_word_lasts_as_long_as_its_steps() -> None:
    [one, two] = heard(WORDS, [0, 1, 1, 0, 2])["words"]
    assert (one["word"], one["start"], one["end"]) == ("one", 0.1, 0.3)
    assert (two["word"], two["start"], two["end"]) == ("two", 0.4, 0.5)
    assert one["score"] == pytest.approx(0.9)


def test_no_word_ends_after_the_recording() -> None:
    assert heard(WORDS, [0, 1], seconds=0.15)["words"][0]["end"] == 0.15


def test_a_score_is_the_mean_of_the_words_steps() -> None:
    probabilities = np.array([[[0.1, 0.9, 0.0001], [0.4, 0.6, 0.0001]]], dtype=np.float32)
    answer = WORDS.answer({"log_probabilities": np.log(probabilities)}, {}, WORDS.parameters())
    assert answer["words"][0]["score"] == pytest.approx(math.sqrt(0.9 * 0.6), rel=1e-5)


def test_letters_make_words_between_separators() -> None:
    answer = heard(LETTERS, [1, 2, 2, 0, 2, 1, 0, 1, 3, 0])
    assert answer["text"] == "aa b"
    assert [(word["start"], word["end"]) for word in answer["words"]] == [(0.1, 0.5), (0.8, 0.9)]


@pytest.mark.parametrize("path", [[], [0, 0, 0]])
def test_silence_is_an_empty_text(path: list[int]) -> None:
    assert heard(WORDS, path) == {"text": "", "words": []}
    assert heard(LETTERS, path) == {"text": "", "words": []}


def test_a_separator_is_one_of_the_tokens() -> None:
    with pytest.raises(ValidationError, match="expected one of the tokens; got '-'"):
        TranscriptAnswer(tokens=("a",), separator="-", step_seconds=0.1)
