"""A user's own translations: a folder of two text files, line by line saying the same, or one file
with a tab between both. Knows no model.
"""

from dataclasses import dataclass
from pathlib import Path

from training.data import pairs
from training.data.pairs import Pair, Parts
from training.errors import DataError

SOURCE_FILE, TARGET_FILE = "source.txt", "target.txt"
FORMATS = (
    f"a folder with {SOURCE_FILE} and {TARGET_FILE}, as many lines in each and line by line saying"
    " the same, or a .tsv file of source, tab and target; UTF-8"
)
MOST_RATIO = 3.0
"""Of the lengths of two texts that say the same, beside what is usual of both languages."""
SPLIT_SEED = 0
"""The split never follows the run's seed: scores of several seeds are on the same lines."""


@dataclass(frozen=True)
class Read:
    """What was read; ``note`` tells how many lines were left out, and why."""

    parts: Parts
    note: str


def are_alike(source: str, target: str, usual: float = 1.0) -> bool:
    """Neither is so much longer that they hardly say the same. ``usual``: how many times as long as
    a source a target is; English is three times as long as Chinese.
    """
    shorter, longer = sorted((usual * len(source), len(target)))
    return longer <= MOST_RATIO * shorter


def own(path: Path) -> Read:
    """Split at random; of a source that is there several times, the first counts. Raises
    DataError.
    """
    lines = _of_folder(path) if path.is_dir() else _of_table(path)
    full = [(source, target) for source, target in lines if source and target]
    lengths = [sum(len(line[side]) for line in full) for side in (0, 1)]
    usual = lengths[1] / lengths[0] if full else 1.0
    alike = [pair for pair in full if are_alike(*pair, usual)]
    said: dict[str, str] = {}
    for source, target in alike:
        said.setdefault(source, target)
    note = (
        f"Of {len(lines):,} lines {len(lines) - len(full):,} were left out as empty on one side,"
        f" {len(full) - len(alike):,} as more than {MOST_RATIO:g} times as long on one side as is"
        f" usual, {len(alike) - len(said):,} as there before."
    )
    try:
        parts = pairs.own([Pair(source, (target,)) for source, target in said.items()], SPLIT_SEED)
    except DataError as error:
        raise DataError(f"{path}: {error}. {note}") from None
    return Read(parts, note)


def _of_folder(folder: Path) -> list[tuple[str, str]]:
    sources, targets = (_lines(folder / name) for name in (SOURCE_FILE, TARGET_FILE))
    if len(sources) != len(targets):
        raise DataError(
            f"{folder}: expected as many lines in {SOURCE_FILE} as in {TARGET_FILE};"
            f" got {len(sources):,} and {len(targets):,}"
        )
    return [(_plain(one), _plain(other)) for one, other in zip(sources, targets, strict=True)]


def _of_table(file: Path) -> list[tuple[str, str]]:
    found = []
    for number, line in enumerate(_lines(file), start=1):
        cells = line.split("\t")
        if len(cells) != 2:
            raise DataError(
                f"{file}: expected source, tab and target; line {number} has {len(cells) - 1} tabs"
            )
        found.append((_plain(cells[0]), _plain(cells[1])))
    return found


def _lines(file: Path) -> list[str]:
    """Split at line feeds only: other breaks may be in a text, and would shift all that follows."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: expected UTF-8 text; got byte {error.start} that is not"
        ) from None
    except OSError as error:
        raise DataError(f"{file}: expected a text file; {error.strerror}") from None
    return text.removesuffix("\n").split("\n") if text else []


def _plain(text: str) -> str:
    return " ".join(text.split())
