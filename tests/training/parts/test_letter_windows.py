"""Letters aligned with sounds, and read by the windows around them."""

import pytest

from training.parts.letter_windows import LetterWindows, align, distance

WORDS = ["cat", "cats", "act", "tax", "axe", "chat", "chest", "tech", "hat", "heat", "eat"] * 3
SOUNDS = [
    "K AE T", "K AE T S", "AE K T", "T AE K S", "AE K S", "CH AE T", "CH EH S T", "T EH CH",
    "HH AE T", "HH IY T", "IY T",
] * 3  # fmt: skip
SPOKEN = [sounds.split() for sounds in SOUNDS]


def test_every_sound_is_some_letters_and_in_order() -> None:
    for word, sounds, chunks in zip(WORDS, SPOKEN, align(WORDS, SPOKEN), strict=True):
        assert chunks is not None
        assert len(chunks) == len(word)
        assert [sound for chunk in chunks for sound in chunk] == sounds


def test_a_letter_has_two_sounds_or_none_where_that_is_commonest() -> None:
    words = ["at", "sat", "rat", "bat", "tar", "tax", "ax", "sax", "ox", "box", "rot", "bats"]
    words += ["knob", "knot", "nob", "not", "on", "tan"]
    sounds = ["AE T", "S AE T", "R AE T", "B AE T", "T AE R", "T AE K S", "AE K S", "S AE K S"]
    sounds += ["O K S", "B O K S", "R O T", "B AE T S"]
    sounds += ["N O B", "N O T", "N O B", "N O T", "O N", "T AE N"]
    of = dict(zip(words, align(words, [way.split() for way in sounds]), strict=True))
    assert of["bats"] == [("B",), ("AE",), ("T",), ("S",)]
    assert of["tax"] == [("T",), ("AE",), ("K", "S")]
    assert of["knot"] == [(), ("N",), ("O",), ("T",)]


def test_more_than_two_sounds_a_letter_cannot_be_aligned() -> None:
    assert align(["a", "w"], [["AH"], ["D", "AH", "B"]])[1] is None


def test_known_words_are_said_as_learned_and_new_ones_by_their_parts() -> None:
    table = LetterWindows(WORDS, SPOKEN)
    assert [table.say(word) for word in WORDS] == SPOKEN
    assert table.say("chats") == ["CH", "AE", "T", "S"]


def test_a_letter_that_nobody_knows_is_silent() -> None:
    table = LetterWindows(WORDS, SPOKEN)
    assert table.say("ñ") == []
    assert table.say("") == []


@pytest.mark.parametrize(
    ("said", "truth", "apart"),
    [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)],
)
def test_distance_counts_what_is_put_in_taken_out_or_changed(
    said: str, truth: str, apart: int
) -> None:
    assert distance(said, truth) == distance(truth, said) == apart
