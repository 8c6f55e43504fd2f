"""Shapley values: what each part of an input adds to a number of the answer. Knows no model.

A part's value is the mean, over the orders in which parts may come, of what the number changes by
when it comes; so the values of all parts add up to the number with all of them less the number with
none (Shapley 1953; for models: Lundberg and Lee, arXiv 1705.07874). Where all subsets of the parts
fit the rows that may be asked, the values are exact. Else they are a mean over some orders, each
taken forwards and backwards, which spreads less than as many drawn alone (Mitchell et al., arXiv
2104.12199).
"""

import math

import numpy as np

from model_store.spec import Array


class Subsets:
    """Which parts are kept in each row to ask, and what follows from the answers."""

    def __init__(self, parts: int, rows: int, seed: int) -> None:
        """At most ``rows`` rows, but for one order forwards and backwards where that takes more."""
        self.exact = parts < 31 and 2**parts <= rows
        if self.exact:
            places = np.arange(2**parts)[:, None]
            self.keep = (places >> np.arange(parts)) & 1 > 0
            """bool ``[R, parts]``; nothing is kept in the first row, everything in the last."""
            return
        pairs = max(1, (rows - 2) // (2 * (parts - 1)))
        rng = np.random.default_rng(seed)
        forwards = np.stack([rng.permutation(parts) for _ in range(pairs)])
        self._orders = np.concatenate([forwards, forwards[:, ::-1]])
        ranks = np.argsort(self._orders, axis=1)
        inner = ranks[:, None, :] < np.arange(1, parts)[None, :, None]  # [orders, parts - 1, parts]
        none, whole = np.zeros((1, parts), np.bool_), np.ones((1, parts), np.bool_)
        self.keep = np.concatenate([none, inner.reshape(-1, parts), whole])

    def contributions(self, numbers: Array) -> Array:
        """The number of each row, ``[R]`` → each part's value, ``[parts]``"""
        return self._of_all(numbers) if self.exact else self._of_orders(numbers)

    def _of_all(self, numbers: Array) -> Array:
        parts = self.keep.shape[1]
        sizes, places = self.keep.sum(axis=1), np.arange(len(self.keep))
        weights = np.array([1 / (parts * math.comb(parts - 1, size)) for size in range(parts)])
        values = np.zeros(parts)
        for part in range(parts):
            without = places[~self.keep[:, part]]
            steps = numbers[without | (1 << part)] - numbers[without]
            values[part] = (weights[sizes[without]] * steps).sum()
        return values

    def _of_orders(self, numbers: Array) -> Array:
        orders, parts = self._orders.shape
        path = np.empty((orders, parts + 1))
        path[:, 0], path[:, -1] = numbers[0], numbers[-1]
        path[:, 1:-1] = numbers[1:-1].reshape(orders, parts - 1)
        values = np.zeros(parts)
        np.add.at(values, self._orders, np.diff(path, axis=1))
        mean: Array = values / orders
        return mean
