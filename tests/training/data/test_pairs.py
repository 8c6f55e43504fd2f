"""Pairs in three parts."""

import pytest

from training.data import pairs
from training.data.pairs import Pair
from training.errors import DataError

SOME = [Pair(f"s{place}", (f"t{place}",)) for place in range(1000)]


def test_no_pair_is_in_two_parts_and_none_is_lost() -> None:
    parts = pairs.at_random(SOME, 100, 50, seed=0)
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [850, 50, 100]
    together = [*parts.train, *parts.validation, *parts.test]
    assert sorted(pair.source for pair in together) == sorted(pair.source for pair in SOME)


def test_the_split_follows_its_seed_only() -> None:
    assert pairs.at_random(SOME, 100, 50, seed=0) == pairs.at_random(SOME, 100, 50, seed=0)
    assert pairs.at_random(SOME, 100, 50, seed=0) != pairs.at_random(SOME, 100, 50, seed=1)


def test_own_pairs_are_split_in_the_usual_shares() -> None:
    parts = pairs.own(SOME, 0)
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [870, 30, 100]


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(DataError, match="expected at least 200 different pairs; got 100"):
        pairs.own(SOME[:100], 0)


def test_a_cut_keeps_a_tenth_of_it_to_test() -> None:
    parts = pairs.at_random(SOME, 100, 50, seed=0)
    cut = parts.cut(300)
    assert [len(cut.train), len(cut.validation), len(cut.test)] == [300, 30, 30]
    assert parts.cut(0) is parts
