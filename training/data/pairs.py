"""Things said in two ways, to learn the second from the first. Knows no source and no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.errors import DataError

MIN_PAIRS = 200
TEST_SHARE, VALIDATION_SHARE = 0.1, 0.03


@dataclass(frozen=True)
class Pair:
    """What goes in, and all that is right to come out; the first is learned. ``group``: scores are
    told of each apart, where there are several.
    """

    source: str
    targets: tuple[str, ...]
    group: str = ""


@dataclass(frozen=True)
class Parts:
    """Pairs in three parts; no source is in two of them."""

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]

    def cut(self, most: int) -> "Parts":
        """The first ``most`` pairs to learn from, and a tenth of that to test; 0: all."""
        if not most:
            return self
        tenth = max(8, most // 10)
        return Parts(self.train[:most], self.validation[:tenth], self.test[:tenth])


def at_random(pairs: Sequence[Pair], test: int, validation: int, seed: int) -> Parts:
    """So many of them held out. Raises DataError where too few would be left."""
    if len(pairs) < MIN_PAIRS:
        raise DataError(f"expected at least {MIN_PAIRS} different pairs; got {len(pairs)}")
    order = np.random.default_rng(seed).permutation(len(pairs)).tolist()
    shuffled = [pairs[place] for place in order]
    held_out = test + validation
    return Parts(shuffled[held_out:], shuffled[test:held_out], shuffled[:test])


def own(pairs: Sequence[Pair], seed: int) -> Parts:
    """A user's, in the usual shares."""
    test, validation = (int(len(pairs) * share) for share in (TEST_SHARE, VALIDATION_SHARE))
    return at_random(pairs, test, validation, seed)
