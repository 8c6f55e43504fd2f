"""Where a store is, in the user's words: a folder, or the URL of a bucket."""

import os
from pathlib import Path
from typing import TypeAlias

from model_store.bucket import Bucket
from model_store.copies import Copies
from model_store.remote import RemoteStore
from model_store.store import Store

Place: TypeAlias = Path | str
"""A folder, or a URL; a Path would make ``s3:/`` of ``s3://``."""
CACHE = "~/.cache/modelhub"


def place(words: str | Path) -> Place:
    text = str(words)
    return text if "://" in text else Path(text)


def open_store(where: Place, cache: Path | None = None) -> Store:
    """Asks nothing of a bucket's server yet. Raises StoreError for a URL that cannot be one."""
    if isinstance(where, Path):
        return Store(where)
    return RemoteStore(Bucket(where), open_copies(cache))


def open_copies(cache: Path | None = None) -> Copies:
    """The copies in the folder ``cache`` ($MODELHUB_CACHE where none is given)."""
    folder = cache or Path(os.environ.get("MODELHUB_CACHE", CACHE))
    return Copies(Path(os.path.expanduser(folder)) / "store")  # noqa: PTH111 - may have no home
