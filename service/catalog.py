"""What the store holds, kept in memory: versions, aliases and listing entries. Loads no model.

The store is the truth; :meth:`Catalog.scan` finds what changed in it at the cost of one ``stat``
for each model of a folder, or one listing of a bucket. While it cannot be read, what is known of it
stays.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from model_store.bundle import Bundle
from model_store.errors import NotFound, StoreError, Unreachable
from model_store.manifest import Manifest
from model_store.store import STABLE, Store, split_ref
from service.schema import VersionKey

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Shelf:
    """The versions of one model."""

    versions: list[int]
    aliases: dict[str, int]
    default: int
    """What the bare name means now."""
    held: dict[int, Manifest] = field(default_factory=dict)
    """Manifests read so far."""

    @property
    def target(self) -> int:
        """What the bare name should mean: alias ``stable``, else the newest version."""
        wanted = self.aliases.get(STABLE)
        return wanted if wanted in self.versions else self.versions[-1]


class Catalog:
    """Every model of one store. Used on the event loop; reads the store in ``pool``."""

    def __init__(self, store: Store, pool: Executor) -> None:
        self.store, self._pool = store, pool
        self.shelves: dict[str, Shelf] = {}
        self.choose: Callable[[str, Shelf], int] = lambda _, shelf: shelf.target
        """Which version a bare name means; whoever knows what is loaded sets this."""
        self._entries: dict[VersionKey, dict[str, Any]] = {}
        self._seen: dict[str, int] = {}
        """The stamp of each model, as the last scan found it."""
        self._untold: list[str] = []
        """What a scan found that then failed: the next one tells it."""
        self.trouble = ""
        """Why the last scan could not read the store, or the empty string."""

    # --- reading the disk ----------------------------------------------------------------------

    async def scan(self) -> list[str]:
        """Read again what changed since the last scan; the names of those models. Nothing where
        the store cannot be read now, and then :attr:`trouble` says why.
        """
        try:
            found = await self._scan()
        except (OSError, StoreError) as error:
            if not self.trouble:
                log.warning("the store cannot be read, what is loaded goes on: %s", error)
            self.trouble = str(error)
            return []
        if self.trouble:
            log.info("the store can be read again: %s", self.store.place)
        self.trouble = ""
        return found

    async def _scan(self) -> list[str]:
        stamps = await self._blocking(self.store.stamps)
        changed = [name for name, at in stamps.items() if self._seen.get(name) != at]
        gone = [name for name in self._seen | self.shelves if name not in stamps]
        for name in changed:
            self._seen[name] = stamps[name]  # first: what changes while we read is read again
            await self._read_again(name)
            self._untold.append(name)
        for name in gone:
            self._seen.pop(name, None)
            await self._read_again(name)
            self._untold.append(name)
        told, self._untold = self._untold, []
        return told

    async def refresh(self, name: str) -> Shelf | None:
        """Read one model's versions and aliases; None where it has no version (any more). Whoever
        follows the scans is told all the same if it found something new. Raises Unreachable.
        """
        if await self._read_again(name):
            self._seen.pop(name, None)
        return self.shelves.get(name)

    async def _read_again(self, name: str) -> bool:
        """Whether it was otherwise before. Raises Unreachable, and then the next scan reads it."""
        try:
            versions, aliases = await self._blocking(self._read, name)
        except Unreachable:
            self._seen.pop(name, None)
            raise
        old = self.shelves.get(name)
        if not versions:
            return self.shelves.pop(name, None) is not None
        default = old.default if old and old.default in versions else versions[-1]
        held = {v: m for v, m in old.held.items() if v in versions} if old else {}
        self.shelves[name] = Shelf(versions, aliases, default, held)
        self.settle(name)
        return old is None or (old.versions, old.aliases) != (versions, aliases)

    def settle(self, name: str) -> None:
        """Choose anew what the bare name means: one assignment, which is the swap."""
        shelf = self.shelves.get(name)
        if shelf:
            shelf.default = self.choose(name, shelf)

    def _read(self, name: str) -> tuple[list[int], dict[str, int]]:
        try:
            versions = self.store.versions(name)
        except Unreachable:
            raise
        except (OSError, StoreError):
            return [], {}
        try:
            return versions, self.store.aliases(name)
        except Unreachable:
            raise
        except StoreError as error:
            log.error("%s: %s; served without aliases", name, error)
            return versions, {}

    async def _blocking(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    # --- finding -------------------------------------------------------------------------------

    async def resolve(self, ref: str) -> VersionKey:
        """REF → name and version. Raises NotFound, BadName."""
        name, selector = split_ref(ref)
        found = self.lookup(name, selector)
        if found is None:
            # Perhaps it was published a moment ago: the disk is the truth.
            await self.refresh(name)
            found = self.lookup(name, selector)
        if found is None:
            name, found = await self._blocking(self.store.resolve, ref)
        return name, found

    def lookup(self, name: str, selector: str) -> int | None:
        """The version that a name and "", a number or an alias mean, as far as is known."""
        shelf = self.shelves.get(name)
        if shelf is None:
            return None
        if not selector:
            return shelf.default
        if selector.isdecimal():
            return int(selector) if int(selector) in shelf.versions else None
        return shelf.aliases.get(selector)

    async def manifest(self, key: VersionKey) -> Manifest:
        """Raises NotFound, BadManifest."""
        name, version = key
        shelf = self.shelves.get(name)
        if shelf and version in shelf.held:
            return shelf.held[version]
        bundle: Bundle = await self._blocking(self.store.open, f"{name}@{version}")
        if shelf:
            shelf.held[version] = bundle.manifest
        return bundle.manifest

    def learn(self, key: VersionKey, manifest: Manifest) -> None:
        """Somebody has read it already; the store may be away when it is asked for."""
        shelf = self.shelves.get(key[0])
        if shelf:
            shelf.held.setdefault(key[1], manifest)

    # --- telling -------------------------------------------------------------------------------

    async def entry(self, key: VersionKey) -> dict[str, Any]:
        """What a listing says of a version, but for its state."""
        name, version = key
        shelf = self.shelves.get(name)
        if shelf is None:
            raise NotFound(f"no model {name!r} in the store")
        entry: dict[str, Any] = {
            "id": name, "object": "model", "created": 0, "owned_by": "modelhub",
            "version": version, "versions": shelf.versions, "aliases": shelf.aliases,
        }  # fmt: skip
        try:
            manifest = await self.manifest(key)
        except StoreError as error:
            return {**entry, "state": "failed", "reason": str(error), "verbs": [], "metrics": {}}
        if key not in self._entries:
            self._entries[key] = _facts(manifest)
        return {**entry, **self._entries[key]}

    def forget(self, key: VersionKey) -> None:
        """A version is gone from the store, or was replaced in place."""
        self._entries.pop(key, None)
        shelf = self.shelves.get(key[0])
        if shelf:
            shelf.held.pop(key[1], None)


def _facts(manifest: Manifest) -> dict[str, Any]:
    _, verb = manifest.main_verb
    facts = manifest.model_dump(
        mode="json", include={"created", "family", "category", "task", "description",
                              "license", "metrics", "baselines"},
    )  # fmt: skip
    return {
        **facts,
        "verbs": manifest.abilities,
        "input": verb.input.model_dump(mode="json"),
        "answer": verb.answer.model_dump(mode="json"),
        "size_bytes": manifest.size_bytes,
    }
