"""Kneser-Ney models: probabilities that are some, and those of the books."""

import itertools

import numpy as np
import pytest

from training.parts.ngrams import KneserNey

VOCABULARY = 6
TEXT = np.random.default_rng(0).choice(VOCABULARY - 1, 400, p=[0.5, 0.2, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("context", [[0, 0, 0, 0], [4, 3, 2, 1], [5, 5, 0, 0], [0, 0, 0, 5]])
def test_what_may_follow_has_a_probability_of_one_together(order: int, context: list[int]) -> None:
    table = KneserNey(TEXT, order, VOCABULARY)
    chances = [table.probabilities([*context, token])[-1] for token in range(VOCABULARY)]
    assert sum(chances) == pytest.approx(1)
    assert min(chances) > 0, "nothing is impossible, not even what was never seen"


def test_a_text_without_chance_is_learned_by_heart() -> None:
    table = KneserNey([0, 1, 2, 3] * 200, 4, VOCABULARY)
    assert table.probabilities([0, 1, 2, 3, 0, 1, 2, 3])[3:].min() > 0.99


def test_a_shorter_gram_counts_by_what_it_follows_and_not_by_how_often() -> None:
    """Chen and Goodman's San Francisco: often seen, but after one word only."""
    san, francisco, glasses, rest = 0, 1, 2, list(range(3, 40))
    text = [san, francisco] * 60
    for other in rest:
        text += [other, glasses]
    table = KneserNey(text, 2, 41)
    unseen = 40
    assert text.count(francisco) > text.count(glasses)
    after_unseen = [table.probabilities([unseen, token])[1] for token in (francisco, glasses)]
    assert after_unseen[1] > 5 * after_unseen[0]


def test_bigrams_are_weighed_by_the_formula() -> None:
    """Interpolated, with discounts from how many grams were seen once, twice and so on."""
    text = TEXT.tolist()
    pairs = list(itertools.pairwise(text))
    counts = {pair: pairs.count(pair) for pair in set(pairs)}
    times = [sum(count == n for count in counts.values()) for n in range(1, 5)]
    if all(times):
        share = times[0] / (times[0] + 2 * times[1])
        discounts = [n - (n + 1) * share * times[n] / times[n - 1] for n in (1, 2, 3)]
    else:
        discounts = [0.5, 0.75, 0.75]
    discount = {pair: discounts[min(count, 3) - 1] for pair, count in counts.items()}

    def chance(one: int, other: int) -> float:
        total = sum(count for pair, count in counts.items() if pair[0] == one)
        left = sum(cost for pair, cost in discount.items() if pair[0] == one)
        kept = counts.get((one, other), 0) - discount.get((one, other), 0)
        return float(kept / total + left / total * unigram.probabilities([other])[0])

    # Its own shorter grams, from continuation counts, are what a model of every pair once has.
    table = KneserNey(text, 2, VOCABULARY)
    unigram = KneserNey([other for _, other in sorted(counts)], 1, VOCABULARY)
    for one, other in [(0, 0), (1, 3), (4, 4), (2, 0)]:
        assert table.probabilities([one, other])[1] == pytest.approx(chance(one, other))


def test_bits_are_logarithms_of_the_probabilities() -> None:
    table = KneserNey(TEXT, 3, VOCABULARY)
    assert table.bits(TEXT[:50]) == pytest.approx(-np.log2(table.probabilities(TEXT[:50])))
