"""Connected words by dynamic time warping against templates of single words, in one pass over the
recording (Vintsyuk 1971; Ney 1984): what was used before anything was learned. Knows no recipe.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.fft import dct

from model_store.spec import Array

CEPSTRA = 13
SILENCE = -1


def cepstra(log_mel: Array) -> Array:
    """float ``[T, bands]`` → ``[T, 2 · CEPSTRA]``: cepstra and how they change."""
    found = dct(log_mel, axis=1, norm="ortho")[:, :CEPSTRA]
    change = np.gradient(found, axis=0) if len(found) > 1 else np.zeros_like(found)
    return np.concatenate([found, 2 * change], axis=1)


@dataclass(frozen=True)
class Templates:
    """``frames`` ``[S, D]`` of all templates one after another; ``first`` and ``last`` ``[K]`` say
    where each begins and ends, ``words`` ``[K]`` which word it is, or :data:`SILENCE`.
    """

    frames: Array
    first: Array
    last: Array
    words: Array
    penalty: float
    """Of beginning another word, in distances of a step."""

    def recognise(self, heard: Array) -> list[int]:
        """Cepstra ``[T, D]`` → words. Each step of the recording stays in a template's frame, goes
        to the next or skips one; after a template's end any other may begin.
        """
        apart = self._distances(heard)
        steps = len(heard)
        cost = np.full(len(self.frames), np.inf)
        began = np.zeros(len(self.frames), dtype=np.int64)
        ends, best_word, best_start = np.zeros(steps + 1), *np.zeros((2, steps + 1), dtype=np.int64)
        first = np.zeros(len(self.frames), dtype=bool)
        first[self.first] = True
        second = np.roll(first, 1) & ~first
        for step in range(steps):
            cost, began = _advance(cost, began, first, second, ends[step] + self.penalty, step)
            cost += apart[step]
            closing = cost[self.last]
            best = int(closing.argmin())
            ends[step + 1] = closing[best]
            best_word[step + 1] = self.words[best]
            best_start[step + 1] = began[self.last[best]]
        return _trace(best_word, best_start)

    def _distances(self, heard: Array) -> Array:
        squares = np.square(heard).sum(1)[:, None] + np.square(self.frames).sum(1)
        found: Array = np.sqrt(np.maximum(0, squares - 2 * heard @ self.frames.T))
        return found


def _advance(
    cost: Array, began: Array, first: Array, second: Array, entry: float, step: int
) -> tuple[Array, Array]:
    """The cheapest way into each frame, and when that template began."""
    ways = np.stack([cost, np.roll(cost, 1), np.roll(cost, 2)])
    starts = np.stack([began, np.roll(began, 1), np.roll(began, 2)])
    ways[1, first], starts[1, first] = entry, step
    ways[2, first | second] = np.inf
    choice = ways.argmin(0)
    places = np.arange(len(cost))
    return ways[choice, places], starts[choice, places]


def _trace(best_word: Array, best_start: Array) -> list[int]:
    words: list[int] = []
    step = len(best_word) - 1
    while step > 0:
        if best_word[step] != SILENCE:
            words.append(int(best_word[step]))
        step = int(best_start[step])
    return words[::-1]


def learn(templates: Sequence[Array], words: Sequence[int], silence: Array) -> Templates:
    """From cepstra ``[T, D]`` of single words, and of silence ``[D]``."""
    parts = [*templates, silence[None]]
    last = np.cumsum([len(part) for part in parts]) - 1
    frames = np.concatenate(parts)
    # As much as a step within a word usually costs: a word should not be there for one step.
    penalty = float(np.linalg.norm(np.diff(frames, axis=0), axis=1).mean())
    return Templates(
        frames, np.r_[0, last[:-1] + 1], last, np.array([*words, SILENCE]), penalty
    )  # fmt: skip


def word_errors(truth: Sequence[object], found: Sequence[object]) -> int:
    """Words to put in, take out or change (Levenshtein)."""
    row = list(range(len(found) + 1))
    for place, word in enumerate(truth, 1):
        before, row[0] = row[0], place
        for other, guess in enumerate(found, 1):
            before, row[other] = row[other], min(
                row[other] + 1, row[other - 1] + 1, before + (word != guess)
            )  # fmt: skip
    return row[-1]
