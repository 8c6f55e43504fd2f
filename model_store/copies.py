"""Local copies of files that lie in a bucket, by sha256: each content once, whatever it belongs to.

``<root>/blobs/ab/<sha256>`` is the content; ``<root>/stores/<digest of the URL>/<name>/<version>``
are the versions' folders, in which files are second names of it (hard links). Many processes may
use it at once: one of them fetches, the others wait for it.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from model_store.bundle import entry_of, unlike
from model_store.errors import CorruptBundle, StoreError
from model_store.manifest import FileEntry


class Copies:
    """A folder that may be deleted at any time; then everything is fetched again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs"

    def folder(self, url: str) -> Path:
        """Where the versions of one bucket lie."""
        return self.root / "stores" / hashlib.sha256(url.encode()).hexdigest()[:16]

    def place(
        self,
        entry: FileEntry,
        path: Path,
        origin: str,
        fetch: Callable[[Path], None],
        *,
        afresh: bool = False,
    ) -> None:
        """Have the file of this digest at ``path``. ``fetch`` writes it, from ``origin``, where it
        is told to; it is called unless the content is here already, or ``afresh`` asks for that.

        Raises StoreError, CorruptBundle and what ``fetch`` raises; then nothing is kept.
        """
        blob = self._blob(entry)
        with self._usable():
            if not afresh and _is(path, blob):
                return
            with self._alone(blob):
                if afresh or not blob.exists():
                    _fetch(entry, blob, origin, fetch)
                _link(blob, path)

    def write(self, path: Path, content: bytes) -> None:
        """A small file of a version's folder. Raises StoreError."""
        with self._usable():
            fresh = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
            fresh.write_bytes(content)
            fresh.replace(path)

    def drop_changed(self, entry: FileEntry) -> None:
        """Forget a copy that is no longer what it was when it was fetched."""
        blob = self._blob(entry)
        with contextlib.suppress(FileNotFoundError):
            if entry_of(blob) != entry:
                blob.unlink()

    def size(self) -> tuple[int, int]:
        """How many files, and their bytes."""
        sizes = [blob.stat().st_size for blob in self._blobs.glob("??/*") if len(blob.name) == 64]
        return len(sizes), sum(sizes)

    def clear(self) -> None:
        for folder in (self._blobs, self.root / "stores"):
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"the cache {self.root} cannot be used: {error.strerror or error};"
                " MODELHUB_CACHE names its folder"
            ) from None

    def _blob(self, entry: FileEntry) -> Path:
        digest = str(entry.sha256)
        return self._blobs / digest[:2] / digest

    @contextlib.contextmanager
    def _alone(self, blob: Path) -> Iterator[None]:
        """One fetches; the kernel frees the lock of one that was killed."""
        blob.parent.mkdir(parents=True, exist_ok=True)
        with (blob.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _fetch(
    entry: FileEntry, blob: Path, origin: str, fetch: Callable[[Path], None]
) -> None:  # fmt: skip
    part = blob.with_name(f".{blob.name}")
    try:
        fetch(part)
        found = entry_of(part)
        if found != entry:
            raise CorruptBundle(f"{origin}: {unlike(entry, found)}")
        part.replace(blob)
    finally:
        part.unlink(missing_ok=True)


def _is(path: Path, blob: Path) -> bool:
    try:
        return path.samefile(blob)
    except FileNotFoundError:
        return False


def _link(blob: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    try:
        os.link(blob, fresh)
    except OSError:  # a file system that has no hard links
        shutil.copyfile(blob, fresh)
    fresh.replace(path)
