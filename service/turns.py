"""Fair turns of many lanes on one device. Knows no graph and no queue.

A lane asks before each run for the threads it will keep busy. Whoever has used the device least
goes first (start-time fair queueing: Goyal, Vin and Cheng 1996), so a slow model makes a fast one
wait for one of its batches at most, and the threads at work never exceed the budget.
"""

import heapq
import itertools
import threading
import time


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
        self._clock_s = self._latest_s = 0.0
        """What the one whose turn began last had used before it, and the most that anyone has."""
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, int, threading.Lock]] = []
        self._lock = threading.Lock()

    def take(self, share: Share, threads: int) -> "Turn":
        """Hold ``threads`` of the device for the length of a ``with`` block. Its entry blocks until
        it is this share's turn.
        """
        return Turn(self, share, threads)

    def enter(self, share: Share, threads: int) -> None:
        with self._lock:
            if not self._waiting and self._free >= threads:
                self._grant(self._start(share), threads)
                return
            gate = self._queue(share, threads)
        gate.acquire()

    def leave(self, share: Share, threads: int, spent_s: float) -> None:
        with self._lock:
            self._give_back(share, threads, spent_s)
            self._grant_waiting()
            if self._free == self.threads:  # nobody was kept waiting, so nobody has a claim
                self._clock_s = self._latest_s

    def renew(self, share: Share, threads: int, spent_s: float, wanted: int) -> None:
        """Leave and enter in one: whoever has more to do stands in line before the next is chosen.
        It would find its place taken otherwise, however little it has used.
        """
        with self._lock:
            self._give_back(share, threads, spent_s)
            gate = self._queue(share, wanted)
            self._grant_waiting()
        gate.acquire()

    # --- under the lock ------------------------------------------------------------------------

    def _start(self, share: Share) -> float:
        # Whoever was idle comes back as an equal: unused time is not saved up.
        share.used_s = max(share.used_s, self._clock_s)
        return share.used_s

    def _queue(self, share: Share, threads: int) -> threading.Lock:
        gate = threading.Lock()
        gate.acquire()
        heapq.heappush(self._waiting, (self._start(share), next(self._numbers), threads, gate))
        return gate

    def _give_back(self, share: Share, threads: int, spent_s: float) -> None:
        share.used_s += spent_s * threads
        self._latest_s = max(self._latest_s, share.used_s)
        self._free += threads

    def _grant_waiting(self) -> None:
        while self._waiting and self._waiting[0][2] <= self._free:
            start_s, _, wanted, gate = heapq.heappop(self._waiting)
            self._grant(start_s, wanted)
            gate.release()

    def _grant(self, start_s: float, threads: int) -> None:
        self._free -= threads
        self._clock_s = max(self._clock_s, start_s)


class Turn:
    """Threads of the device in one lane's hand."""

    __slots__ = ("_share", "_started", "_threads", "_turns")

    def __init__(self, turns: Turns, share: Share, threads: int) -> None:
        self._turns, self._share = turns, share
        self._threads = min(threads, turns.threads)
        self._started = 0.0

    def __enter__(self) -> "Turn":
        self._turns.enter(self._share, self._threads)
        self._started = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._turns.leave(self._share, self._threads, time.monotonic() - self._started)

    def renew(self, threads: int) -> None:
        """Give the turn back and ask for the next one, which this blocks for."""
        wanted = min(threads, self._turns.threads)
        spent_s = time.monotonic() - self._started
        self._turns.renew(self._share, self._threads, spent_s, wanted)
        self._threads, self._started = wanted, time.monotonic()
