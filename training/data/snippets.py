"""Short English texts that people rated, from vaderSentiment's source archive; or a user's CSV.

Hutto and Gilbert (ICWSM 2014) had twenty people rate each text from -4 to 4. The texts are only in
the package's source archive, as a tar in the tar. Knows no model.
"""

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from training.data import archive, csv_file
from training.data.archive import Archive
from training.errors import DataError

ARCHIVE = Archive(
    "vaderSentiment==3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    source=True,
    size_bytes=2_466_783,
)
INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
MOVIES = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
OTHERS = tuple(
    f"hutto_ICWSM_2014/{name}_GroundTruth.txt"
    for name in ("amazonReviewSnippets", "tweets", "nytEditorialSnippets")
)
KINDS = ("film review", "product review", "tweet", "leading article")
"""What ``MOVIES`` and then each of ``OTHERS`` holds."""
SOURCE = "vaderSentiment 3.3.2, rated sentences of film reviews (Hutto and Gilbert 2014)"
SOURCE_OF_ALL = "vaderSentiment 3.3.2, rated sentences of four kinds (Hutto and Gilbert 2014)"
LICENSE = "MIT (package); the texts quote third parties"
SURE = 0.5
"""Raters agree on the sign of a mean rating from here; nearer to 0 it is a coin's toss."""
MIN_ROWS = 40
MIN_ROWS_PER_LABEL = 10
MAX_LABELS = 100


@dataclass(frozen=True)
class Snippets:
    """Texts with int64 ``labels[i]``, a place in ``label_names``; none occurs twice.

    ``ratings`` (float64, one a text) is how sure the label is, where that is known: below 0 it is
    the first label, above 0 the second.
    """

    texts: list[str]
    labels: npt.NDArray[np.int64]
    label_names: tuple[str, ...]
    ratings: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.texts)


def movies() -> Snippets:
    """About 10,000 sentences of film reviews, negative or positive. Raises DataError."""
    return _rated([MOVIES])


def others() -> Snippets:
    """About 12,000 sentences on products, of tweets and of leading articles. Raises DataError."""
    return _rated(OTHERS)


def kinds() -> Snippets:
    """All of them, with what kind of text each is for a label. Raises DataError."""
    label_of: dict[str, int] = {}
    for label, member in enumerate([MOVIES, *OTHERS]):
        for text in _rated([member]).texts:
            label_of.setdefault(text, label)
    return Snippets(list(label_of), np.array(list(label_of.values())), KINDS)


def own(path: Path, text_column: str, label_column: str) -> Snippets:
    """A user's CSV; labels in alphabetical order. Raises DataError."""
    table = csv_file.read(path, min_rows=MIN_ROWS)
    label_of: dict[str, str] = {}
    texts, names = table.column(text_column), table.column(label_column)
    for text, name, row in zip(texts, names, table.row_numbers, strict=True):
        if not text or not name:
            raise DataError(
                f"{path}: expected a text in column {text_column!r} and a label in"
                f" {label_column!r}; row {row} has an empty cell"
            )
        label_of.setdefault(text, name)
    label_names = csv_file.label_names(
        path, label_column, label_of.values(), most=MAX_LABELS, least_rows=MIN_ROWS_PER_LABEL,
        rows="different texts",
    )  # fmt: skip
    labels = np.array([label_names.index(name) for name in label_of.values()])
    return Snippets(list(label_of), labels, label_names)


def _rated(members: Sequence[str]) -> Snippets:
    rating_of: dict[str, float] = {}
    with archive.fetch(ARCHIVE).open("rb") as file:
        for member in members:
            for line in _lines(file, member):
                _, rating, text = line.split("\t", 2)
                if abs(float(rating)) >= SURE:
                    rating_of.setdefault(text.strip(), float(rating))
    ratings = np.array(list(rating_of.values()))
    return Snippets(
        list(rating_of), (ratings > 0).astype(np.int64), ("negative", "positive"), ratings
    )


def _lines(file: IO[bytes], member: str) -> list[str]:
    file.seek(0)
    with (
        tarfile.open(fileobj=file) as outer,
        _member(outer, INNER) as packed,
        tarfile.open(fileobj=packed) as inner,
        _member(inner, member) as text,
    ):
        return text.read().decode("utf-8").splitlines()


def _member(packed: tarfile.TarFile, name: str) -> IO[bytes]:
    file = packed.extractfile(name)
    if file is None:
        raise DataError(f"{ARCHIVE.file}: expected a file {name}; it is none")
    return file
