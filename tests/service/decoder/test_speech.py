"""Text that may be shown: whole characters, and never a stop string nor the beginning of one."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from model_store.answers.text import TextAnswer
from service.decoder.speech import Speech

texts = st.text(alphabet="ab·é漢😀 ", min_size=1, max_size=30)
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_letters() -> dict[int, str]:
    """Byte → the letter that stands for it in byte-level vocabularies (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {
        byte: chr(256 + place) for place, byte in enumerate(others)
    }


LETTERS = byte_letters()


def split(text: str, cuts: set[int], folder: Path) -> tuple[list[int], Speech]:
    """The bytes of a text cut into tokens anywhere, in the midst of characters too."""
    raw = text.encode()
    places = [0, *sorted(cut for cut in cuts if 0 < cut < len(raw)), len(raw)]
    parts = ["".join(LETTERS[byte] for byte in raw[a:b]) for a, b in pairwise(places)]
    vocabulary = {part: place for place, part in enumerate(dict.fromkeys(parts))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=parts[0]))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    return [vocabulary[part] for part in parts], Speech(TextAnswer().pieces(folder)())


def speak(tokens: list[int], speech: Speech) -> list[str]:
    """What was shown after each token, and at the end."""
    shown = []
    for token in tokens:
        shown.append(speech.add(token))
        if speech.stopped:
            return shown
    return [*shown, speech.end()]


def test_letters_are_those_of_byte_level_vocabularies() -> None:
    assert sorted(LETTERS.values()) == ALPHABET


@given(texts, st.sets(st.integers(1, 120)))
def test_text_is_whole_wherever_its_bytes_are_cut(
    tmp_path: Path, text: str, cuts: set[int]
) -> None:
    tokens, speech = split(text, cuts, tmp_path)
    shown = speak(tokens, speech)
    assert "".join(shown) == text
    assert not any("\ufffd" in part for part in shown)


@given(
    texts, st.sets(st.integers(1, 120)), st.lists(texts.filter(lambda t: len(t) < 4), max_size=3)
)
def test_no_part_of_a_stop_string_is_ever_shown(
    tmp_path: Path, text: str, cuts: set[int], stops: list[str]
) -> None:
    tokens, speech = split(text, cuts, tmp_path)
    speech._stops = tuple(stops)
    shown = "".join(speak(tokens, speech))
    places = [text.find(stop) for stop in stops if stop in text]
    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    assert speech.stopped == bool(places)
    if not places:
        assert shown == text
    else:  # up to one of the stops: which comes first depends on where the tokens end
        assert any(text[len(shown) :].startswith(stop) for stop in stops)


def test_what_could_become_a_stop_string_is_held_until_it_is_none(tmp_path: Path) -> None:
    tokens, _ = split("xyzxyw!", set(range(1, 9)), tmp_path)
    speech = Speech(TextAnswer().pieces(tmp_path)(), ["xyw", "w!"])
    assert [speech.add(token) for token in tokens[:5]] == ["", "", "xyz", "", ""]
    assert speech.add(tokens[5]) == ""
    assert speech.stopped
    assert speech.end() == ""


def test_half_a_character_at_the_end_is_shown_as_such(tmp_path: Path) -> None:
    tokens, speech = split("a漢", {1, 2}, tmp_path)
    assert speech.add(tokens[0]) == "a"
    half = Speech(TextAnswer().pieces(tmp_path)())
    cut = split("a漢", {1, 2}, tmp_path)[0][:2]
    assert [half.add(token) for token in cut] == ["a", ""]
    assert half.end() == "\ufffd"


@pytest.mark.parametrize("stops", [[], ["zz"]])
def test_nothing_said_is_nothing_shown(tmp_path: Path, stops: list[str]) -> None:
    split("a", set(), tmp_path)
    assert Speech(TextAnswer().pieces(tmp_path)(), stops).end() == ""
