"""Fair turns of many lanes on one device. Knows no graph and no queue.

A lane asks before each run for the threads it will keep busy. Whoever has used the device least
goes first (start-time fair queueing: Goyal, Vin and Cheng 1996), so a slow model makes a fast one
wait for one of its batches at most, and the threads at work never exceed the budget.
"""

import contextlib
import heapq
import itertools
import threading
import time
from collections.abc import Iterator


class Share:
    """What one lane has used of the device, in thread-seconds."""

    __slots__ = ("used_s",)

    def __init__(self) -> None:
        self.used_s = 0.0


class Turns:
    """``threads`` that all lanes of a device share."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._free = threads
        self._clock_s = 0.0
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, int, threading.Lock]] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def take(self, share: Share, threads: int) -> Iterator[None]:
        """Hold ``threads`` of the device. Blocks until it is this share's turn."""
        threads = min(threads, self.threads)
        self._enter(share, threads)
        started = time.monotonic()
        try:
            yield
        finally:
            self._leave(share, threads, time.monotonic() - started)

    def _enter(self, share: Share, threads: int) -> None:
        with self._lock:
            # Whoever was idle comes back as an equal: unused time is not saved up.
            share.used_s = max(share.used_s, self._clock_s)
            if not self._waiting and self._free >= threads:
                self._grant(share.used_s, threads)
                return
            gate = threading.Lock()
            gate.acquire()
            heapq.heappush(self._waiting, (share.used_s, next(self._numbers), threads, gate))
        gate.acquire()

    def _leave(self, share: Share, threads: int, spent_s: float) -> None:
        with self._lock:
            share.used_s += spent_s * threads
            self._free += threads
            while self._waiting and self._waiting[0][2] <= self._free:
                start_s, _, wanted, gate = heapq.heappop(self._waiting)
                self._grant(start_s, wanted)
                gate.release()

    def _grant(self, start_s: float, threads: int) -> None:
        self._free -= threads
        self._clock_s = max(self._clock_s, start_s)
