"""What every load has: connections that are kept open, answers that are counted and sampled.

When a request is sent is the business of ``client``; how its bytes look, of ``exchange``.
"""

import asyncio
import resource
import time
from abc import ABC, abstractmethod
from array import array
from collections import Counter
from collections.abc import Coroutine, MutableSequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from service.bench.connection import Connection
from service.bench.exchange import Exchange, Head

OK = "200"
REFUSED = ("429", "503")
"""Overload, said at the door: no error of the server, but no answer either."""
SAMPLE_FIRST = 16
SAMPLE_EVERY = 61
"""A prime, so that no body of the rotation can hide from the samples."""
MAX_SAMPLE_BYTES = 32 * 2**20
SWEEP_S = 0.05
RETRY_S = 0.05


@dataclass(frozen=True)
class Target:
    """Where to, what, and how long to wait for an answer."""

    host: str
    port: int
    exchanges: tuple[Exchange, ...]
    timeout_s: float = 30.0


@dataclass
class Take:
    """What one window measured. Times and counts are of the window; what says so is of the whole
    load, the moments before and after the window too.
    """

    seconds: float = 0.0
    completed: int = 0
    """Answers of the right status and length."""
    answered: int = 0
    """The same over the whole load."""
    latencies_s: MutableSequence[float] = field(default_factory=list)
    client_cpu_s: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    """Of the whole load, by HTTP status or by what happened instead of one."""
    refused_s: list[float] = field(default_factory=list)
    """How long the server took to say that it has too much to do, over the whole load."""
    samples: list[tuple[Exchange, bytes]] = field(default_factory=list)
    """Of the whole load: responses in full, to be read when no time is measured any more."""
    late: int = 0
    """Open loop: requests that went out more than a millisecond after their time."""
    dropped: int = 0
    """Open loop: requests without an answer when the timeout was over."""

    @property
    def requests_per_s(self) -> float:
        return self.completed / self.seconds if self.seconds else 0.0


class Mark(NamedTuple):
    """The counters at one moment; a window lies between two."""

    at_s: float
    completed: int
    cpu_s: float


class Load(ABC):
    """A number of connections to one target. Subclasses decide when each of them sends."""

    def __init__(self, target: Target, connections: int) -> None:
        self.target = target
        self.take = Take()
        self.connections: list[Connection] = []
        self.sending = True
        self.completed = 0
        self._wanted = connections
        self._turn = 0
        self._next_sample = 1
        self._sample_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> Take:
        """Raises OSError where nobody listens."""
        try:
            for _ in range(self._wanted):
                await self._connect()
            self._start(self._sweep())
            await self.window()
        finally:
            self._close()
        self.take.answered = self.completed
        self.take.latencies_s = array("d", self.take.latencies_s)  # a hundred windows are kept
        return self.take

    @abstractmethod
    async def window(self) -> None:
        """From the first request to the last answer."""

    @abstractmethod
    def ready(self, connection: Connection, now_s: float) -> None:
        """Nothing is in flight here: send the next, or keep the connection for later."""

    @abstractmethod
    def measure(self, connection: Connection, now_s: float) -> None:
        """A right answer has come."""

    def expire(self, now_s: float) -> None:
        """Give up what is older than the timeout."""
        for connection in list(self.connections):
            if connection.exchange and now_s - connection.began_s > self.target.timeout_s:
                self.give_up(connection.began_s, now_s)
                connection.forget()

    def give_up(self, began_s: float, now_s: float) -> None:
        """A request has been waited for in vain."""
        self.take.errors["timeout"] += 1

    # --- what a connection says ----------------------------------------------------------------

    def answered(
        self, connection: Connection, exchange: Exchange, head: Head, response: bytes
    ) -> None:
        now_s = time.perf_counter()
        if head.status in REFUSED:
            self.take.refused_s.append(now_s - connection.sent_s)
        elif head.status != OK:
            self.take.errors[head.status] += 1
        elif not exchange.fits(response, head):
            self.take.errors["wrong length"] += 1
        else:
            self.completed += 1
            self.measure(connection, now_s)
            if self.completed == self._next_sample:
                self._sample(exchange, response)
        self.ready(connection, now_s)

    def lost(self, connection: Connection, in_flight: bool) -> None:
        if connection not in self.connections:
            return
        self.connections.remove(connection)
        if in_flight:
            self.take.errors["connection lost"] += 1
        if self.sending:
            self._start(self._reopen())

    # --- for subclasses ------------------------------------------------------------------------

    def next_exchange(self) -> Exchange:
        self._turn = (self._turn + 1) % len(self.target.exchanges)
        return self.target.exchanges[self._turn]

    def mark(self, now_s: float) -> Mark:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Mark(now_s, self.completed, used.ru_utime + used.ru_stime)

    def keep_window(self, begin: Mark, end: Mark) -> None:
        self.take.seconds = end.at_s - begin.at_s
        self.take.completed = end.completed - begin.completed
        self.take.client_cpu_s = end.cpu_s - begin.cpu_s

    async def drain(self) -> None:
        """Until nothing is in flight; what never comes is given up after the timeout."""
        # Looked for now and then: to be told by the last one would cost each answer a count.
        while any(connection.exchange for connection in self.connections):  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    # --- inner ---------------------------------------------------------------------------------

    def _sample(self, exchange: Exchange, response: bytes) -> None:
        self._next_sample += 1 if self.completed < SAMPLE_FIRST else SAMPLE_EVERY
        self._sample_bytes += len(response)
        if self._sample_bytes <= MAX_SAMPLE_BYTES:
            self.take.samples.append((exchange, response))

    async def _connect(self) -> Connection:
        loop, target = asyncio.get_running_loop(), self.target
        made = await loop.create_connection(lambda: Connection(self), target.host, target.port)
        self.connections.append(made[1])
        return made[1]

    async def _reopen(self) -> None:
        while self.sending:
            try:
                connection = await self._connect()
            except OSError:
                self.take.errors["no connection"] += 1
                await asyncio.sleep(RETRY_S)
            else:
                self.ready(connection, time.perf_counter())
                return

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.expire(time.perf_counter())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _close(self) -> None:
        self.sending = False
        for task in self._tasks:
            task.cancel()
        left, self.connections = self.connections, []
        for connection in left:
            connection.forget()
