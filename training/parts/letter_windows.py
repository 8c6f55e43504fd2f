"""Spelling → sounds without a network: each letter's sounds are those that were most often right
between the same neighbours. Knows no recipe.

First the letters of known words are aligned with their sounds, in order and none, one or two a
letter, so as to make the commonest ties commoner still (hard expectation-maximisation).
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from model_store.spec import Array

ROUNDS = 5
MOST_SOUNDS = 2
NO_SOUND, TWO_SOUNDS = -4.0, -4.0
"""What silence and a second sound cost before anything is known, in nats."""
WINDOWS = ((4, 4), (3, 4), (3, 3), (2, 3), (2, 2), (1, 2), (1, 1), (0, 1), (0, 0))
"""Letters before and after; the first window that was seen decides."""
EDGE = "\0"

Ints = npt.NDArray[np.int64]


class LetterWindows:
    """Learns at once from words and their sounds."""

    def __init__(self, words: Sequence[str], sounds: Sequence[Sequence[str]]) -> None:
        counts: list[Counter[tuple[str, tuple[str, ...]]]] = [Counter() for _ in WINDOWS]
        for word, chunks in zip(words, align(words, sounds), strict=True):
            if chunks is None:
                continue
            for place, chunk in enumerate(chunks):
                for counter, window in zip(counts, _windows(word, place), strict=True):
                    counter[window, chunk] += 1
        self._tables = [_commonest(counter) for counter in counts]

    def say(self, word: str) -> list[str]:
        """The sounds of a word; letters nobody knows are silent."""
        said: list[str] = []
        for place in range(len(word)):
            for table, window in zip(self._tables, _windows(word, place), strict=True):
                if window in table:
                    said += table[window]
                    break
        return said


def _windows(word: str, place: int) -> list[str]:
    padded = EDGE * 4 + word + EDGE * 4
    at = place + 4
    return [padded[at - before : at + after + 1] for before, after in WINDOWS]


def _commonest(
    counts: Counter[tuple[str, tuple[str, ...]]],
) -> dict[str, tuple[str, ...]]:
    best: dict[str, tuple[str, ...]] = {}
    for (window, chunk), _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        best.setdefault(window, chunk)
    return best


def align(
    words: Sequence[str], sounds: Sequence[Sequence[str]]
) -> list[list[tuple[str, ...]] | None]:
    """Of each word, each letter's sounds; None where there are more than two a letter."""
    letter_of = {letter: n for n, letter in enumerate(sorted(set("".join(words))))}
    sound_of = {sound: n for n, sound in enumerate(sorted({s for way in sounds for s in way}))}
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, (word, way) in enumerate(zip(words, sounds, strict=True)):
        if 0 < len(way) <= MOST_SOUNDS * len(word):
            groups[len(word), len(way)].append(place)
    coded = {
        shape: (
            np.array([[letter_of[c] for c in words[p]] for p in places]),
            np.array([[sound_of[s] for s in sounds[p]] for p in places]),
        )
        for shape, places in groups.items()
    }
    kinds = len(sound_of)
    costs = _first_costs(list(coded.values()), len(letter_of), kinds)
    taken: dict[tuple[int, int], Ints] = {}
    for _ in range(ROUNDS):
        counts = np.full_like(costs, 0.01)
        for shape, (letters, spoken) in coded.items():
            taken[shape] = _best_path(letters, _chunks(spoken, kinds), costs)
            chunk = _chosen(taken[shape], _chunks(spoken, kinds))
            np.add.at(counts, (letters, chunk), 1)
        costs = np.log(counts / counts.sum(axis=1, keepdims=True))
    aligned: list[list[tuple[str, ...]] | None] = [None] * len(words)
    for shape, places in groups.items():
        for place, numbers in zip(places, taken[shape], strict=True):
            ends = np.cumsum(numbers)
            aligned[place] = [
                tuple(sounds[place][end - n : end]) for end, n in zip(ends, numbers, strict=True)
            ]
    return aligned


def _first_costs(coded: Sequence[tuple[Ints, Ints]], letters: int, kinds: int) -> Array:
    """Log-weights ``[letters, chunks]`` from which sounds occur in words with which letters."""
    together = np.full((letters, kinds), 0.01)
    for some, spoken in coded:
        for column in range(some.shape[1]):
            for sound in range(spoken.shape[1]):
                np.add.at(together, (some[:, column], spoken[:, sound]), 1)
    single = np.log(together / together.sum(1, keepdims=True) / together.sum(0) * together.sum())
    double = (single[:, :, None] + single[:, None, :]) / 2 + TWO_SOUNDS
    none = np.full((letters, 1), NO_SOUND)
    return np.concatenate([none, single, double.reshape(letters, -1)], axis=1)


def _chunks(spoken: Ints, kinds: int) -> list[Ints]:
    """Chunk numbers of no, one and two sounds that end at each place: ``[N, m + 1]`` each."""
    rows, count = spoken.shape
    one = np.zeros((rows, count + 1), dtype=np.int64)
    two = np.zeros_like(one)
    one[:, 1:] = 1 + spoken
    two[:, 2:] = 1 + kinds + spoken[:, :-1] * kinds + spoken[:, 1:]
    return [np.zeros_like(one), one, two]


def _best_path(letters: Ints, chunks: list[Ints], costs: Array) -> Ints:
    """How many sounds each letter takes, ``[N, n]``, by Viterbi's way through all alignments."""
    (rows, length), ends = letters.shape, chunks[0].shape[1]
    best = np.full((rows, ends), -np.inf)
    best[:, 0] = 0
    steps = np.zeros((length, rows, ends), dtype=np.int64)
    for place in range(length):
        ways = np.full((MOST_SOUNDS + 1, rows, ends), -np.inf)
        for taken in range(MOST_SOUNDS + 1):
            cost = costs[letters[:, place, None], chunks[taken]]
            ways[taken, :, taken:] = best[:, : ends - taken] + cost[:, taken:]
        steps[place] = ways.argmax(0)
        best = ways.max(0)
    taken_by = np.zeros((rows, length), dtype=np.int64)
    at, every = np.full(rows, ends - 1), np.arange(rows)
    for place in reversed(range(length)):
        taken_by[:, place] = steps[place, every, at]
        at = at - taken_by[:, place]
    return taken_by


def _chosen(taken: Ints, chunks: list[Ints]) -> Ints:
    """The chunk of each letter ``[N, n]``."""
    ends = taken.cumsum(1)
    rows = np.arange(len(taken))[:, None]
    chosen: Ints = np.stack(chunks)[taken, rows, ends]
    return chosen


def distance(said: Sequence[str], truth: Sequence[str]) -> int:
    """Levenshtein's: how many are to be put in, taken out or changed."""
    row = list(range(len(truth) + 1))
    for place, one in enumerate(said, start=1):
        corner, row[0] = row[0], place
        for at, other in enumerate(truth, start=1):
            corner, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, corner + (one != other))
    return row[-1]
