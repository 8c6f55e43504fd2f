"""Texts with labels: the split, what to aim at, how good answers are, what plain methods reach.
Knows no network, so that recipes which differ in theirs can be compared.
"""

import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model_store.spec import Array
from training.data.snippets import Snippets

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.08
SURENESS = 1.5
"""Rating → wanted probability, as a sigmoid: a text that raters disputed should teach less."""
SMOOTHING = 0.1
"""The same for labels without ratings."""
WORDS = re.compile(r"\w+")


def split(labels: Array, seed: int) -> list[Array]:
    """Training, validation and test rows, each label in its share."""
    rng = np.random.default_rng(seed)
    parts: list[list[Array]] = [[], [], []]
    for label in range(int(labels.max()) + 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        test, validation = (
            max(1, round(share * len(rows))) for share in (TEST_SHARE, VALIDATION_SHARE)
        )
        cut = np.split(rows, [test, test + validation])
        for part, some in zip(parts, (cut[2], cut[1], cut[0]), strict=True):
            part.append(some)
    return [rng.permutation(np.concatenate(part)) for part in parts]


def wanted(texts: Snippets) -> Tensor:
    """The probabilities to aim at: float ``[N, K]``."""
    if texts.ratings is not None:
        second = torch.sigmoid(SURENESS * torch.tensor(texts.ratings, dtype=torch.float32))
        return torch.stack([1 - second, second], dim=1)
    classes = len(texts.label_names)
    sure = F.one_hot(torch.tensor(texts.labels), classes).float()
    return sure * (1 - SMOOTHING) + SMOOTHING / classes


def scores(probabilities: Array, truth: Array) -> dict[str, float]:
    """Of float ``[N, K]`` against int ``[N]``."""
    right = np.clip(probabilities[np.arange(len(truth)), truth], 1e-7, 1)
    return {
        "accuracy": float((probabilities.argmax(1) == truth).mean()),
        "cross_entropy": float(-np.log(right).mean()),
    }


def baselines(
    texts: Sequence[str], labels: Array, known: Array, test: Array
) -> dict[str, dict[str, float]]:
    """Scores on the rows ``test`` of what learns words and pairs of words from ``known``."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB

    # Words of one letter count too: a user's texts may have no others.
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), tokenizer=WORDS.findall, token_pattern=None)
    table = vectorizer.fit_transform([texts[row] for row in known])
    unseen = vectorizer.transform([texts[row] for row in test])
    kinds = {
        # C = 10 is best of 1 and 10 on seeds 0, 1, 2 (by 1.6 to 2.2 points).
        "tfidf_logistic_regression": LogisticRegression(C=10, max_iter=1000),
        "tfidf_naive_bayes": MultinomialNB(),
    }
    return {
        name: scores(kind.fit(table, labels[known]).predict_proba(unseen), labels[test])
        for name, kind in kinds.items()
    }
