"""The Bible in two languages, as it comes from Debian's packages."""

import pytest

from training.data import verses
from training.data.pairs import Parts


@pytest.fixture(scope="module")
def bibles() -> Parts:
    return verses.bibles()


def test_whole_books_are_held_out(bibles: Parts) -> None:
    assert [len(part) for part in (bibles.train, bibles.validation, bibles.test)] == [
        29_183, 213, 1_663
    ]  # fmt: skip
    john = [pair for pair in bibles.test if pair.group == verses.JOHN]
    assert len(john) == 879
    assert {pair.source for pair in bibles.test}.isdisjoint(
        pair.source for pair in bibles.train if len(pair.source) > 60
    )


def test_both_sides_are_the_same_verse_without_markup(bibles: Parts) -> None:
    said = {pair.source: pair.targets[0] for pair in bibles.train}
    first = "In the beginning, God created the heavens and the earth."
    assert said[first] == "EN el principio crió Dios los cielos y la tierra."
    assert not any("<" in text for pair in said.items() for text in pair)


def test_the_glossary_is_no_verse(bibles: Parts) -> None:
    assert max(len(pair.source) for pair in bibles.train) < 600
