"""A user's own translations."""

from pathlib import Path

import pytest

from training.data import parallel
from training.errors import DataError

LINES = [(f"line number {n}", f"línea número {n}") for n in range(300)]


def folder(path: Path, lines: list[tuple[str, str]]) -> Path:
    for name, side in ((parallel.SOURCE_FILE, 0), (parallel.TARGET_FILE, 1)):
        text = "\n".join(line[side] for line in lines) + "\n"
        (path / name).write_bytes(text.encode())
    return path


def test_two_files_and_a_table_are_read_alike(tmp_path: Path) -> None:
    table = tmp_path / "lines.tsv"
    table.write_text("".join(f"{one}\t{other}\n" for one, other in LINES), encoding="utf-8")
    read = parallel.own(folder(tmp_path, LINES))
    assert read == parallel.own(table)
    parts = read.parts
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [261, 9, 30]
    found = {(p.source, p.targets[0]) for part in (parts.train, parts.validation, parts.test)
             for p in part}  # fmt: skip
    assert found == set(LINES)


def test_other_breaks_than_line_feeds_do_not_shift_what_follows(tmp_path: Path) -> None:
    lines = [("a\u2028line\x85of\rone", "una línea de uno"), *LINES]
    assert "Of 301 lines 0" in parallel.own(folder(tmp_path, lines)).note


def test_lines_as_windows_ends_them_are_read_alike(tmp_path: Path) -> None:
    ends = {}
    for end in ("\n", "\r\n"):
        table = tmp_path / f"{len(end)}.tsv"
        table.write_bytes("".join(f"{one}\t{other}{end}" for one, other in LINES).encode())
        ends[end] = parallel.own(table)
    assert ends["\n"] == ends["\r\n"]


def test_lines_that_say_nothing_or_hardly_the_same_are_left_out_and_counted(
    tmp_path: Path,
) -> None:
    lines = [*LINES, ("", "x"), ("y", " "), ("short", "very " * 9 + "long"), LINES[0]]
    assert parallel.own(folder(tmp_path, lines)).note == (
        "Of 304 lines 2 were left out as empty on one side, 1 as more than 3 times as long on one"
        " side as is usual, 1 as there before."
    )


def test_a_language_that_needs_many_more_letters_is_not_left_out(tmp_path: Path) -> None:
    lines = [(f"{n}行", f"this is the line number {n}") for n in range(300)]
    assert (
        "lines 0 were left out as empty on one side, 0 as"
        in parallel.own(folder(tmp_path, lines)).note
    )


def test_files_of_other_lengths_are_refused_with_both(tmp_path: Path) -> None:
    folder(tmp_path, LINES)
    (tmp_path / parallel.TARGET_FILE).write_text("uno\n")
    with pytest.raises(DataError, match=r"as many lines in source.txt .*; got 300 and 1"):
        parallel.own(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"one\tuno\ntwo\n", "line 2 has 0 tabs"),
        (b"one\tuno\textra\n", "line 1 has 2 tabs"),
        (b"one\tuno\n\xff\tdos\n", "got byte 8 that is not"),
        (b"", "at least 200 different pairs; got 0"),
        (b"one\tuno\n", "at least 200 different pairs; got 1"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "lines.tsv"
    file.write_bytes(content)
    with pytest.raises(DataError, match=words):
        parallel.own(file)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"source.txt: expected a text file; No such file"):
        parallel.own(tmp_path)
