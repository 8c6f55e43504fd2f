"""Interpolated modified Kneser-Ney models (Chen and Goodman 1999) over any tokens: what a language
model without a network says. Knows no tokenizer and no network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_store.spec import Array

Ints = npt.NDArray[np.int64]
UNSEEN = -1


@dataclass(frozen=True)
class _Order:
    """All grams of one length that were seen, each with a place in ``keys``.

    A gram's key is its context's place among the shorter ones, times the vocabulary, plus its last
    token; so those of one context are neighbours.
    """

    keys: Ints
    kept: Array  # float64, one a gram: its count after the discount, over its context's total
    backoff: Array  # float64, one a context: the probability that is left for shorter grams


class KneserNey:
    """Learns at once. Tokens are whole numbers below ``vocabulary``."""

    def __init__(self, stream: Sequence[int] | Ints, order: int, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        tokens = np.asarray(stream, dtype=np.int64)
        places, keys, firsts = _grams(tokens, order, vocabulary)
        self._orders = []
        for length in range(1, order + 1):
            if length == order:
                counts = np.bincount(places[length - 1][order - 1 :], minlength=len(keys[-1]))
            else:
                # Not how often, but after how many different tokens.
                ends = firsts[length]
                counts = np.bincount(places[length - 1][ends], minlength=len(keys[length - 1]))
            contexts = len(keys[length - 2]) if length > 1 else 1
            self._orders.append(_weigh(keys[length - 1], counts, contexts, vocabulary))

    def probabilities(self, stream: Sequence[int] | Ints) -> Array:
        """Of each token after those before it: float64 ``[N]``."""
        tokens = np.asarray(stream, dtype=np.int64)
        chance = np.full(len(tokens), 1 / self.vocabulary)
        context = np.zeros(len(tokens), dtype=np.int64)  # of no token: the one that is always there
        for order in self._orders:
            known = context != UNSEEN
            key = context[known] * self.vocabulary + tokens[known]
            at = np.searchsorted(order.keys, key).clip(max=len(order.keys) - 1)
            seen = order.keys[at] == key
            chance[known] = chance[known] * order.backoff[context[known]] + np.where(
                seen, order.kept[at], 0
            )
            gram = np.full(len(tokens), UNSEEN)
            gram[known] = np.where(seen, at, UNSEEN)
            context = np.concatenate([[UNSEEN], gram[:-1]])
        return chance

    def bits(self, stream: Sequence[int] | Ints) -> Array:
        """Needed to tell each token: float64 ``[N]``."""
        bits: Array = -np.log2(self.probabilities(stream))
        return bits


def _grams(tokens: Ints, order: int, vocabulary: int) -> tuple[list[Ints], list[Ints], list[Ints]]:
    """For each length: the place among all such grams of the one that ends at each token; their
    keys; where each ends first. Before the first whole gram, places are 0 and mean nothing.
    """
    places: list[Ints] = []
    keys: list[Ints] = []
    firsts: list[Ints] = []
    context = np.zeros(len(tokens), dtype=np.int64)
    for length in range(1, order + 1):
        start = length - 1
        key = context[start:] * vocabulary + tokens[start:]
        unique, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        place = np.zeros(len(tokens), dtype=np.int64)
        place[start:] = inverse
        places.append(place)
        keys.append(unique)
        firsts.append(first + start)
        context = np.concatenate([[0], place[:-1]])
    return places, keys, firsts


def _weigh(keys: Ints, counts: Ints, contexts: int, vocabulary: int) -> _Order:
    context = keys // vocabulary
    discount = _discounts(counts)[np.minimum(counts, 3)]
    total = np.bincount(context, counts, minlength=contexts)
    left = np.bincount(context, discount, minlength=contexts)
    # A context that only ended the text has no gram: all is left to shorter ones.
    backoff = np.divide(left, total, out=np.ones(contexts), where=total > 0)
    return _Order(keys, (counts - discount) / np.maximum(total[context], 1), backoff)


def _discounts(counts: Ints) -> Array:
    """Of grams seen 0, 1, 2 and more times. Texts too short to tell have fixed ones."""
    one, two, three, four = (int((counts == times).sum()) for times in (1, 2, 3, 4))
    if not (one and two and three and four):
        return np.array([0.0, 0.5, 0.75, 0.75])
    share = one / (one + 2 * two)
    discounts = [
        0.0,
        1 - 2 * share * two / one,
        2 - 3 * share * three / two,
        3 - 4 * share * four / three,
    ]
    return np.clip(discounts, 0.0, [0.0, 1.0, 2.0, 3.0])
