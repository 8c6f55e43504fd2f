"""Objects under one URL, through fsspec: find, read, create, upload, download. Knows no models.

fsspec and the library of the URL's kind are optional, and only imported for a URL that needs them.
"""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from model_store.errors import CorruptBundle, StoreError, Unreachable

INSTALL = {
    "s3": "'modelhub[remote]'",
    "gs": "'modelhub[remote]' gcsfs",
    "az": "'modelhub[remote]' adlfs",
    "memory": "'modelhub[remote]'",
    "file": "'modelhub[remote]'",
}
"""Kinds of URL, and what pip has to install for each."""
CONNECT_S = 5
READ_S = 30
"""A store that says nothing for so long is told of as unreachable; whoever needs it tries again."""


class Found(NamedTuple):
    """An object: its size and something that is another one when its content is."""

    size_bytes: int
    tag: str


class Bucket:
    """What lies under ``s3://bucket/prefix``. Keys are relative to it. Methods block, and raise
    Unreachable, which names the object and what could not be done with it.
    """

    def __init__(self, url: str) -> None:
        """Nothing is asked of the server yet. Raises StoreError."""
        self.url = url.rstrip("/")
        self._fs, root = _open(self.url)
        self._root = root.rstrip("/")

    def at(self, key: str) -> str:
        """An object's URL."""
        return f"{self.url}/{key}" if key else self.url

    def find(self, folder: str = "") -> dict[str, Found]:
        """Every object in a folder, at any depth."""
        with self._doing("listed", folder):
            found = self._fs.find(self._path(folder), detail=True)
        start = len(self._root) + 1
        return {
            path[start:]: Found(int(facts["size"] or 0), _tag(facts))
            for path, facts in found.items()
            if path[start:]
        }

    def read(self, key: str) -> bytes | None:
        """None where there is no such object."""
        with self._doing("read", key):
            try:
                content: bytes = self._fs.cat_file(self._path(key))
            except FileNotFoundError:
                return None
        return content

    def write(self, key: str, content: bytes) -> None:
        with self._doing("written", key):
            self._fs.pipe_file(self._path(key), content)

    def create(self, key: str, content: bytes) -> bool:
        """Write what is not there yet; False where it is. Of many at once one gets True."""
        with self._doing("written", key):
            try:
                self._fs.pipe_file(self._path(key), content, mode="create")
            except FileExistsError:
                return False
        return True

    def upload(self, file: Path, key: str) -> None:
        with self._doing("written", key):
            self._fs.put_file(str(file), self._path(key))

    def download(self, key: str, file: Path) -> None:
        """Raises CorruptBundle where there is no such object."""
        with self._doing(f"fetched into {file.parent}", key):
            try:
                self._fs.get_file(self._path(key), str(file))
            except FileNotFoundError:
                if not file.parent.is_dir():
                    raise
                raise CorruptBundle(f"{self.at(key)} is missing") from None

    def delete(self, keys: Iterable[str]) -> None:
        """One after another; what is not there stays so."""
        for key in keys:
            self._delete(key)

    def _delete(self, key: str) -> None:
        with self._doing("deleted", key), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(key))

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    @contextlib.contextmanager
    def _doing(self, what: str, key: str) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - every library of fsspec has errors of its own
            reason = str(error) or type(error).__name__
            raise Unreachable(f"{self.at(key)} cannot be {what}: {reason}") from None


def _open(url: str) -> tuple[Any, str]:
    """fsspec's file system and the path in it. Raises StoreError."""
    kind = url.partition("://")[0]
    if kind not in INSTALL:
        kinds = ", ".join(f"{kind}://" for kind in INSTALL)
        raise StoreError(f"--store {url}: expected a folder or one of {kinds}")
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if kind == "s3":
        waits = {"connect_timeout": CONNECT_S, "read_timeout": READ_S}
        options["config_kwargs"] = {**waits, "retries": {"max_attempts": 2}}
    if kind == "file":
        options["auto_mkdir"] = True
    try:
        from fsspec.core import url_to_fs

        found, path = url_to_fs(url, **options)
    except ImportError as error:
        words = f"--store {url} needs {error.name or 'a library'}: pip install {INSTALL[kind]}"
        raise StoreError(words) from None
    except Exception as error:  # noqa: BLE001 - every library of fsspec has errors of its own
        raise StoreError(f"--store {url}: {error}") from None
    if kind == "s3":
        found.retries = 2  # on top of the client's own; five of each are most of a minute
    if kind == "az":
        _hurry(found)
    return found, path


def _hurry(found: Any) -> None:
    """Azure's client tells of a server that is away after three minutes; then within seconds."""
    client = getattr(found, "service_client", None)
    policy = getattr(getattr(client, "_config", None), "retry_policy", None)
    if policy:  # which is the client's own matter: no setting of it is passed on
        policy.total_retries, policy.initial_backoff, policy.random_jitter_range = 1, 1, 0


def _tag(facts: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "mtime", "LastModified", "last_modified", "created"):
        if key in facts:
            return str(facts[key])
    return ""
