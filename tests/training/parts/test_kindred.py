"""Vectors in which translations are near each other."""

import numpy as np
import pytest

from training.parts.kindred import SPREAD, kindred

WORDS = 20


def pairs() -> list[tuple[list[int], list[int]]]:
    """Token ``n`` of the one language is ``n + 20`` of the other; 40 is in both, 41 in neither."""
    generator = np.random.default_rng(0)
    drawn = [generator.choice(WORDS, 3, replace=False).tolist() for _ in range(400)]
    return [([*words, 40], [40, *(word + WORDS for word in words[::-1])]) for words in drawn]


def test_a_token_is_nearest_to_its_translation() -> None:
    vectors = kindred(pairs(), 42, 24)
    near = vectors[:WORDS] @ vectors[WORDS : 2 * WORDS].T
    assert near.argmax(1).tolist() == list(range(WORDS))


def test_they_are_as_long_as_embeddings_and_of_unknown_tokens_there_are_none() -> None:
    vectors = kindred(pairs(), 42, 24)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors[0]) == pytest.approx(SPREAD * 24**0.5, rel=1e-4)
    assert not vectors[41].any()


def test_the_same_pairs_give_the_same_vectors() -> None:
    np.testing.assert_array_equal(kindred(pairs(), 42, 24), kindred(pairs(), 42, 24))
