"""Beam search: the likeliest whole text among those that are still likely half-way."""

from typing import NamedTuple

import numpy as np

from model_store.spec import Array


class Choice(NamedTuple):
    """What the beams say next: each one's token, and the beam that it goes on from."""

    tokens: list[int]
    parents: list[int]


class Beams:
    """``width`` texts side by side. Scores are sums of log-probabilities; a finished text's score
    is divided by its length to the power of ``length_penalty`` (Wu et al. 2016, simplified).
    """

    def __init__(self, width: int, end: tuple[int, ...], limit: int, length_penalty: float) -> None:
        self.width, self._end, self._limit, self._penalty = width, end, limit, length_penalty
        self._texts: list[list[int]] = [[]]
        self._scores = np.zeros(1)
        self._finished: list[tuple[float, list[int], str]] = []

    def advance(self, logits: Array) -> Choice | None:
        """float32 ``[live, V]`` → the next tokens of ``width`` beams; None when the search is over.
        The first call has the one row that read the prompt.
        """
        logs = log_softmax(logits) + self._scores[:, None]
        flat = logs.ravel()
        most = min(2 * self.width, len(flat))
        best = np.argpartition(-flat, most - 1)[:most]
        best = best[np.argsort(-flat[best], kind="stable")]
        texts: list[list[int]] = []
        scores: list[float] = []
        choice = Choice([], [])
        for place in best:
            if flat[place] == -np.inf:
                break  # neither it nor what follows can be said
            parent, token = divmod(int(place), logs.shape[1])
            if token in self._end:
                self._finish(flat[place], self._texts[parent], "stop")
            elif len(texts) < self.width:
                texts.append([*self._texts[parent], token])
                scores.append(flat[place])
                choice.tokens.append(token)
                choice.parents.append(parent)
        while texts and len(texts) < self.width:  # each row says something: what cannot win
            texts.append(texts[0])
            scores.append(-np.inf)
            choice.tokens.append(choice.tokens[0])
            choice.parents.append(choice.parents[0])
        self._texts, self._scores = texts, np.array(scores)
        if texts and len(texts[0]) >= self._limit:
            for text, score in zip(texts, scores, strict=True):
                self._finish(score, text, "length")
            return None
        return None if self._is_over() or not texts else choice

    @property
    def best(self) -> tuple[list[int], str]:
        """The winner's tokens, and why it ended."""
        _, text, reason = max(self._finished, key=lambda found: found[0])
        return text, reason

    def _finish(self, score: float, text: list[int], reason: str) -> None:
        length = len(text) + (reason == "stop")  # the end is a token too
        self._finished.append((float(score) / length**self._penalty, text, reason))

    def _is_over(self) -> bool:
        """As many are finished as were asked for, and no live one can still beat the worst."""
        if len(self._finished) < self.width:
            return False
        worst = sorted((score for score, _, _ in self._finished), reverse=True)[self.width - 1]
        reach = max(len(self._texts[0]) if self._texts else 1, 1)
        return bool(not len(self._scores) or self._scores[0] / reach**self._penalty <= worst)


def log_softmax(logits: Array) -> Array:
    """Along the last axis, in float64."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide
