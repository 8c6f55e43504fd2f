"""Translation word for word."""

import pytest

from training.parts import word_for_word
from training.parts.word_for_word import WordForWord

SOURCES = ["the house", "the book", "a house", "a book, old", "house, book"]
TARGETS = ["la casa", "el libro", "una casa", "un libro, viejo", "casa, libro"]


def test_words_that_are_always_there_together_are_found() -> None:
    table = WordForWord(SOURCES, TARGETS)
    assert [table.say(word) for word in ("house", "book", "old")] == ["casa", "libro", "viejo"]


def test_what_was_never_seen_stays_and_punctuation_stands_close() -> None:
    table = WordForWord(SOURCES, TARGETS)
    assert table.say("Ruth , house.") == "Ruth, casa."


def test_of_more_sentences_than_memory_holds_the_first_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(word_for_word, "MOST", 3)
    assert WordForWord(SOURCES, TARGETS).say("house old") == "casa old"
