"""Connected words by templates, and how errors are counted."""

import numpy as np
import pytest

from training.parts.templates import learn, word_errors

RNG = np.random.default_rng(0)
WORDS = [RNG.normal(size=(6, 4)) * 3 for _ in range(3)]
SILENCE = np.full(4, 9.0)


@pytest.mark.parametrize("said", [[1], [1, 2], [3, 1, 1, 2], [2, 2], []])
def test_words_are_found_though_each_is_stretched(said: list[int]) -> None:
    templates = learn(WORDS, [1, 2, 3], SILENCE)
    rng = np.random.default_rng(1)
    parts = [np.repeat(SILENCE[None], 4, axis=0)]
    for word in said:
        slow = WORDS[word - 1].repeat(rng.integers(1, 3, 6), axis=0)
        parts += [slow, np.repeat(SILENCE[None], 3, axis=0)]
    heard = np.concatenate(parts)
    assert templates.recognise(heard + rng.normal(size=heard.shape) * 0.1) == said


@pytest.mark.parametrize(
    ("truth", "found", "errors"),
    [("abc", "abc", 0), ("abc", "abx", 1), ("abc", "ac", 1), ("abc", "abbc", 1), ("", "ab", 2),
     ("abc", "", 3), ("ab", "ba", 2)],
)  # fmt: skip
def test_word_errors_are_the_fewest_changes(truth: str, found: str, errors: int) -> None:
    assert word_errors(list(truth), list(found)) == errors
