"""The store in a bucket: the folder store's layout as objects, each file copied here when needed.

A version is visible once its manifest is there, which is written last. A number belongs to whoever
created ``<name>/.claim-<version>`` first; who was killed and comes again with the same content
finds the claim, and uploads only what is missing. An object store has no rename and no lock, so
claims, manifests and the writers' lock rest on one thing: create unless it is there
(``If-None-Match: *``).
"""

import contextlib
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from model_store.bucket import Bucket
from model_store.bundle import MANIFEST_FILE, Bundle
from model_store.copies import Copies
from model_store.errors import BadManifest, CorruptBundle, NotFound, StoreError
from model_store.manifest import Draft, FileEntry, Manifest
from model_store.store import (
    ALIASES_FILE,
    NAME,
    VERSION,
    Store,
    check_name,
    entries_of,
    parse_aliases,
)

CLAIM, REMOVED, LOCK = ".claim-", ".removed-", ".lock"
CLAIM_S = 24 * 3600
"""So long an upload that was cut off can be taken up again; twice as long, and it is swept away."""
LOCK_S = 30.0
"""A writer that has held the lock so long is dead: it writes a few small objects."""
LOCK_POLL_S = 0.1


class RemoteBundle(Bundle):
    """A version whose files are fetched when their paths are asked for, and proved on arrival."""

    def __init__(self, folder: Path, manifest: Manifest, bucket: Bucket, copies: Copies) -> None:
        super().__init__(folder, manifest)
        self._bucket, self._copies = bucket, copies

    @property
    def place(self) -> str:
        return self._bucket.at(f"{self.manifest.name}/{self.manifest.version}")

    def path(self, name: str) -> Path:
        path = super().path(name)
        self._place(name, path)
        return path

    def verify(self, *, afresh: bool = False) -> None:
        """Fetch what is not here yet, or everything ``afresh``, and prove it as a folder is."""
        if afresh:
            for name in self.manifest.files:
                self._place(name, super().path(name), afresh=True)
        try:
            super().verify()
        except CorruptBundle:
            # It may be the copy that has changed, not what it was copied from.
            for entry in self.manifest.files.values():
                self._copies.drop_changed(entry)
            super().verify()
        # So that the folder is a whole version for whoever looks at it.
        self._copies.write(self.folder / MANIFEST_FILE, self.manifest.to_json())

    def _place(self, name: str, path: Path, *, afresh: bool = False) -> None:
        key = f"{self.manifest.name}/{self.manifest.version}/{name}"
        fetch = partial(self._bucket.download, key)
        entry = self.manifest.files[name]
        self._copies.place(entry, path, self._bucket.at(key), fetch, afresh=afresh)


class RemoteStore(Store):
    """Models in a bucket, which is the truth; ``root`` is the folder of its copies."""

    watch_s = 2.0

    def __init__(self, bucket: Bucket, copies: Copies) -> None:
        super().__init__(copies.folder(bucket.url))
        self.bucket, self._copies = bucket, copies

    @property
    def place(self) -> str:
        return self.bucket.url

    # --- reading -------------------------------------------------------------------------------

    def names(self) -> list[str]:
        return sorted(_visible(self.bucket.find()))

    def versions(self, name: str) -> list[int]:
        return sorted(_visible(self.bucket.find(check_name(name))).get(name, ()))

    def stamps(self) -> dict[str, int]:
        """One listing of everything: what readers can see decides, so an upload is no change."""
        seen: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for key, found in self.bucket.find().items():
            name, _, rest = key.partition("/")
            if NAME.fullmatch(name) and (
                rest.endswith(f"/{MANIFEST_FILE}") or rest.startswith((ALIASES_FILE, REMOVED))
            ):
                seen[name].append((rest, found.tag))
        return {name: hash(tuple(sorted(rows))) for name, rows in seen.items()}

    def bundle(self, name: str, version: int) -> Bundle:
        """Reads the manifest; files are fetched later. Raises NotFound, BadManifest."""
        key = f"{name}/{version}/{MANIFEST_FILE}"
        text = self.bucket.read(key)
        if text is None:
            raise NotFound(f"{name} has no version {version}: {self.bucket.at(key)} is missing")
        try:
            manifest = Manifest.from_json(text)
        except BadManifest as error:
            raise BadManifest(f"{self.bucket.at(key)}: {error}") from None
        if (manifest.name, manifest.version) != (name, version):
            raise BadManifest(f"{self.bucket.at(key)} is of {manifest.name}@{manifest.version}")
        return RemoteBundle(self.root / name / str(version), manifest, self.bucket, self._copies)

    # --- writing -------------------------------------------------------------------------------

    def publish(self, name: str, staged: Path, draft: Draft) -> Manifest:
        """Upload a staged folder as the next version. Raises CorruptBundle, Unreachable."""
        check_name(name)
        entries = entries_of(staged)
        mark = _mark(draft, entries)
        self._sweep_bucket(name)
        while True:
            version = self._claim(name, mark)
            manifest = Manifest(
                **draft.model_dump(), name=name, version=version, created=int(time.time()),
                files=entries,
            )  # fmt: skip
            self._upload(f"{name}/{version}", staged, entries)
            if self.bucket.create(f"{name}/{version}/{MANIFEST_FILE}", manifest.to_json()):
                self.bucket.delete([f"{name}/{CLAIM}{version}"])
                return manifest
            # Another one published the very same under this number: the next is ours.

    def _claim(self, name: str, mark: str) -> int:
        """A number for this content: one claimed for it before, else one that nobody had."""
        while True:
            keys = self.bucket.find(name)
            for version, (found, _) in self._claims(name, keys, CLAIM_S).items():
                if found == mark:
                    return version
            version = max(_numbers(name, keys), default=0) + 1
            claim, key = {"mark": mark, "created": time.time()}, f"{name}/{CLAIM}{version}"
            if not self.bucket.create(key, json.dumps(claim).encode()):
                continue
            if not self._was_used(name, version):
                return version
            # Since we looked, another one has published under it and taken its claim away.
            self.bucket.delete([key])

    def _was_used(self, name: str, version: int) -> bool:
        """Whether the number means something already, or did."""
        marks = (f"{name}/{version}/{MANIFEST_FILE}", f"{name}/{REMOVED}{version}")
        return any(self.bucket.read(mark) is not None for mark in marks)

    def _claims(
        self, name: str, keys: Iterable[str], max_age_s: float = float("inf")
    ) -> dict[int, tuple[str, float]]:
        """Version → mark and age of uploads that are under way, or were cut off."""
        published, claims = set(_visible(keys).get(name, ())), {}
        removed = _after(name, REMOVED, keys)
        for version in sorted(_after(name, CLAIM, keys) - published - removed):
            try:
                claim = json.loads(self.bucket.read(f"{name}/{CLAIM}{version}") or b"")
                mark, age_s = str(claim["mark"]), time.time() - float(claim["created"])
            except (ValueError, KeyError, TypeError):
                continue  # gone meanwhile, or not ours
            if age_s < max_age_s:
                claims[version] = (mark, age_s)
        return claims

    def _upload(self, folder: str, staged: Path, entries: dict[str, FileEntry]) -> None:
        """What a killed publisher uploaded is whole: an object appears when all of it is there."""
        there = self.bucket.find(folder)
        for file, entry in entries.items():
            key = f"{folder}/{file}"
            if key not in there or there[key].size_bytes != entry.size_bytes:
                self.bucket.upload(staged / file, key)

    def _sweep_bucket(self, name: str) -> None:
        """Remove what killed publishers and removers left."""
        keys = self.bucket.find(name)
        for version, (_, age_s) in self._claims(name, keys).items():
            if age_s > 2 * CLAIM_S:
                self._take_away(name, [version])
        for version in _after(name, REMOVED, keys):
            self.bucket.delete(key for key in keys if key.startswith(f"{name}/{version}/"))

    # --- what the folder store's rules stand on --------------------------------------------------

    def _read_aliases(self, name: str) -> dict[str, int]:
        text = self.bucket.read(f"{name}/{ALIASES_FILE}")
        return {} if text is None else parse_aliases(name, text)

    def _write_aliases(self, name: str, aliases: dict[str, int]) -> None:
        text = json.dumps(aliases, indent=1, sort_keys=True)
        self.bucket.write(f"{name}/{ALIASES_FILE}", text.encode())

    def _take_away(self, name: str, versions: list[int]) -> None:
        """The marker makes them invisible at once, and keeps the number."""
        for version in versions:
            self.bucket.create(f"{name}/{REMOVED}{version}", b"")
        for version in versions:
            found = sorted(self.bucket.find(f"{name}/{version}"), key=_manifest_first)
            self.bucket.delete([*found, f"{name}/{CLAIM}{version}"])

    def _drop_aliases(self, name: str) -> None:
        self.bucket.delete([f"{name}/{ALIASES_FILE}"])

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        """One writer at a time; publishers do without, as each has its own number."""
        key, end = f"{name}/{LOCK}", time.monotonic() + 2 * LOCK_S
        while not self.bucket.create(key, json.dumps({"created": time.time()}).encode()):
            text = self.bucket.read(key)
            if text is not None and _age_s(text) > LOCK_S:
                self.bucket.delete([key])
            elif time.monotonic() > end:
                raise StoreError(f"{self.bucket.at(key)}: others keep writing; try again later")
            else:
                time.sleep(LOCK_POLL_S)
        try:
            yield self.root / name
        finally:
            self.bucket.delete([key])


def _visible(keys: Iterable[str]) -> dict[str, set[int]]:
    """Model → versions that have a manifest and are not being removed."""
    keys = list(keys)
    found: dict[str, set[int]] = defaultdict(set)
    for key in keys:
        name, _, rest = key.partition("/")
        version, _, file = rest.partition("/")
        if file == MANIFEST_FILE and NAME.fullmatch(name) and VERSION.fullmatch(version):
            found[name].add(int(version))
    left = {name: versions - _after(name, REMOVED, keys) for name, versions in found.items()}
    return {name: versions for name, versions in left.items() if versions}


def _after(name: str, prefix: str, keys: Iterable[str]) -> set[int]:
    """Numbers of the objects ``<name>/<prefix><number>``."""
    start = f"{name}/{prefix}"
    rests = (key.removeprefix(start) for key in keys if key.startswith(start))
    return {int(rest) for rest in rests if VERSION.fullmatch(rest)}


def _numbers(name: str, keys: Iterable[str]) -> set[int]:
    """Every number that ever belonged to something."""
    keys = list(keys)
    folders = (key.removeprefix(f"{name}/").partition("/")[0] for key in keys)
    versions = {int(folder) for folder in folders if VERSION.fullmatch(folder)}
    return versions | _after(name, CLAIM, keys) | _after(name, REMOVED, keys)


def _mark(draft: Draft, entries: dict[str, FileEntry]) -> str:
    """Equal for equal content."""
    files = {name: entry.sha256 for name, entry in sorted(entries.items())}
    return hashlib.sha256(f"{draft.model_dump_json()}{json.dumps(files)}".encode()).hexdigest()


def _age_s(text: bytes) -> float:
    """Of a lock. One that nobody here wrote, copied along with a folder, is as old as can be."""
    try:
        return time.time() - float(json.loads(text)["created"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _manifest_first(key: str) -> bool:
    return not key.endswith(f"/{MANIFEST_FILE}")
