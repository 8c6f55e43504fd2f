"""Which versions are in memory: loading once however many ask, making room, letting go.

Loads happen in one thread, beside whatever is serving. Used on the event loop.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from model_store.errors import NotFound
from model_store.store import Store
from service.devices import gpu_of, least_taken, spread
from service.errors import NoRoom, NotReady
from service.ground import Ground
from service.loaded import LoadedModel, load, trim_memory, weight_bytes
from service.schema import VersionKey
from service.telemetry import Telemetry

log = logging.getLogger(__name__)

CLOSE_S = 30.0
"""Queued work of a version that is let go has this long; it holds up nobody but the version."""
FIRST_RETRY_S = 2.0
LAST_RETRY_S = 60.0


@dataclass(slots=True)
class Failure:
    """Why a version could not be loaded, and when to try again."""

    reason: str
    tries: int
    retry_at: float


class Residency:
    """The loaded versions of one server."""

    def __init__(
        self, store: Store, ground: Ground, telemetry: Telemetry, changed: Callable[[str], None]
    ) -> None:  # fmt: skip
        """``changed`` is told the name of a model whose version came or left."""
        self._store, self._ground, self._telemetry = store, ground, telemetry
        self._changed = changed
        self._pool = ThreadPoolExecutor(1, "load")
        self._closing_pool = ThreadPoolExecutor(2, "unload")
        self.loaded: dict[VersionKey, LoadedModel] = {}
        self.coming: dict[VersionKey, asyncio.Task[LoadedModel]] = {}
        self.leaving: dict[VersionKey, asyncio.Future[None]] = {}
        self.failed: dict[VersionKey, Failure] = {}
        self.displaced: set[str] = set()
        """Models that made room for others; they come back when they are asked for."""
        self._bound_for: dict[VersionKey, tuple[str, int]] = {}
        """The device of a version that is being loaded, and the bytes of its weights."""
        self._sizes: dict[VersionKey, int] = {}
        """What versions took when they were last in memory."""

    @property
    def memory_bytes(self) -> int:
        """Of all that is loaded."""
        return sum(model.memory_bytes for model in self.loaded.values())

    # --- coming --------------------------------------------------------------------------------

    async def load(self, key: VersionKey, *, again: bool = False) -> LoadedModel:
        """Load once however many ask. Raises NotReady with the reason it failed, NoRoom, NotFound.

        What failed before is not tried ``again`` unless asked for.
        """
        model = self.loaded.get(key)
        if model:
            return model
        failure = self.failed.get(key)
        if failure and not again:
            raise NotReady(f"{key[0]}@{key[1]} failed to load: {failure.reason}")
        if key not in self.coming:
            self.coming[key] = asyncio.create_task(self._load(key))
            self.coming[key].add_done_callback(_retrieve)
        return await asyncio.shield(self.coming[key])

    async def _load(self, key: VersionKey) -> LoadedModel:
        name, version = key
        started, loop = time.monotonic(), self._ground.loop
        try:
            bundle = await loop.run_in_executor(self._pool, self._store.open, f"{name}@{version}")
            await self._make_room(key, self._sizes.get(key, weight_bytes(bundle)))
            ground = self._ground.on(self._device(key, weight_bytes(bundle)))
            model = await loop.run_in_executor(self._pool, load, bundle, ground, self._telemetry)
            await self._admit(key, model)
        except (NotFound, NoRoom):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a bundle does, the hub stays up
            reason = str(error) or type(error).__name__
            self._note_failure(key, reason)
            log.error("%s@%d failed to load: %s", name, version, reason)
            raise NotReady(f"{name}@{version} failed to load: {reason}") from None
        finally:
            del self.coming[key]
            self._bound_for.pop(key, None)
        self.failed.pop(key, None)
        self.displaced.discard(name)
        self.loaded[key] = model
        self._changed(name)
        log.info("loaded %s@%d in %.2f s on %s", name, version, time.monotonic() - started,
                 model.device)  # fmt: skip
        return model

    def _note_failure(self, key: VersionKey, reason: str) -> None:
        tries = self.failed[key].tries + 1 if key in self.failed else 1
        wait_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** (tries - 1))
        self.failed[key] = Failure(reason, tries, time.monotonic() + wait_s)

    def _device(self, key: VersionKey, size: int) -> str:
        """Of those that the settings name, the one whose models weigh least, with those that are
        on their way there.
        """
        weights: Counter[str] = Counter()
        for model in self.loaded.values():
            weights[model.device] += weight_bytes(model.bundle)
        for device, coming in self._bound_for.values():
            weights[f"cuda:{gpu_of(device)}"] += coming
        device = least_taken(spread(self._ground.settings.device), weights)
        self._bound_for[key] = device, size
        return device

    # --- room ----------------------------------------------------------------------------------

    async def _make_room(self, key: VersionKey, needed: int) -> None:
        """Let go of what was used least recently until ``needed`` bytes fit. Raises NoRoom."""
        budget = self._ground.settings.max_memory_bytes
        if not budget:
            return
        if needed > budget:
            raise NoRoom(
                f"{key[0]}@{key[1]} needs {needed:,} bytes; the memory budget is {budget:,}"
            )
        if self.leaving:
            await asyncio.wait(list(self.leaving.values()), timeout=CLOSE_S)
        leaving = []
        for victim in self._least_recently_used(besides=key):
            if self.memory_bytes + needed <= budget:
                break
            log.info("%s@%d makes room for %s@%d", *victim, *key)
            self.displaced.add(victim[0])
            leaving.append(self.retire(victim))
        if self.memory_bytes + needed > budget:
            raise NoRoom(
                f"{key[0]}@{key[1]} needs {needed:,} bytes; pinned models leave"
                f" {budget - self.memory_bytes:,} of {budget:,}"
            )
        if leaving:
            await asyncio.wait(leaving, timeout=CLOSE_S)

    async def _admit(self, key: VersionKey, model: LoadedModel) -> None:
        """Now its true size is known. Raises NoRoom, and then it is closed again."""
        self._sizes[key] = model.memory_bytes
        try:
            await self._make_room(key, model.memory_bytes)
        except NoRoom:
            await self._close(model)
            raise

    def _least_recently_used(self, *, besides: VersionKey) -> Iterable[VersionKey]:
        pinned = self._ground.settings.pinned
        keys = [key for key in self.loaded if key != besides and key[0] not in pinned]
        return sorted(keys, key=lambda key: self.loaded[key].last_used)

    # --- leaving -------------------------------------------------------------------------------

    def retire(self, key: VersionKey) -> "asyncio.Future[None]":
        """No new request gets it; it is closed once those it has are answered."""
        model = self.loaded.pop(key)
        gone: asyncio.Future[None] = self._ground.loop.create_future()
        self.leaving[key] = gone

        def close() -> None:
            closing = asyncio.ensure_future(self._close(model))
            closing.add_done_callback(partial(self._gone, key, gone))

        model.retire(close)
        self._changed(key[0])
        return gone

    async def _close(self, model: LoadedModel) -> None:
        close = partial(model.close, timeout_s=CLOSE_S)
        await self._ground.loop.run_in_executor(self._closing_pool, close)
        model.meter.pending = lambda: 0
        self._telemetry.unloaded(model.meter)
        await self._ground.loop.run_in_executor(self._closing_pool, trim_memory)

    def _gone(
        self, key: VersionKey, gone: "asyncio.Future[None]", closing: "asyncio.Future[None]"
    ) -> None:
        if self.leaving.get(key) is gone:
            del self.leaving[key]
        if closing.cancelled() or closing.exception():
            log.error("%s@%d could not be closed", *key, exc_info=closing.exception())
        else:
            log.info("unloaded %s@%d", *key)
        if not gone.done():
            gone.set_result(None)

    async def close(self, *, timeout_s: float) -> None:
        """Finish what is queued, then unload; what takes longer is left behind."""
        for task in list(self.coming.values()):
            task.cancel()
        models = list(self.loaded.values())
        self.loaded.clear()
        await asyncio.gather(
            *(asyncio.to_thread(model.close, timeout_s=timeout_s) for model in models)
        )
        if self.leaving:
            await asyncio.wait(list(self.leaving.values()), timeout=timeout_s)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._closing_pool.shutdown(wait=False, cancel_futures=True)


def _retrieve(task: "asyncio.Task[LoadedModel]") -> None:
    """Every caller may have left by now; the failure is noted and logged already."""
    if not task.cancelled():
        task.exception()
