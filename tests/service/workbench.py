"""A batcher under glass: its runs can be held and let go by hand, in threads as on the event loop.

What every entry was told is kept, and at the end each must have been told once, on the event loop.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from model_store.spec import Tensors
from service.batcher import Batcher
from service.entry import Entry, Way
from service.errors import OutOfMemory
from service.schema import BatchReport, Delivered, Priority
from service.turns import Turns

PATIENCE_S = 20.0
"""Longer than anything here takes; only a broken law waits for it."""
NEVER = 1e12
LONG_S = 1000.0
POISON = -1.0
PLUG = 0.0

WAYS = {"inline": 0, "thread": 1, "crew": 3}
"""Who runs the batches: the event loop, one thread, or several at once."""
Answer: TypeAlias = "asyncio.Future[Delivered]"


class Clock:
    """Stands in for a module's ``time``: moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Loop:
    """The event loop as a batcher sees it; may keep back what is to be called soon."""

    def __init__(self) -> None:
        self._real = asyncio.get_running_loop()
        self._kept: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        self.shut = False
        self.calls = 0

    def call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        self.calls += 1
        if self.shut:
            self._kept.append((function, arguments))
        else:
            self._real.call_soon(function, *arguments)

    def call_soon_threadsafe(self, function: Callable[..., object], *arguments: object) -> None:
        self._real.call_soon_threadsafe(function, *arguments)

    def is_closed(self) -> bool:
        return self._real.is_closed()

    def open(self) -> None:
        self.shut, kept, self._kept = False, self._kept, []
        for function, arguments in kept:
            self._real.call_soon(function, *arguments)


class Workbench:
    """A batcher whose run doubles each row, fails on poison, notes every batch, and can be held.

    ``work`` stands in for the doubling; ``alone`` for the whole run, which then cannot be held.
    """

    def __init__(
        self, way: str = "thread", work: Callable[[Tensors], Tensors] | None = None, **options: Any
    ) -> None:
        self._work = work or self._double
        self.batches: list[list[float]] = []
        """The first cell of each row of every run that has begun since the last :meth:`hold`."""
        self.reports: list[BatchReport] = []
        self.room = 1_000_000
        """Rows that fit the memory."""
        self.complaints: list[str] = []
        self.loop = Loop()
        self._workers = WAYS[way]
        self._gate = threading.Condition()
        self._open, self._steps = True, 0
        self._entered = threading.Semaphore(0)
        self._told: dict[Answer, tuple[Entry, list[object]]] = {}
        crew = max(1, self._workers)
        settings: dict[str, Any] = {
            "name": "bench", "loop": self.loop, "max_rows": 8, "max_queue_rows": 1000,
            "workers": self._workers, "turns": Turns(crew), "tell": self.reports.append, **options,
        }  # fmt: skip
        self.batcher = Batcher(settings.pop("alone", Way(self.run)), **settings)

    def run(self, tensors: Tensors) -> Tensors:
        rows = tensors["x"]
        firsts = [np.ravel(row)[:1].tolist() for row in np.atleast_1d(rows)]
        self.batches.append([cell for cells in firsts for cell in cells])
        self._entered.release()
        with self._gate:
            assert self._gate.wait_for(lambda: self._open or self._steps, PATIENCE_S)
            self._steps -= not self._open
        return self._work(tensors)

    def _double(self, tensors: Tensors) -> Tensors:
        rows = tensors["x"]
        if len(rows) > self.room:
            raise OutOfMemory("no room")
        if (rows == POISON).any():
            raise ValueError("poison")
        return {"y": rows * 2}

    # --- asking --------------------------------------------------------------------------------

    def submit(
        self, *values: float, width: int = 1, deadline: float = NEVER,
        priority: Priority = Priority.NORMAL,
    ) -> Answer:  # fmt: skip
        rows = np.array(values, dtype=np.float32)[:, None].repeat(width, axis=1)
        return self.put({"x": rows}, deadline, priority)

    def put(
        self, tensors: Tensors, deadline: float = NEVER, priority: Priority = Priority.NORMAL
    ) -> Answer:
        future: Answer = asyncio.get_running_loop().create_future()
        told: list[object] = []

        def done(outcome: Delivered | Exception) -> None:
            told.append(outcome)
            if threading.current_thread() is not threading.main_thread():
                self.complaints.append("told in a thread and not on the event loop")
            if future.done():
                self.complaints.append(f"told {outcome!r} after the end")
            elif isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self._told[future] = self.batcher.submit(tensors, deadline, done, priority), told
        return future

    def told(self, future: Answer) -> tuple[Entry, list[object]]:
        """Its entry in the batcher, and what it was told so far."""
        return self._told[future]

    def cancel(self, future: Answer) -> None:
        """Give up, as a client that goes away does."""
        self.batcher.cancel(self._told[future][0])
        future.cancel()

    # --- holding -------------------------------------------------------------------------------

    async def hold(self) -> Answer:
        """From now on nothing that is submitted is run, until :meth:`step` or :meth:`release`.

        Every worker is kept busy with a row of its own; the last one's answer is returned.
        """
        await until(lambda: self.batcher.idle)
        if not self._workers:
            plug = self.submit(PLUG)
            await answer(plug)
            self.shut()
        else:
            self.shut()
            while self._entered.acquire(blocking=False):
                pass  # runs that nobody waited for
            for _ in range(self._workers):
                plug = self.submit(PLUG)
                await self.entered()
        self.batches.clear()
        self.reports.clear()
        return plug

    def shut(self) -> None:
        """Let no run end (in threads) or begin (on the event loop)."""
        if not self._workers:
            self.loop.shut = True
            return
        with self._gate:
            self._open, self._steps = False, 0

    async def step(self) -> None:
        """Let a run in hand end, and wait until the next one has begun. In threads only."""
        with self._gate:
            self._steps += 1
            self._gate.notify()
        await self.entered()

    def release(self) -> None:
        """Let everything run from now on."""
        self.loop.open()
        with self._gate:
            self._open = True
            self._gate.notify_all()

    async def entered(self) -> None:
        """Wait until one more run has begun."""
        assert await asyncio.to_thread(self._entered.acquire, timeout=PATIENCE_S)

    async def close(self) -> None:
        """End it, and see that each entry that was accepted was told once, and none that left."""
        self.release()
        await asyncio.to_thread(self.batcher.close, timeout_s=PATIENCE_S)
        assert self.batcher.idle
        assert self.batcher.queued_rows == 0
        assert not (self._workers and self.batcher.alive)
        await asyncio.sleep(0)  # what the last thread handed to the event loop
        for future, (_, told) in self._told.items():
            assert len(told) == (not future.cancelled())
        assert self.complaints == []


async def until(happened: Callable[[], object]) -> None:
    """Wait for what other threads do."""
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


async def answer(future: Answer) -> list[float]:
    delivered = await asyncio.wait_for(future, PATIENCE_S)
    values: list[float] = delivered.tensors["y"][:, 0].tolist()
    return values
