"""Transcript: log-probabilities of each step ``[1, T, K]`` → what was said, word by word, and when.

The best path of connectionist temporal classification (Graves et al. 2006): the likeliest token of
each step, those that repeat taken as one, blanks left out.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from model_store.spec import AnswerKind, Array, Tensors

BLANK = 0


class Run(NamedTuple):
    """Steps ``start`` to ``stop`` that all say the same token, and its mean log-probability."""

    token: str
    start: int
    stop: int
    score: float


class TranscriptAnswer(AnswerKind):
    """The words with their times in seconds. ``tokens[k]`` is column ``k + 1``; column 0 is the
    blank. Without a ``separator`` each token is a word; with one, words are the tokens between.

    A score is the mean probability of the word's steps (the geometric one).
    """

    kind: Literal["transcript"] = "transcript"
    tensor: str = "log_probabilities"
    tokens: tuple[str, ...] = Field(min_length=1)
    separator: str | None = None
    step_seconds: float = Field(gt=0)
    language: str = Field(default="", description="ISO 639-1; empty where nobody said")

    @model_validator(mode="after")
    def _separator_is_a_token(self) -> Self:
        if self.separator is not None and self.separator not in self.tokens:
            raise ValueError(f"separator: expected one of the tokens; got {self.separator!r}")
        return self

    def answer(
        self, tensors: Tensors, context: Mapping[str, Any], parameters: object
    ) -> dict[str, Any]:
        del parameters
        end = context.get("seconds", math.inf)
        words = [self._word(runs, end) for runs in self._words(tensors[self.tensor][0])]
        return {"text": " ".join(word["word"] for word in words), "words": words}

    def _word(self, runs: list[Run], end: float) -> dict[str, Any]:
        steps = sum(run.stop - run.start for run in runs)
        score = sum(run.score * (run.stop - run.start) for run in runs) / steps
        return {
            "word": "".join(run.token for run in runs),
            "start": round(runs[0].start * self.step_seconds, 3),
            "end": round(min(runs[-1].stop * self.step_seconds, end), 3),
            "score": math.exp(min(score, 0.0)),
        }

    def _words(self, scores: Array) -> Iterator[list[Run]]:
        word: list[Run] = []
        for run in self._runs(scores):
            if run.token != self.separator:
                word.append(run)
            if word and (self.separator is None or run.token == self.separator):
                yield word
                word = []
        if word:
            yield word

    def _runs(self, scores: Array) -> Iterator[Run]:
        path = scores.argmax(axis=1)
        best = scores.max(axis=1)
        edges = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), len(path)]
        for start, stop in pairwise(edges):
            if stop > start and path[start] != BLANK:
                token = self.tokens[path[start] - 1]
                yield Run(token, start, stop, float(best[start:stop].mean()))
