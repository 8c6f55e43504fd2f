"""The dictionary without stress, and a user's own words."""

from pathlib import Path

import pytest

from training.data import pronunciations
from training.data.pairs import Pair
from training.errors import DataError


def test_the_dictionary_has_its_words_once_and_without_stress() -> None:
    parts = pronunciations.dictionary()
    words = {pair.source: pair for part in vars(parts).values() for pair in part}
    assert len(words) == 124_926
    assert [len(parts.validation), len(parts.test)] == [2_000, 12_000]
    assert words["hello"].targets == ("HH AH L OW", "HH EH L OW")
    assert words["record"].targets == ("R AH K AO R D", "R EH K ER D", "R IH K AO R D")
    sounds = {sound for pair in words.values() for way in pair.targets for sound in way.split()}
    assert len(sounds) == 39
    assert not any(sound[-1].isdigit() for sound in sounds)


def table(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(["word,sounds", *rows]) + "\n", encoding="utf-8")
    return path


def test_own_words_may_have_several_rows(tmp_path: Path) -> None:
    rows = [f"w{place},a  b" for place in range(250)]
    path = table(tmp_path / "own.csv", [*rows, "w0,a c", "w0,a b"])
    parts = pronunciations.own(path, "word", "sounds")
    every = [pair for part in vars(parts).values() for pair in part]
    assert len(every) == 250
    assert Pair("w0", ("a b", "a c")) in every


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([f"w{n},a" for n in range(100)], "expected at least 200 rows; got 100"),
        (["w,a"] * 300, "expected at least 200 different pairs; got 1"),
        ([*(f"w{n},a" for n in range(300)), "w,"], "row 302 has an empty cell"),
    ],
)
def test_what_is_wrong_with_own_words_is_said(tmp_path: Path, rows: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        pronunciations.own(table(tmp_path / "own.csv", rows), "word", "sounds")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = table(tmp_path / "own.csv", [f"w{n},a" for n in range(300)])
    with pytest.raises(DataError, match="expected a column 'said'"):
        pronunciations.own(path, "word", "said")
