"""The store: ``<root>/<name>/<version>/``. Versions appear by one rename and never change.

Safe for many writers and readers at once, on one machine or on a shared folder: a version is staged
beside its place, synced, and renamed there. Writers of one model take turns for that last moment,
so a number is given out once; readers never wait. Names with a leading dot are the store's own and
invisible to readers.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from model_store.bundle import MANIFEST_FILE, Bundle, entry_of
from model_store.errors import BadName, CorruptBundle, NotFound, StoreError, VersionInUse
from model_store.manifest import Draft, FileEntry, Manifest

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
VERSION = re.compile(r"[1-9][0-9]{0,8}")
ALIASES_FILE = "aliases.json"
STABLE = "stable"
STALE_STAGING_S = 24 * 3600


def check_name(name: str, what: str = "name") -> str:
    """Raises BadName."""
    if not NAME.fullmatch(name):
        raise BadName(f"{what} {name!r}: expected [a-z0-9][a-z0-9._-]{{0,62}}")
    return name


def split_ref(ref: str) -> tuple[str, str]:
    """``name``, ``name@7`` or ``name@alias`` → name and selector ("" for none). Raises BadName."""
    name, at, selector = ref.partition("@")
    check_name(name)
    if at:
        check_name(selector, "version or alias")
    return name, selector


class Store:
    """A folder of models. Nothing is kept in memory: what is on disk is the truth.

    The rules are here; what they stand on (the last section) is other in a bucket
    (:class:`model_store.remote.RemoteStore`).
    """

    watch_s = 1.0
    """How often whoever follows the store may look at :meth:`stamps`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return str(self.root)

    # --- reading -------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Models with at least one version, sorted."""
        if not self.root.is_dir():
            return []
        found = (entry.name for entry in self.root.iterdir() if NAME.fullmatch(entry.name))
        return sorted(name for name in found if self.versions(name))

    def versions(self, name: str) -> list[int]:
        """Published versions, oldest first; empty for an unknown model."""
        folder = self.root / check_name(name)
        if not folder.is_dir():
            return []
        found = (v for v in folder.iterdir() if VERSION.fullmatch(v.name) and v.is_dir())
        return sorted(int(v.name) for v in found)

    def aliases(self, name: str) -> dict[str, int]:
        """Alias → version. Raises StoreError where the file is damaged."""
        return self._read_aliases(check_name(name))

    def stamps(self) -> dict[str, int]:
        """Model → a number that is another one after every change. Raises OSError."""
        with os.scandir(self.root) as found:
            return {
                e.name: e.stat().st_mtime_ns
                for e in found
                if not e.name.startswith(".") and e.is_dir()
            }

    def resolve(self, ref: str) -> tuple[str, int]:
        """REF → name and version: alias ``stable`` if set, else the newest. Raises NotFound."""
        name, selector = split_ref(ref)
        versions = self.versions(name)
        if not versions:
            raise NotFound(f"no model {name!r} in the store")
        if VERSION.fullmatch(selector):
            if int(selector) not in versions:
                raise NotFound(f"{name} has no version {selector}; it has {versions}")
            return name, int(selector)
        aliases = self.aliases(name)
        if selector and selector not in aliases:
            raise NotFound(f"{name} has no alias {selector!r}; it has {sorted(aliases)}")
        version = aliases.get(selector or STABLE, versions[-1])
        if version not in versions:
            raise NotFound(f"{name}@{selector or STABLE} is version {version}, which is gone")
        return name, version

    def open(self, ref: str) -> Bundle:
        """Raises NotFound, BadName, BadManifest."""
        return self.bundle(*self.resolve(ref))

    def bundle(self, name: str, version: int) -> Bundle:
        """Raises BadManifest, CorruptBundle."""
        return Bundle.open(self.root / name / str(version))

    # --- writing -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Path]:
        """A folder to fill and hand to :meth:`publish`; gone afterwards unless published."""
        parent = self.root / check_name(name)
        parent.mkdir(parents=True, exist_ok=True)
        self._sweep(parent)
        folder = Path(tempfile.mkdtemp(prefix=".staging-", dir=parent))
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, name: str, staged: Path, draft: Draft) -> Manifest:
        """Make a staged folder the next version, by one rename. Raises CorruptBundle."""
        check_name(name)
        entries = entries_of(staged)
        for path in staged.rglob("*"):
            _sync(path)
        with self._writing(name) as parent:
            version = self._next_version(parent)
            manifest = Manifest(
                **draft.model_dump(), name=name, version=version, created=int(time.time()),
                files=entries,
            )  # fmt: skip
            path = staged / MANIFEST_FILE
            path.write_bytes(manifest.to_json())
            _sync(path)
            _sync(staged)
            staged.rename(parent / str(version))
            _sync(parent)
        _sync(self.root)
        return manifest

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version. Raises NotFound, BadName."""
        check_name(alias, "alias")
        if alias.isdecimal():
            raise BadName(f"alias {alias!r}: a whole number is a version, not an alias")
        self.resolve(f"{name}@{version}")  # of a name never published there is no folder to lock
        with self._writing(name):
            self.resolve(f"{name}@{version}")
            self._write_aliases(name, {**self.aliases(name), alias: version})

    def drop_alias(self, name: str, alias: str) -> None:
        """Raises NotFound."""
        if not self.versions(name):
            raise NotFound(f"no model {name!r} in the store")
        with self._writing(name):
            aliases = self.aliases(name)
            if aliases.pop(alias, None) is None:
                raise NotFound(f"{name} has no alias {alias!r}; it has {sorted(aliases)}")
            self._write_aliases(name, aliases)

    def remove(self, ref: str) -> list[int]:
        """Remove one version (``name@7``) or, for a bare name, all. Returns what was removed.

        A marker keeps the number from being given to other content later. Raises NotFound,
        VersionInUse.
        """
        name, selector = split_ref(ref)
        if not self.versions(name):
            raise NotFound(f"no model {name!r} in the store")
        with self._writing(name):
            versions = [self.resolve(ref)[1]] if selector else self.versions(name)
            if selector:
                held = [alias for alias, number in self.aliases(name).items() if number in versions]
                if held:
                    raise VersionInUse(f"{ref} is {', '.join(held)}; move or drop the alias first")
            else:
                self._drop_aliases(name)
            self._take_away(name, versions)
        return versions

    # --- what the rules stand on ---------------------------------------------------------------

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        """One writer at a time. The kernel frees the lock of one that was killed."""
        parent = self.root / name
        with (parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield parent

    def _read_aliases(self, name: str) -> dict[str, int]:
        try:
            text = (self.root / name / ALIASES_FILE).read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(f"{name}/{ALIASES_FILE} is damaged: {error}") from None
        return parse_aliases(name, text)

    def _write_aliases(self, name: str, aliases: dict[str, int]) -> None:
        parent = self.root / name
        fresh = parent / ".aliases"
        fresh.write_text(json.dumps(aliases, indent=1, sort_keys=True))
        _sync(fresh)
        fresh.replace(parent / ALIASES_FILE)
        _sync(parent)

    def _drop_aliases(self, name: str) -> None:
        (self.root / name / ALIASES_FILE).unlink(missing_ok=True)

    def _take_away(self, name: str, versions: list[int]) -> None:
        parent = self.root / name
        grave = Path(tempfile.mkdtemp(prefix=".staging-", dir=parent))
        for version in versions:
            (parent / f".removed-{version}").touch()
            (parent / str(version)).rename(grave / str(version))
        shutil.rmtree(grave)

    @staticmethod
    def _next_version(parent: Path) -> int:
        names = (entry.name.removeprefix(".removed-") for entry in parent.iterdir())
        return max((int(name) for name in names if VERSION.fullmatch(name)), default=0) + 1

    @staticmethod
    def _sweep(parent: Path) -> None:
        """Remove what killed publishers left. A day is longer than any publish takes."""
        for folder in parent.glob(".staging-*"):
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > STALE_STAGING_S:
                    shutil.rmtree(folder)


def entries_of(staged: Path) -> dict[str, FileEntry]:
    """Every file of a staged folder but a manifest. Raises CorruptBundle."""
    entries = {}
    for path in sorted(staged.rglob("*")):
        if path.is_symlink():
            raise CorruptBundle(f"{path.name} is a link; a bundle holds its own files")
        if path.is_file():
            entries[path.relative_to(staged).as_posix()] = entry_of(path)
    entries.pop(MANIFEST_FILE, None)
    return entries


def parse_aliases(name: str, text: bytes) -> dict[str, int]:
    """Raises StoreError where the file is damaged."""
    try:
        return {str(alias): int(version) for alias, version in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise StoreError(f"{name}/{ALIASES_FILE} is damaged: {error}") from None


def _sync(path: Path) -> None:
    """Onto the disk, so that the rename can't overtake the content after a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
