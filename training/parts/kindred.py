"""Vectors for the tokens of two languages to begin with, so that translations are near each other:
latent semantic indexing across languages (Littman, Dumais and Landauer 1998), of pointwise mutual
information. Knows no network.

A network that starts with them as its embeddings, for what it reads and for what it says, has to
learn where to look rather than every word.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from model_store.spec import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

ROUNDS = 4
SEED = 0
SPREAD = 0.05
"""Standard deviation of a vector's numbers: as usual for embeddings that also tell tokens."""


def kindred(pairs: Sequence[tuple[list[int], list[int]]], vocabulary: int, width: int) -> Array:
    """From sources and targets as tokens → float32 ``[V, D]``; tokens of neither have zeros."""
    from sklearn.utils.extmath import randomized_svd

    one, other = (_presence([pair[side] for pair in pairs], vocabulary) for side in (0, 1))
    # Sparse: tokens that are never in one pair have nothing to do with each other.
    information = (one.T @ other).tocoo()
    often, others_often = (np.asarray(side.sum(0))[0] for side in (one, other))
    by_chance = often[information.row] * others_often[information.col] / len(pairs)
    information.data = np.maximum(np.log(information.data / by_chance), 0.0)
    size = min(width, vocabulary - 1)
    left, strength, right = randomized_svd(
        information.toarray().astype(np.float32), size, n_iter=ROUNDS, random_state=SEED
    )
    # What both languages have, such as a name, stands between its two places.
    vectors = np.zeros((vocabulary, width), np.float32)
    vectors[:, :size] = (left + right.T) * np.sqrt(strength)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    placed: Array = vectors / np.maximum(lengths, 1e-6) * (SPREAD * width**0.5)
    return placed.astype(np.float32)


def _presence(texts: Sequence[Sequence[int]], vocabulary: int) -> "csr_matrix":
    """``[texts, V]``: 1 where a text has a token."""
    from scipy.sparse import csr_matrix

    tokens = [sorted(set(text)) for text in texts]
    columns = np.concatenate(tokens).astype(np.int64)
    rows = np.repeat(np.arange(len(texts)), [len(text) for text in tokens])
    ones = np.ones(len(columns), np.float32)
    return csr_matrix((ones, (rows, columns)), shape=(len(texts), vocabulary))
