"""Archives that hold data, from the registries of Python, npm and Debian: fetched once by the
registry's own tool, kept, checked at each use.

For packages whose code nobody here needs, or whose data is not in what gets installed. No root and
no Node.js is needed: without ``npm`` or ``apt-get`` the same file comes by HTTP.
"""

import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.errors import DataError

DOWNLOAD_TIMEOUT_S = 180
NPM = "https://registry.npmjs.org"
DEBIAN = "http://deb.debian.org/debian/pool/main"
WAY_OUT = "give your own with --data, or run once where the registry can be reached"


@dataclass(frozen=True)
class Archive:
    """One file of a registry.

    ``requirement``: as the registry's tool takes it: ``name==1.0``, ``@scope/name@1.0`` or
    ``name=1.0-1``. ``source``: Python's source archive, not the wheel. ``pool``: Debian's folder of
    the file, ``f/flite``.
    """

    requirement: str
    file: str
    sha256: str
    source: bool = False
    size_bytes: int | None = None
    registry: Literal["pip", "npm", "debian"] = "pip"
    pool: str = ""

    @property
    def package(self) -> str:
        """Its name in the registry."""
        mark = {"pip": "==", "npm": "@", "debian": "="}[self.registry]
        return self.requirement.rpartition(mark)[0]

    @property
    def url(self) -> str:
        """Of a file of npm or Debian, which need no index to be found."""
        if self.registry == "debian":
            return f"{DEBIAN}/{self.pool}/{self.file}"
        version = self.requirement.rpartition("@")[2]
        return f"{NPM}/{self.package}/-/{self.package.rpartition('/')[2]}-{version}.tgz"


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
    """The archive, from this user's cache or else from its registry. Raises DataError."""
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


def settle(made: Path, place: Path) -> None:
    """Move a folder to its place in the cache, unless another run was faster."""
    try:
        made.rename(place)
    except OSError:
        if not place.exists():
            raise


def _download(archive: Archive, folder: Path) -> None:
    """Into ``folder``. Raises DataError, with what the tool and the server said."""
    command = _command(archive, folder)
    failure = _run(archive, command, folder) if command else ""
    if failure and archive.registry == "pip":
        raise DataError(f"{failure}; {WAY_OUT}")
    if failure or not command:
        try:
            with urllib.request.urlopen(archive.url, timeout=DOWNLOAD_TIMEOUT_S) as answer:  # noqa: S310 - one of two constant hosts
                (folder / archive.file).write_bytes(answer.read())
        except (OSError, http.client.HTTPException) as error:
            failure = failure or f"expected {archive.file}"
            raise DataError(f"{failure}; {archive.url}: {error}; {WAY_OUT}") from None


def _command(archive: Archive, folder: Path) -> list[str]:
    """The registry's own tool, which knows the user's mirrors; none where it is not installed."""
    if archive.registry == "pip":
        form = "--no-binary" if archive.source else "--only-binary"
        return [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                "--no-deps", form, ":all:", "--dest", str(folder), archive.requirement]  # fmt: skip
    if archive.registry == "npm":
        npm = shutil.which("npm")
        return [npm, "pack", "--silent", archive.requirement] if npm else []
    apt = shutil.which("apt-get")
    return [apt, "download", "--quiet", archive.requirement] if apt else []


def _run(archive: Archive, command: list[str], folder: Path) -> str:
    """What went wrong, or nothing."""
    try:
        subprocess.run(  # noqa: S603 - a fixed command, no input of a caller's
            command, check=True, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S,
            cwd=folder,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return (
            f"expected {archive.file} by {archive.registry} within {DOWNLOAD_TIMEOUT_S} s; it did"
            " not come"
        )
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if line.strip()] or ["no word"]
        tool = {"pip": "pip download", "npm": "npm pack", "debian": "apt-get download"}
        return (
            f"expected {archive.file} by `{tool[archive.registry]} {archive.requirement}`;"
            f" {archive.registry} said: {said[-1]}"
        )
    return "" if (folder / archive.file).exists() else f"{command[0]} left no {archive.file}"


def _check(archive: Archive, path: Path) -> None:
    got = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "no such file"
    if got != archive.sha256:
        raise DataError(
            f"{path}: expected sha256 {archive.sha256}; got {got}; remove it and run again"
        )
