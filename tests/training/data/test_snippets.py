"""Reading the rated sentences out of their archive, and a user's CSV in its place."""

import gzip
import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from training.data import snippets
from training.errors import DataError

MOVIES = "1\t2.5\tA joy . \r\n2\t-0.5\tTepid\r\n3\t0.4\tSo so\r\n4\t-1.0\tA joy .\r\n"
OTHERS = "1\t-3.0\tIt broke\r\n"


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive like the real one, in the cache."""
    inner = tar({snippets.MOVIES: MOVIES} | dict.fromkeys(snippets.OTHERS, OTHERS))
    path = tmp_path / "modelhub" / snippets.ARCHIVE.file
    path.parent.mkdir()
    path.write_bytes(tar({snippets.INNER: inner}))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(snippets, "ARCHIVE", replace(snippets.ARCHIVE, sha256=digest))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return path


def tar(files: dict[str, str] | dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            data = text.encode() if isinstance(text, str) else text
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


def test_sentences_are_labelled_by_sign_without_the_undecided_and_the_repeated(
    archive: Path,
) -> None:
    del archive
    movies = snippets.movies()
    assert movies.texts == ["A joy .", "Tepid"]
    assert movies.labels.tolist() == [1, 0]
    assert movies.ratings is not None
    assert movies.ratings.tolist() == [2.5, -0.5]
    assert snippets.others().texts == ["It broke"]


def table(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(["review,verdict", *rows]) + "\n", encoding="utf-8")
    return path


def rows(**counts: int) -> list[str]:
    return [f"text {place} of {name},{name}" for name, n in counts.items() for place in range(n)]


def test_own_labels_are_in_alphabetical_order_and_the_first_of_equal_texts_counts(
    tmp_path: Path,
) -> None:
    lines = [*rows(good=20, bad=30), "text 0 of good,bad"]
    own = snippets.own(table(tmp_path / "own.csv", lines), "review", "verdict")

    assert own.label_names == ("bad", "good")
    assert len(own) == 50
    assert own.labels.tolist() == [1] * 20 + [0] * 30
    assert own.ratings is None


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (rows(good=50), r"expected 2 to 100 different labels in column 'verdict'; got 1"),
        (rows(good=50, bad=9), r"at least 10 different texts of each label; 'bad' has 9"),
        ([*rows(good=30, bad=30), "no verdict,"], r"row 62 has an empty cell"),
        (rows(good=10, bad=10), r"expected at least 40 rows; got 20"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        snippets.own(table(tmp_path / "own.csv", lines), "review", "verdict")


def test_missing_column_is_named(tmp_path: Path) -> None:
    path = table(tmp_path / "own.csv", rows(good=30, bad=30))

    with pytest.raises(DataError, match="expected a column 'text'; there are 'review', 'verdict'"):
        snippets.own(path, "text", "verdict")
