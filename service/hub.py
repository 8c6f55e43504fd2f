"""ModelHub: reference → loaded version → answer. Knows no wire and no ONNX.

Loading happens in one thread at a time, beside whatever is serving.
"""

import asyncio
import contextlib
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from model_store.bundle import Bundle
from model_store.errors import NotFound, StoreError
from model_store.manifest import Manifest
from model_store.store import STABLE, Store, split_ref
from service.answering import Answering
from service.errors import DeadlinePassed, NotReady, ServiceError
from service.loaded import LoadedModel, load
from service.runner import cpu_budget
from service.schema import Ask, Reply
from service.settings import Settings
from service.telemetry import Telemetry

log = logging.getLogger(__name__)

VersionKey = tuple[str, int]


class ModelHub:
    """Every model of one store. Start it on the event loop that will serve."""

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self.settings, self.telemetry = settings, telemetry
        self.store = Store(settings.store)
        self.draining = False
        self.started = False
        threads = settings.threads or cpu_budget()
        self._threads = threads
        self._decoding = ThreadPoolExecutor(threads, "decode")
        self._loading = ThreadPoolExecutor(1, "load")
        self._loaded: dict[VersionKey, LoadedModel] = {}
        self._coming: dict[VersionKey, asyncio.Task[LoadedModel]] = {}
        self._failed: dict[VersionKey, str] = {}
        self._index: dict[str, _Entry] = {}
        # More than the queue holds would be refused as a full queue is, but for ever.
        max_rows = min(settings.max_items, settings.max_queue_rows)
        self._answering = Answering(max_rows, self._decoding)

    # --- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the default version of every model. One that fails is listed so; the rest serve."""
        for name in await self._blocking(self.store.names):
            await self._refresh(name)
        for name, entry in list(self._index.items()):
            with contextlib.suppress(ServiceError, StoreError):
                await self._load(name, entry.default)
        self.started = True

    async def close(self, *, timeout_s: float) -> None:
        """Finish what is queued, then unload; what takes longer is left behind."""
        self.draining = True
        for task in self._coming.values():
            task.cancel()
        await asyncio.gather(
            *(asyncio.to_thread(m.close, timeout_s=timeout_s) for m in self._loaded.values())
        )
        self._loaded.clear()
        self._decoding.shutdown(wait=False, cancel_futures=True)
        self._loading.shutdown(wait=False, cancel_futures=True)

    @property
    def not_ready(self) -> str:
        """Why not, or the empty string: the desired set is loaded and warmed, and no drain."""
        if self.draining:
            return "draining"
        if not self.started:
            return "loading"
        if not self._index:
            return "the store has no models"
        waiting = [
            name for name, entry in self._index.items() if (name, entry.default) not in self._loaded
        ]
        return f"not loaded: {', '.join(sorted(waiting))}" if waiting else ""

    @property
    def stuck(self) -> str:
        """Which lane makes no progress, or the empty string."""
        for (name, version), model in self._loaded.items():
            for lane in model.lanes.values():
                if not lane.batcher.alive or lane.running_s > self.settings.stuck_s:
                    return f"{name}@{version}"
        return ""

    # --- finding -------------------------------------------------------------------------------

    async def find(self, ref: str, deadline: float = math.inf) -> LoadedModel:
        """The loaded version REF stands for, loaded now if need be.

        Raises NotFound, NotReady, DeadlinePassed.
        """
        name, version = await self._resolve(ref)
        model = self._loaded.get((name, version))
        if model:
            return model
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await self._load(name, version)
        except TimeoutError:
            raise DeadlinePassed(
                f"the deadline passed while {name}@{version} was loading"
            ) from None

    async def manifest(self, ref: str) -> Manifest:
        """The manifest REF stands for, loaded or not."""
        name, version = await self._resolve(ref)
        model = self._loaded.get((name, version))
        if model:
            return model.manifest
        bundle: Bundle = await self._blocking(self.store.open, f"{name}@{version}")
        return bundle.manifest

    async def _resolve(self, ref: str) -> VersionKey:
        name, selector = split_ref(ref)
        found = self._lookup(name, selector)
        if found is None:
            # Perhaps it was published after the start: the disk is the truth.
            await self._refresh(name)
            found = self._lookup(name, selector)
        if found is None:
            name, found = await self._blocking(self.store.resolve, ref)
        return name, found

    def _lookup(self, name: str, selector: str) -> int | None:
        entry = self._index.get(name)
        if entry is None:
            return None
        if selector.isdecimal():
            return int(selector) if int(selector) in entry.versions else None
        return entry.aliases.get(selector) if selector else entry.default

    async def _refresh(self, name: str) -> None:
        versions = await self._blocking(self.store.versions, name)
        if not versions:
            self._index.pop(name, None)
            return
        try:
            aliases = await self._blocking(self.store.aliases, name)
        except StoreError as error:
            log.error("%s: %s; served without aliases", name, error)
            aliases = {}
        self._index[name] = _Entry(versions, aliases, versions[-1])
        self._choose_default(name)

    def _choose_default(self, name: str) -> None:
        """Alias ``stable``, else the newest version that is loaded, else the newest."""
        entry = self._index[name]
        ready = [version for version in entry.versions if (name, version) in self._loaded]
        entry.default = entry.aliases.get(STABLE, (ready or entry.versions)[-1])

    async def _load(self, name: str, version: int) -> LoadedModel:
        """Load once however many ask. Raises NotReady with the reason it failed."""
        key = (name, version)
        if self.draining:
            raise NotReady("the server is draining")
        if key in self._failed:
            raise NotReady(f"{name}@{version} failed to load: {self._failed[key]}")
        if key not in self._coming:
            self._coming[key] = asyncio.create_task(self._load_once(key))
        return await asyncio.shield(self._coming[key])

    async def _load_once(self, key: VersionKey) -> LoadedModel:
        name, version = key
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            bundle = await self._blocking(self.store.open, f"{name}@{version}")
            model = await loop.run_in_executor(
                self._loading, load, bundle, self.settings, self._threads, loop, self.telemetry
            )
        except NotFound:  # removed from the store since the index was made
            await self._refresh(name)
            raise
        except Exception as error:  # noqa: BLE001 - whatever a bundle does, the hub stays up
            self._failed[key] = str(error) or type(error).__name__
            log.error("%s@%d failed to load: %s", name, version, self._failed[key])
            raise NotReady(f"{name}@{version} failed to load: {self._failed[key]}") from None
        finally:
            del self._coming[key]
        self._loaded[key] = model
        if name in self._index:
            self._choose_default(name)
        log.info("loaded %s@%d in %.2f s on %s", name, version, time.monotonic() - started,
                 model.provider)  # fmt: skip
        return model

    async def _blocking(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(
            self._decoding, function, *arguments
        )

    async def answer(self, ask: Ask, model: LoadedModel) -> Reply:
        """One answer per item. Raises ItemError (with ``index``) and ServiceError."""
        return await self._answering.answer(ask, model)

    # --- telling -------------------------------------------------------------------------------

    async def listing(self) -> list[dict[str, Any]]:
        """One entry per model, for its default version."""
        return [await self.entry(name) for name in sorted(self._index)]

    async def entry(self, ref: str) -> dict[str, Any]:
        """The listing entry of REF. A bundle that cannot be read is an entry with its reason."""
        name, version = await self._resolve(ref)
        index = self._index[name]
        entry: dict[str, Any] = {
            "id": name, "object": "model", "created": 0, "owned_by": "modelhub",
            "version": version, "versions": index.versions, "aliases": index.aliases,
            **self._state((name, version)),
        }  # fmt: skip
        try:
            manifest = await self.manifest(f"{name}@{version}")
        except StoreError as error:
            return {**entry, "state": "failed", "reason": str(error), "verbs": [], "metrics": {}}
        _, verb = manifest.main_verb
        entry |= manifest.model_dump(
            mode="json", include={"created", "family", "category", "task", "description",
                                  "license", "metrics", "baselines"},
        )  # fmt: skip
        entry["verbs"] = list(manifest.verbs)
        entry["input"] = verb.input.model_dump(mode="json")
        entry["answer"] = verb.answer.model_dump(mode="json")
        entry["size_bytes"] = manifest.size_bytes
        return entry

    async def file(self, ref: str, name: str) -> Path | None:
        """A listed file of REF's bundle, or None."""
        manifest = await self.manifest(ref)
        if name not in manifest.files:
            return None
        folder = self.store.root / manifest.name / str(manifest.version)
        return Bundle(folder, manifest).path(name)

    def loaded(self) -> list[LoadedModel]:
        """The loaded default versions, by name."""
        keys = ((name, entry.default) for name, entry in sorted(self._index.items()))
        return [self._loaded[key] for key in keys if key in self._loaded]

    def _state(self, key: VersionKey) -> dict[str, Any]:
        model = self._loaded.get(key)
        if model:
            return {"state": "ready", "memory_bytes": model.memory_bytes,
                    "provider": model.provider}  # fmt: skip
        facts: dict[str, Any] = {"state": "unloaded", "memory_bytes": 0, "provider": None}
        if key in self._failed:
            facts |= {"state": "failed", "reason": self._failed[key]}
        elif key in self._coming or not self.started:
            facts["state"] = "loading"
        return facts

    # --- changing ------------------------------------------------------------------------------

    async def set_alias(self, name: str, alias: str, version: int) -> dict[str, int]:
        """Move an alias once its version is loaded, so that no caller waits. Raises NotFound."""
        await self.find(f"{name}@{version}")
        await self._blocking(self.store.set_alias, name, alias, version)
        await self._refresh(name)
        return self._index[name].aliases

    async def drop_alias(self, name: str, alias: str) -> dict[str, int]:
        """Raises NotFound."""
        await self._blocking(self.store.drop_alias, name, alias)
        await self._refresh(name)
        if name not in self._index:
            raise NotFound(f"no model {name!r} in the store")
        return self._index[name].aliases


class _Entry:
    """What is known of a model's versions without asking the disk."""

    def __init__(self, versions: list[int], aliases: dict[str, int], default: int) -> None:
        self.versions, self.aliases, self.default = versions, aliases, default
