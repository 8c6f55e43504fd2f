"""Shapley values against their own definition."""

import itertools

import numpy as np
import pytest

from model_store.spec import Array
from service.shapley import Subsets


def game(keep: Array) -> Array:
    """A number with every kind of part: one alone, two that only work together, one idle."""
    x = keep.astype(float)
    numbers: Array = 1 + 2 * x[:, 0] + 6 * x[:, 1] * x[:, 2] - 3 * x[:, 0] * x[:, 3]
    return numbers


def by_definition(parts: int) -> Array:
    """The mean over all orders of what the game changes by when a part comes."""
    values = np.zeros(parts)
    orders = list(itertools.permutations(range(parts)))
    for order in orders:
        kept = np.zeros((1, parts), np.bool_)
        for part in order:
            before = game(kept)[0]
            kept[0, part] = True
            values[part] += game(kept)[0] - before
    return values / len(orders)


def test_values_are_exact_where_all_subsets_are_asked() -> None:
    subsets = Subsets(5, rows=32, seed=0)
    assert subsets.exact
    assert len(subsets.keep) == 32
    found = subsets.contributions(game(subsets.keep))
    np.testing.assert_allclose(found, by_definition(5), atol=1e-12)
    np.testing.assert_allclose(found, [0.5, 3, 3, -1.5, 0], atol=1e-12)


@pytest.mark.parametrize(("parts", "rows"), [(1, 2), (2, 4), (5, 31), (12, 2), (12, 300), (49, 64)])
def test_values_add_up_to_what_all_parts_together_do(parts: int, rows: int) -> None:
    subsets = Subsets(parts, rows, seed=3)
    assert not subsets.keep[0].any()
    assert subsets.keep[-1].all()
    weights = np.random.default_rng(0).normal(size=parts)
    numbers = np.tanh(subsets.keep @ weights) + 0.5
    found = subsets.contributions(numbers)
    assert found.shape == (parts,)
    assert found.sum() == pytest.approx(numbers[-1] - numbers[0])


def test_rows_are_as_many_as_allowed_or_one_order_both_ways() -> None:
    for parts, rows in ((12, 300), (49, 512), (20, 100)):
        subsets = Subsets(parts, rows, seed=0)
        assert not subsets.exact
        assert rows - 2 * parts < len(subsets.keep) <= rows
    assert len(Subsets(49, rows=2, seed=0).keep) == 2 + 2 * 48


def test_an_estimate_of_parts_that_do_not_work_together_is_exact() -> None:
    weights = np.arange(20.0)
    subsets = Subsets(20, rows=64, seed=1)
    found = subsets.contributions(subsets.keep @ weights)
    np.testing.assert_allclose(found, weights, atol=1e-9)


def test_more_rows_come_nearer_to_the_exact_values() -> None:
    exact = np.zeros(12)
    exact[:5], exact[5:9] = by_definition(5), 5 / 4

    def error(rows: int) -> float:
        off = []
        for seed in range(20):
            subsets = Subsets(12, rows, seed)
            numbers = game(subsets.keep) + 5 * subsets.keep[:, 5:9].all(axis=1)
            off.append(np.abs(subsets.contributions(numbers) - exact).mean())
        return float(np.mean(off))

    assert error(1000) < 0.6 * error(60)


def test_a_seed_means_the_same_rows() -> None:
    first, second, other = (Subsets(30, 200, seed).keep for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
