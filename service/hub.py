"""ModelHub: reference → loaded version → answer. Knows no wire and no ONNX."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from model_store.errors import NotFound, StoreError
from model_store.manifest import Manifest
from model_store.places import open_store
from model_store.store import split_ref
from service.answering import Answering
from service.catalog import Catalog, Shelf
from service.errors import DeadlinePassed, NoRoom, NotReady, ServiceError
from service.generating import Generating, Said
from service.ground import Ground
from service.loaded import LoadedModel
from service.residency import Residency
from service.runner import cpu_budget
from service.schema import Ask, Reply, VersionKey
from service.settings import Settings
from service.telemetry import Telemetry
from service.tracing import open_tracing
from service.turns import Turns

log = logging.getLogger(__name__)

STORE_THREADS = 2
FIRST_WAIT_S = 1.0
LAST_WAIT_S = 30.0
"""A store that cannot be read is looked at again after these, and after what lies between."""


class ModelHub:
    """Every model of one store. Start it on the event loop that will serve."""

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self.settings, self.telemetry = settings, telemetry
        self.store = open_store(settings.store, settings.cache)
        self.tracing = open_tracing(settings.otlp_endpoint)
        self.draining = False
        self.started = False
        self.turns = Turns(settings.threads or cpu_budget())
        self._pool = ThreadPoolExecutor(self.turns.threads, "decode")
        # Of its own: a store that does not answer shall hold up no request to what is loaded.
        self._store_pool = ThreadPoolExecutor(STORE_THREADS, "store")
        self.catalog = Catalog(self.store, self._store_pool)
        self.catalog.choose = self._choose
        self._residency: Residency | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._swaps: set[asyncio.Task[None]] = set()
        self._desired: set[str] = set()
        """Models that have to be loaded for the server to be ready."""
        self._parked: set[str] = set()
        """Models that an operator unloaded: only an operator's load brings them back."""
        # More than the queue holds would be refused as a full queue is, but for ever.
        max_rows = min(settings.max_items, settings.max_queue_rows)
        self._answering = Answering(max_rows, self._pool)
        self._generating = Generating(max_rows, self._pool)

    @property
    def residency(self) -> Residency:
        """Made at first use: it belongs to the event loop that serves."""
        if self._residency is None:
            ground = Ground(self.settings, asyncio.get_running_loop(), self.turns, self.tracing)
            self._residency = Residency(self.store, ground, self.telemetry, self._changed)
        return self._residency

    # --- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load what is wanted from the start. A model that fails is listed so; the rest serve."""
        await self._first_scan()
        self._desired = self._wanted()
        for name in sorted(self._desired):
            shelf = self.catalog.shelves.get(name)
            if shelf is None:
                log.error("%s is to be loaded at start; the store has no such model", name)
                continue
            try:
                await self._load((name, shelf.target))
            except NoRoom as error:
                log.warning("%s is left for later: %s", name, error)
                self._leave_out(name)
            except (ServiceError, StoreError):
                if not self.settings.strict_readiness:
                    self._leave_out(name)
        self.started = True
        if self.settings.repository == "watch":
            self._watcher = asyncio.create_task(self._watch())
        await self._read_manifests()

    async def _first_scan(self) -> None:
        """Not ready until the store was read once: nobody knows what is wanted before."""
        wait_s = FIRST_WAIT_S
        await self.catalog.scan()
        while self.catalog.trouble:
            await asyncio.sleep(wait_s)
            wait_s = min(LAST_WAIT_S, 2 * wait_s)
            await self.catalog.scan()

    def _wanted(self) -> set[str]:
        names, settings = set(self.catalog.shelves), self.settings
        if settings.repository == "explicit":
            return set(settings.models | settings.pinned)
        return set(settings.pinned) if settings.lazy else names | settings.pinned

    def _leave_out(self, name: str) -> None:
        if name not in self.settings.pinned:
            self._desired.discard(name)

    async def _read_manifests(self) -> None:
        """So that the first listing does not have to."""
        for name, shelf in list(self.catalog.shelves.items()):
            with contextlib.suppress(StoreError):
                await self.catalog.entry((name, shelf.default))

    async def close(self, *, timeout_s: float) -> None:
        """Finish what is queued, then unload; what takes longer is left behind."""
        self.draining = True
        for task in (self._watcher, *self._swaps):
            if task:
                task.cancel()
        if self._residency:
            await self._residency.close(timeout_s=timeout_s)
        if self.tracing:
            await asyncio.to_thread(self.tracing.close)
        for pool in (self._pool, self._store_pool):
            pool.shutdown(wait=False, cancel_futures=True)

    @property
    def not_ready(self) -> str:
        """Why not, or the empty string: the desired set is loaded and warmed, and no drain."""
        if self.draining:
            return "draining"
        if not self.started:
            return self.catalog.trouble or "loading"
        if not self.catalog.shelves and self.settings.repository != "explicit":
            return "the store has no models"
        loaded = {name for name, _ in self.residency.loaded}
        waiting = self._desired - loaded - self.residency.displaced
        return f"not loaded: {', '.join(sorted(waiting))}" if waiting else ""

    @property
    def stuck(self) -> str:
        """Which lane makes no progress, or the empty string."""
        for (name, version), model in self.residency.loaded.items():
            for worker in model.workers:
                if not worker.alive or worker.running_s > self.settings.stuck_s:
                    return f"{name}@{version}"
        return ""

    # --- finding -------------------------------------------------------------------------------

    async def find(self, ref: str, deadline: float = math.inf) -> LoadedModel:
        """The loaded version REF stands for, loaded now if need be, with a lease on it: give it
        back with ``release`` or leave a ``with`` block.

        Raises NotFound, NotReady, NoRoom, DeadlinePassed.
        """
        key = await self.catalog.resolve(ref)
        # Again, where it came and had to leave before its caller had a turn.
        while (model := self.residency.loaded.get(key)) is None:
            self._check_may_load(key)
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self._load(key)
            except TimeoutError:
                raise DeadlinePassed(
                    f"the deadline passed while {key[0]}@{key[1]} was loading"
                ) from None
        model.acquire()
        return model

    def at_hand(self, name: str, selector: str) -> LoadedModel | None:
        """What :meth:`find` would give, without a lease, where it is loaded; else None."""
        version = self.catalog.lookup(name, selector)
        if version is None or self._residency is None:
            return None
        return self._residency.loaded.get((name, version))

    async def manifest(self, ref: str) -> Manifest:
        """The manifest REF stands for, loaded or not."""
        return await self.catalog.manifest(await self.catalog.resolve(ref))

    def _check_may_load(self, key: VersionKey) -> None:
        name, _ = key
        explicit = self.settings.repository == "explicit" and key not in self.residency.failed
        if name in self._parked or (explicit and key not in self.residency.coming):
            raise NotReady(f"{name} is not loaded; POST /v2/repository/models/{name}/load loads it")

    async def _load(self, key: VersionKey, *, again: bool = False) -> LoadedModel:
        if self.draining:
            raise NotReady("the server is draining")
        try:
            return await self.residency.load(key, again=again)
        except NotFound:  # removed from the store since the catalog read it
            await self.catalog.refresh(key[0])
            raise

    async def answer(self, ask: Ask, model: LoadedModel) -> Reply:
        """One answer per item. Raises ItemError (with ``index``) and ServiceError."""
        if model.says(ask.verb):
            return await self._generating.answer(ask, model)
        return await self._answering.answer(ask, model)

    def stream(self, ask: Ask, model: LoadedModel) -> AsyncGenerator[Said, None]:
        """The same for a verb that says text, token by token."""
        return self._generating.stream(ask, model)

    # --- versions that come and go -------------------------------------------------------------

    def _changed(self, name: str) -> None:
        """A version of it came or left."""
        if name in self._parked:  # it was unloaded while it loaded
            for key in [key for key in self.residency.loaded if key[0] == name]:
                self.residency.retire(key)
        for key, model in self.residency.loaded.items():
            if key[0] == name:
                self.catalog.learn(key, model.manifest)
        self.catalog.settle(name)

    def _choose(self, name: str, shelf: Shelf) -> int:
        """The target once it is loaded; until then what serves now goes on serving."""
        if self._residency is None:
            return shelf.target
        loaded = [v for v in shelf.versions if (name, v) in self._residency.loaded]
        if shelf.target in loaded or not loaded:
            return shelf.target
        return shelf.default if shelf.default in loaded else loaded[-1]

    async def _watch(self) -> None:
        wait_s = self.store.watch_s
        while True:
            await asyncio.sleep(wait_s)
            try:
                await self.look()
                self._retry_failed()
            except Exception:
                log.exception("the store could not be looked at; the next look is in %g s", wait_s)
            wait_s = min(LAST_WAIT_S, 2 * wait_s) if self.catalog.trouble else self.store.watch_s

    async def look(self) -> None:
        """See what changed in the store since the last look, and follow it where that is wanted."""
        for name in await self.catalog.scan():
            if self.settings.repository == "watch":
                self._follow(name)

    def _follow(self, name: str) -> None:
        """A model's folder changed: let go of what was removed, bring in what was published."""
        shelf = self.catalog.shelves.get(name)
        versions = shelf.versions if shelf else []
        for key in [key for key in self.residency.loaded if key[0] == name]:
            if key[1] not in versions:
                self.residency.retire(key)
                self.catalog.forget(key)
        if shelf is None:
            self._desired.discard(name)
            return
        serving = any(key[0] == name for key in self.residency.loaded)
        wanted = serving or not self.settings.lazy or name in self.settings.pinned
        if wanted and name not in self._parked:
            self._bring(name, shelf.target)

    def _retry_failed(self) -> None:
        for key, failure in list(self.residency.failed.items()):
            name, version = key
            shelf = self.catalog.shelves.get(name)
            if shelf is None or version not in shelf.versions:
                del self.residency.failed[key]
            elif version == shelf.target and time.monotonic() > failure.retry_at:
                self._bring(name, version)

    def _bring(self, name: str, version: int) -> None:
        """Load a version beside the one that serves, then swap. In a task of its own."""
        key = (name, version)
        if key in self.residency.coming:
            return
        task = asyncio.create_task(self._swap(key))
        self._swaps.add(task)
        task.add_done_callback(self._swaps.discard)

    async def _swap(self, key: VersionKey) -> None:
        with contextlib.suppress(ServiceError, StoreError):  # noted, logged, and the old one serves
            await self._load(key, again=True)
            self._let_go_of_old(key[0])

    def _let_go_of_old(self, name: str) -> None:
        """Versions that neither the bare name nor an alias means make room."""
        shelf = self.catalog.shelves.get(name)
        if shelf is None:
            return
        kept = {shelf.default, shelf.target, *shelf.aliases.values()}
        for key in [key for key in self.residency.loaded if key[0] == name]:
            if key[1] not in kept:
                self.residency.retire(key)

    # --- an operator's word --------------------------------------------------------------------

    async def load(self, ref: str) -> LoadedModel:
        """Load what REF means on the disk now, and have it served. Raises NotFound, NotReady."""
        name, selector = split_ref(ref)
        shelf = await self.catalog.refresh(name)
        if shelf is None:
            raise NotFound(f"no model {name!r} in the store")
        self._parked.discard(name)
        key = await self.catalog.resolve(ref) if selector else (name, shelf.target)
        if key not in self.residency.loaded:
            self.catalog.forget(key)  # a plain graph may have been replaced where it lies
        model = await self._load(key, again=True)
        if not selector:
            self._let_go_of_old(name)
        return model

    async def unload(self, name: str) -> None:
        """Let go of every version, once its requests are answered. Raises NotFound."""
        if name not in self.catalog.shelves and await self.catalog.refresh(name) is None:
            raise NotFound(f"no model {name!r} in the store")
        self._parked.add(name)
        self._desired.discard(name)
        for key in [key for key in self.residency.loaded if key[0] == name]:
            self.residency.retire(key)

    async def set_alias(self, name: str, alias: str, version: int) -> dict[str, int]:
        """Move an alias once its version is loaded, so that no caller waits. Raises NotFound."""
        with await self.find(f"{name}@{version}"):
            await self._blocking(self.store.set_alias, name, alias, version)
            await self.catalog.refresh(name)
        self._let_go_of_old(name)
        return self.catalog.shelves[name].aliases

    async def drop_alias(self, name: str, alias: str) -> dict[str, int]:
        """Raises NotFound."""
        await self._blocking(self.store.drop_alias, name, alias)
        shelf = await self.catalog.refresh(name)
        if shelf is None:
            raise NotFound(f"no model {name!r} in the store")
        if (name, shelf.target) not in self.residency.loaded:
            self._bring(name, shelf.target)
        return shelf.aliases

    async def _blocking(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(
            self._store_pool, partial(function, *arguments)
        )

    # --- telling -------------------------------------------------------------------------------

    async def listing(self) -> list[dict[str, Any]]:
        """One entry per model, for its default version."""
        shelves = sorted(self.catalog.shelves.items())
        return [await self._entry((name, shelf.default)) for name, shelf in shelves]

    async def entry(self, ref: str) -> dict[str, Any]:
        """The listing entry of REF. A bundle that cannot be read is an entry with its reason."""
        return await self._entry(await self.catalog.resolve(ref))

    async def _entry(self, key: VersionKey) -> dict[str, Any]:
        entry = await self.catalog.entry(key)
        return entry if entry.get("state") == "failed" else {**entry, **self.state(key)}

    def state(self, key: VersionKey) -> dict[str, Any]:
        """Whether a version is ready, and what it runs on and takes."""
        model = self.residency.loaded.get(key)
        if model:
            return {"state": "ready", "memory_bytes": model.memory_bytes,
                    "provider": model.provider, "device": model.device,
                    "batching": model.batching}  # fmt: skip
        facts: dict[str, Any] = {
            "state": "unloaded", "memory_bytes": 0, "provider": None, "device": None,
        }  # fmt: skip
        failure = self.residency.failed.get(key)
        if failure:
            facts |= {"state": "failed", "reason": failure.reason}
        elif key in self.residency.coming or (not self.started and key[0] in self._desired):
            facts["state"] = "loading"
        return facts

    async def file(self, ref: str, name: str) -> Path | None:
        """A listed file of REF's bundle, or None."""
        key = await self.catalog.resolve(ref)
        if name not in (await self.catalog.manifest(key)).files:
            return None
        model = self.residency.loaded.get(key)
        bundle = model.bundle if model else await self._blocking(self.store.bundle, *key)
        path: Path = await self._blocking(bundle.path, name)
        return path

    def loaded(self) -> list[LoadedModel]:
        """The loaded default versions, by name."""
        if self._residency is None:
            return []
        keys = ((name, shelf.default) for name, shelf in sorted(self.catalog.shelves.items()))
        return [self.residency.loaded[key] for key in keys if key in self.residency.loaded]
