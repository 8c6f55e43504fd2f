"""The two loads: closed (each connection sends when its answer has come) and open (requests come
when they come, answered or not).

Both run on the calling thread, which must be the main one of a process that serves nothing: a
client that shares its GIL with a server measures itself.
"""

import asyncio
import gc
import random
import signal
import time
from collections import deque

import uvloop

from service.bench.connection import Connection
from service.bench.errors import BenchError
from service.bench.load import Load, Mark, Take, Target

LEAD_IN_S = 0.1
"""The first answers of a load come from an empty queue; they are not of the steady state."""
LATE_S = 0.001
MAX_OPEN_CONNECTIONS = 256
SHORTEST_ALARM_S = 2e-5


def closed(target: Target, connections: int, window_s: float) -> Take:
    """One window with ``connections`` requests in flight at all times."""
    return _run(_Closed(target, connections, window_s))


def open_loop(target: Target, rate_per_s: float, window_s: float, seed: int) -> Take:
    """One window of Poisson arrivals, the same ones for the same seed. A latency counts from the
    moment the request was due, sent or not, so a server that stalls cannot hide it by keeping the
    client from asking.
    """
    return _run(_Open(target, rate_per_s, window_s, seed))


def _run(load: Load) -> Take:
    gc.collect()
    gc.disable()  # a collection would be a pause of ours in the middle of somebody's latency
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(load.run())
    except OSError as error:
        target = load.target
        words = error.strerror or str(error)
        raise BenchError(f"cannot reach {target.host}:{target.port}: {words}") from None
    finally:
        gc.enable()


class _Closed(Load):
    """The window begins and ends with an answer on the first connection, so that it holds whole
    rounds: a batch of slow rows answers all connections at once, and half a round more or less
    would be most of the result.
    """

    def __init__(self, target: Target, connections: int, window_s: float) -> None:
        super().__init__(target, connections)
        self._window_s = window_s
        self._latencies_s: list[float] = []
        self._round: asyncio.Future[Mark] | None = None

    async def window(self) -> None:
        for connection in self.connections:
            self.ready(connection, time.perf_counter())
        await asyncio.sleep(LEAD_IN_S)
        begin = await self._next_round()
        await asyncio.sleep(self._window_s)
        end = await self._next_round()
        self.sending = False
        self.keep_window(begin, end)
        self.take.latencies_s = self._latencies_s[begin.completed : end.completed]
        await self.drain()

    async def _next_round(self) -> Mark:
        self._round = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(self._round, self.target.timeout_s)
        except TimeoutError:
            return self.mark(time.perf_counter())
        finally:
            self._round = None

    def ready(self, connection: Connection, now_s: float) -> None:
        if self._round is not None and connection is self.connections[0]:
            self._round.set_result(self.mark(now_s))
            self._round = None
        if self.sending:
            connection.send(self.next_exchange(), now_s)

    def measure(self, connection: Connection, now_s: float) -> None:
        self._latencies_s.append(now_s - connection.began_s)


class _Open(Load):
    """Arrivals wait here while no connection is free; their latency counts on."""

    def __init__(self, target: Target, rate_per_s: float, window_s: float, seed: int) -> None:
        super().__init__(target, min(MAX_OPEN_CONNECTIONS, max(8, int(rate_per_s))))
        self._window_s = window_s
        self._coming_s = deque(arrivals_s(rate_per_s, window_s, seed))
        self._free: list[Connection] = []
        self._waiting: deque[float] = deque()
        self._begin_s = self._end_s = 0.0
        self._all_due = asyncio.Event()

    async def window(self) -> None:
        loop = asyncio.get_running_loop()
        self._free = list(self.connections)
        self._begin_s = time.perf_counter() + LEAD_IN_S
        self._end_s = self._begin_s + self._window_s
        # The loop's own timers count milliseconds, several times what a small model takes.
        loop.add_signal_handler(signal.SIGALRM, self._tick)
        try:
            self._tick()
            begin = await self._mark_at(self._begin_s)
            end = await self._mark_at(self._end_s)
            await self._all_due.wait()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            loop.remove_signal_handler(signal.SIGALRM)
        self.keep_window(begin, end)
        await self.drain()

    async def _mark_at(self, at_s: float) -> Mark:
        await asyncio.sleep(at_s - time.perf_counter())
        return self.mark(time.perf_counter())

    async def drain(self) -> None:
        while self._waiting:  # noqa: ASYNC110 - as in Load.drain
            await asyncio.sleep(0.001)
        self.sending = False
        await super().drain()

    def _tick(self) -> None:
        """Send what is due and set the alarm for what comes next."""
        now_s, coming_s = time.perf_counter(), self._coming_s
        while coming_s and self._begin_s + coming_s[0] <= now_s:
            self._waiting.append(self._begin_s + coming_s.popleft())
        while self._waiting and self._free:
            self._send(self._free.pop(), now_s)
        if coming_s:
            pause_s = self._begin_s + coming_s[0] - time.perf_counter()
            signal.setitimer(signal.ITIMER_REAL, max(SHORTEST_ALARM_S, pause_s))
        else:
            self._all_due.set()

    def _send(self, connection: Connection, now_s: float) -> None:
        due_s = self._waiting.popleft()
        if now_s - due_s > LATE_S and self._counts(due_s):
            self.take.late += 1
        connection.send(self.next_exchange(), due_s)

    def _counts(self, due_s: float) -> bool:
        return self._begin_s <= due_s < self._end_s

    def ready(self, connection: Connection, now_s: float) -> None:
        if self._waiting:
            self._send(connection, now_s)
        else:
            self._free.append(connection)

    def lost(self, connection: Connection, in_flight: bool) -> None:
        if connection in self._free:
            self._free.remove(connection)
        super().lost(connection, in_flight)

    def measure(self, connection: Connection, now_s: float) -> None:
        if self._counts(connection.began_s):
            self.take.latencies_s.append(now_s - connection.began_s)

    def expire(self, now_s: float) -> None:
        super().expire(now_s)
        while self._waiting and now_s - self._waiting[0] > self.target.timeout_s:
            self.give_up(self._waiting.popleft(), now_s)

    def give_up(self, began_s: float, now_s: float) -> None:
        super().give_up(began_s, now_s)
        if self._counts(began_s):
            self.take.dropped += 1
            self.take.latencies_s.append(now_s - began_s)  # it took at least that


def arrivals_s(rate_per_s: float, window_s: float, seed: int) -> list[float]:
    """Seconds after the window's begin, in order; those of the lead-in are negative.

    A Poisson process of which the number of arrivals is known is so many uniform draws. The number
    is what was asked for, or a short window at a low rate would be more of a lottery than a load.
    """
    draw = random.Random(seed)
    before = [-LEAD_IN_S * draw.random() for _ in range(round(rate_per_s * LEAD_IN_S))]
    within = [window_s * draw.random() for _ in range(round(rate_per_s * window_s))]
    return sorted(before + within)
