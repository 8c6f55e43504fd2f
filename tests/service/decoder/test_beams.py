"""Beam search against the exhaustive search that it stands in for."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from model_store.spec import Array
from service.decoder.beams import Beams, log_softmax

END, WORDS, LIMIT = 0, 4, 3
Model = Callable[[tuple[int, ...]], Array]


def model(seed: int) -> Model:
    """A made-up language: the logits of what follows each beginning."""
    likely = {
        said: np.random.default_rng([seed, *said, 9]).normal(size=WORDS).astype(np.float32) * 2
        for length in range(LIMIT)
        for said in itertools.product(range(WORDS), repeat=length)
    }
    return likely.__getitem__


def best(likely: Model, penalty: float) -> tuple[list[int], str]:
    """Of all texts there are."""
    found: list[tuple[float, list[int], str]] = []
    for length in range(LIMIT + 1):
        for said in itertools.product(range(1, WORDS), repeat=length):
            score = sum(log_softmax(likely(said[:place]))[said[place]] for place in range(length))
            if length == LIMIT:
                found.append((score / length**penalty, list(said), "length"))
            else:
                score += log_softmax(likely(said))[END]
                found.append((score / (length + 1) ** penalty, list(said), "stop"))
    _, text, reason = max(found)
    return text, reason


def search(likely: Model, width: int, penalty: float) -> tuple[list[int], str]:
    """As a decoder does it: rows that go on from each other's past."""
    beams = Beams(width, (END,), LIMIT, penalty)
    texts: list[tuple[int, ...]] = [()]
    while choice := beams.advance(np.stack([likely(text) for text in texts])):
        assert len(choice.tokens) == len(choice.parents) == width
        texts = [
            (*texts[parent], token)
            for parent, token in zip(choice.parents, choice.tokens, strict=True)
        ]
    return beams.best


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(10))
def test_beams_as_wide_as_the_language_find_what_an_exhaustive_search_finds(
    seed: int, penalty: float
) -> None:
    likely = model(seed)
    assert search(likely, 16, penalty) == best(likely, penalty)


def test_one_beam_takes_the_likeliest_token_each_time() -> None:
    for seed in range(20):
        likely, said = model(seed), tuple[int, ...]()
        while len(said) < LIMIT and (token := int(likely(said).argmax())) != END:
            said = (*said, token)
        found, _ = search(likely, 1, 0.0)
        assert tuple(found[: len(said)]) == said[: len(found)]


def test_log_softmax_is_that_of_the_definition() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32) * 10
    exact = np.log(
        np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(1)[:, None]
    )
    assert np.abs(log_softmax(logits) - exact).max() < 1e-12
