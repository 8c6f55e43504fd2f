"""Translation without a network, to compare with: each word by the likeliest of IBM's model 1
(Brown et al. 1993), in its place. Knows no recipe.
"""

import re
from collections.abc import Sequence

import numpy as np

ROUNDS = 5
MOST = 30_000
"""Sentences that are learned from: each costs memory by the product of its lengths."""
WORD = re.compile(r"\w+|[^\w\s]")
BLANK_BEFORE = re.compile(r"\s+([,.;:?!»”’)\]])")


class WordForWord:
    """Learns at once from the first :data:`MOST` sentences and their translations."""

    def __init__(self, sources: Sequence[str], targets: Sequence[str]) -> None:
        ones, others = ([WORD.findall(text) for text in side[:MOST]] for side in (sources, targets))
        one_of, other_of = _places(ones), _places(others)
        given, said, slot = [], [], []
        slots = 0
        for one, other in zip(ones, others, strict=True):
            left = np.array([one_of[word] for word in one], np.int64)
            right = np.array([other_of[word] for word in other], np.int64)
            given.append(np.repeat(left, len(right)))
            said.append(np.tile(right, len(left)))
            slot.append(np.tile(np.arange(slots, slots + len(right)), len(left)))
            slots += len(right)
        key = np.concatenate(given) * len(other_of) + np.concatenate(said)
        pairs, pair = np.unique(key, return_inverse=True)
        place, source = np.concatenate(slot), pairs // len(other_of)
        chance = np.full(len(pairs), 1.0)
        for _ in range(ROUNDS):
            weight = chance[pair]
            # Each word said was said for one of those given: in which share for which?
            weight /= np.bincount(place, weight, minlength=slots)[place]
            count = np.bincount(pair, weight, minlength=len(pairs))
            chance = count / np.bincount(source, count, minlength=len(one_of))[source]
        order = np.lexsort((chance, source))
        last = order[np.append(np.flatnonzero(np.diff(source[order])), len(order) - 1)]
        names, words = list(one_of), list(other_of)
        self._best = {names[source[at]]: words[pairs[at] % len(other_of)] for at in last}

    def say(self, text: str) -> str:
        """Words that it never saw stay as they are."""
        said = " ".join(self._best.get(word, word) for word in WORD.findall(text))
        return BLANK_BEFORE.sub(r"\1", said)


def _places(texts: Sequence[Sequence[str]]) -> dict[str, int]:
    return {word: n for n, word in enumerate(dict.fromkeys(w for text in texts for w in text))}
