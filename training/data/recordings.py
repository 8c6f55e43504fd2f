"""A user's own recordings: a folder of WAV, FLAC or OGG files and one CSV that says what is said.

They go through the same function as those sent to the server. Knows no recipe.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model_store.errors import ItemError
from model_store.inputs.audio import AudioInput
from model_store.spec import show_names
from training.data import csv_file
from training.errors import DataError

FORMAT = (
    "a folder of WAV, FLAC or OGG recordings and one CSV file with the columns file and text"
    " (what is said; in lower case, words apart by blanks), and speaker, if speakers are known"
)
SUFFIXES = {".wav", ".flac", ".ogg"}
MIN_RECORDINGS = 20
MAX_UNREADABLE, FEW = 0.01, 2
"""More of them are no accident."""


@dataclass(frozen=True)
class Recording:
    """float32 ``[samples]`` at the model's rate; ``speaker`` is empty where nobody said."""

    file: str
    words: tuple[str, ...]
    samples: npt.NDArray[np.float32]
    speaker: str = ""


def read(path: Path, kind: AudioInput) -> tuple[str, list[Recording]]:
    """What it is, for the card, and the recordings. One in a hundred that cannot be read is left
    out and named there, two in a small folder.

    Raises DataError: a folder that is none, names of files without a transcript and the other way
    round, more unreadable ones, fewer than two different words.
    """
    if not path.is_dir():
        came = "a file" if path.exists() else "nothing there"
        raise DataError(f"{path}: expected {FORMAT}; got {came}")
    tables = sorted(path.glob("*.csv"))
    if len(tables) != 1:
        names = show_names(table.name for table in tables)
        raise DataError(f"{path}: expected {FORMAT}; got {len(tables)} CSV files {names}")
    table = csv_file.read(tables[0], min_rows=MIN_RECORDINGS)
    files, texts = table.column("file"), table.column("text")
    speakers = table.column("speaker") if "speaker" in table.header else [""] * len(table)
    _check_match(tables[0], path, files)
    for text, row in zip(texts, table.row_numbers, strict=True):
        if not text:
            raise DataError(f"{tables[0]}: expected a text; row {row} has none")
    different = sorted({word for text in texts for word in text.lower().split()})
    if len(different) < 2:
        raise DataError(f"{tables[0]}: expected two different words or more; got {different}")
    heard, skipped = _heard(path, files, kind)
    found = [
        Recording(file, tuple(text.lower().split()), heard[file], speaker)
        for file, text, speaker in zip(files, texts, speakers, strict=True)
        if file in heard
    ]
    words = f", {len(skipped)} skipped as unreadable: {show_names(skipped)}" if skipped else ""
    return f"{path}: {len(found):,} recordings{words}", found


def _heard(
    folder: Path, files: Sequence[str], kind: AudioInput
) -> tuple[dict[str, npt.NDArray[np.float32]], list[str]]:
    """File → samples, and the names of those that cannot be read. Raises DataError, with what is
    wrong with the first one, where there are too many.
    """
    heard: dict[str, npt.NDArray[np.float32]] = {}
    wrong: dict[str, str] = {}
    for file in files:
        try:
            heard[file] = kind.samples((folder / file).read_bytes())
        except OSError as error:
            wrong[file] = f"expected a recording; {error.strerror or error}"
        except ItemError as error:
            wrong[file] = error.detail
    if len(wrong) > max(FEW, MAX_UNREADABLE * len(files)):
        first, why = next(iter(wrong.items()))
        raise DataError(
            f"{folder / first}: {why}; so {len(wrong)} of {len(files)} recordings cannot be read"
        )
    return heard, list(wrong)


def _check_match(table: Path, folder: Path, files: Sequence[str]) -> None:
    """Each recording has one transcript, and each transcript a recording. Raises DataError."""
    there = {
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    }
    twice = sorted({file for file in files if files.count(file) > 1})
    for names, words in (
        (sorted(set(files) - there), "expected a recording for each row; there is none of"),
        (sorted(there - set(files)), "expected a row for each recording; there is none for"),
        (twice, "expected each recording once; got several rows for"),
    ):
        if names:
            raise DataError(f"{table}: {words} {show_names(names, limit=10)}")


def split(
    found: Sequence[Recording], rng: np.random.Generator
) -> tuple[list[Recording], list[Recording], list[Recording]]:
    """To learn from, to stop by (a tenth), and held out (a fifth): whole speakers where there are
    five or more, else at random.
    """
    speakers = sorted({one.speaker for one in found})
    by_speaker = len(speakers) >= 5
    unit_of = [speakers.index(one.speaker) if by_speaker else at for at, one in enumerate(found)]
    units = rng.permutation(len(speakers) if by_speaker else len(found))
    tests, stops = max(1, len(units) // 5), max(1, len(units) // 10)
    parts = (units[tests + stops :], units[tests : tests + stops], units[:tests])
    known, stopping, held_out = (
        [one for one, unit in zip(found, unit_of, strict=True) if unit in part] for part in parts
    )
    return known, stopping, held_out
