"""The classics as they come from their packages, and a user's own texts."""

from pathlib import Path

import pytest

from training.data import books
from training.data.books import Book
from training.errors import DataError


@pytest.fixture(scope="module")
def classics() -> books.Library:
    return books.classics()


def test_whole_books_are_held_out_and_none_is_in_two_parts(classics: books.Library) -> None:
    parts = (classics.train, classics.validation, classics.test)
    titles = [book.title for part in parts for book in part]
    assert len(titles) == len(set(titles)) == 66 + 42
    held_out = {title for names in books.TEST.values() for title in names}
    assert {book.title for book in classics.test} == held_out
    # As the note on baselines counted them: 98 kB and 385 kB.
    sizes = {c: sum(len(b) for b in classics.test if b.collection == c) for c in books.TEST}
    assert sizes == {books.BIBLE: 98_247, books.SHAKESPEARE: 384_546}


def test_the_bible_has_a_verse_a_line_and_a_gap_between_chapters(classics: books.Library) -> None:
    genesis = classics.train[0]
    assert genesis.title == "Genesis"
    assert genesis.text.startswith("In the beginning God created the heaven and the earth.\nAnd")
    assert genesis.text.count("\n\n") == 49


def test_nothing_of_the_folio_or_of_milton_is_among_the_plays(classics: books.Library) -> None:
    every = [*classics.train, *classics.validation, *classics.test]
    plays = [book for book in every if book.collection == books.SHAKESPEARE]
    assert len(plays) == 42
    assert not any("milton" in book.text[:200].lower() for book in plays)
    assert len({book.text[:100] for book in plays}) == 42


def test_own_texts_have_their_ends_held_out(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.txt").write_text("".join(f"{name}{n:04d} " for n in range(2000)))
    library = books.own(tmp_path)
    assert [book.title for book in library.test] == ["a", "b"]
    assert library.train[0].text.startswith("a0000 ")
    assert library.validation[0].text.startswith("a1700 ")
    assert library.test[0].text.startswith("a1800 ")
    parts = zip(library.train, library.validation, library.test, strict=True)
    whole = "".join(book.text for book in next(parts))
    assert whole == (tmp_path / "a.txt").read_text()


def test_a_single_file_will_do(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("word " * 5000)
    assert [book.title for book in books.own(tmp_path / "notes.md").train] == ["notes"]


def test_what_is_wrong_with_own_texts_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected \.txt files; got a folder with none"):
        books.own(tmp_path)
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(DataError, match=r"expected at least 20,000 bytes of text; got 5"):
        books.own(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"ab\xff")
    with pytest.raises(DataError, match=r"a\.txt: expected UTF-8 text; got byte 2 that is not"):
        books.own(tmp_path)
    with pytest.raises(DataError, match=r"expected a text file; No such file"):
        books.own(tmp_path / "none.txt")


def test_books_are_cut_each_in_its_share() -> None:
    some = [Book("c", "x", "a" * 300), Book("c", "y", "b" * 100)]
    assert [len(book) for book in books.cut(some, 200)] == [150, 50]
    assert books.cut(some, 0) == books.cut(some, 1000) == some
