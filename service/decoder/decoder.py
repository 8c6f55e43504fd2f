"""Sequences that come and go, one step at a time. Knows no ONNX and no HTTP.

A round reads some of a prompt, then says one token of everything that runs. The rules kept here:

- Whoever waits gets a row as soon as one is free and the cache has room for all it may come to say.
- Prompts are read in pieces that take about as long as a step or two, shorter prompts first, so
  nobody's next token waits long for somebody else's prompt.
- Whoever is gone or late has left before the next step.
- If a step fails it is halved until the culprit stands alone; only the culprit fails.
- Every sequence is told its end exactly once, and nothing that happens in the loop ends the loop.
- The event loop is woken once a round, whoever is told something.
"""

import asyncio
import bisect
import itertools
import logging
import threading
import time
from collections.abc import Sequence as Many

import numpy as np

from model_store.spec import Array
from service.decoder.cache import Cache
from service.decoder.pace import Pace, next_to_read
from service.decoder.prefixes import Prefixes
from service.decoder.rows import Rows
from service.decoder.saying import Outcome, Saying
from service.decoder.sequence import Delta, Sequence
from service.errors import DeadlinePassed, ModelFault, NotReady, Overloaded, ServiceError
from service.token_meter import TokenMeter
from service.turns import Share, Turns

log = logging.getLogger(__name__)

IDLE_S = 5.0
"""After so long without work, memory is given back."""


class Decoder:
    """A queue, one thread, and the rows of one cache."""

    def __init__(
        self, cache: Cache, prefixes: Prefixes, *, name: str, loop: asyncio.AbstractEventLoop,
        turns: Turns, threads: int, max_tokens: int, max_waiting: int, meter: TokenMeter,
    ) -> None:  # fmt: skip
        """``max_tokens`` is the room of the cache, over all rows."""
        self._cache, self._prefixes, self._rows = cache, prefixes, Rows(cache)
        self.max_tokens, self._max_waiting, self._meter = max_tokens, max_waiting, meter
        self._name, self._loop, self._turns, self._threads = name, loop, turns, threads
        self._share = Share()
        self._pace, self._saying = Pace(), Saying(cache, self._rows)
        self._waiting: list[tuple[float, int, Sequence]] = []
        self._numbers = itertools.count()
        self._work = threading.Condition()
        self._closing = False
        self._since = 0.0
        self._told: list[Outcome] = []
        self.reserved = 0
        """Places of the cache that the sequences in hand may come to need."""
        self._thread = threading.Thread(target=self._live, name=f"decoder {name}", daemon=True)
        self._thread.start()

    # --- the event loop's side -----------------------------------------------------------------

    def submit(self, sequence: Sequence) -> None:
        """Queue it; its sink is told all that follows. Raises Overloaded, NotReady."""
        with self._work:
            if self._closing:
                raise NotReady("the model is being unloaded")
            if len(self._waiting) >= self._max_waiting:
                raise Overloaded(
                    f"{len(self._waiting)} sequences are waiting; {self._max_waiting} at most may"
                )
            urgency = sequence.arrived - sequence.priority.value
            bisect.insort(self._waiting, (urgency, next(self._numbers), sequence))
            self._work.notify()

    def cancel(self, sequence: Sequence) -> None:
        """Give up: its rows are free before the next step, and its sink is told nothing more."""
        sequence.cancelled = True
        with self._work:
            self._work.notify()

    def close(self, *, timeout_s: float) -> None:
        """Refuse new sequences, finish those in hand, end the thread. Not on the event loop."""
        with self._work:
            self._closing = True
            self._work.notify()
        self._thread.join(timeout_s)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not self._waiting and not self._rows.taken

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def running_s(self) -> float:
        """How long the round in hand has taken so far; 0 when none is."""
        since = self._since
        return time.monotonic() - since if since else 0.0

    @property
    def waiting(self) -> int:
        """Sequences without a row."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Sequences with a row."""
        return len(set(self._rows.running)) + len(self._rows.reading)

    @property
    def cache_use(self) -> float:
        """Share of the cache's places that hold a token, from 0 to 1."""
        held = sum(len(sequence.said) + sequence.read for sequence in list(self._rows.running))
        held += sum(sequence.read for sequence in list(self._rows.reading))
        return held / self.max_tokens

    # --- the thread's side ---------------------------------------------------------------------

    def _live(self) -> None:
        while True:
            try:
                if not self._await_work():
                    return
                self._work_on()
            except Exception as error:
                if self._loop.is_closed():
                    return  # nobody is left to answer
                log.exception("%s: the decoder stumbled and goes on", self._name)
                self._fail_all(error)

    def _await_work(self) -> bool:
        """False when closed and empty."""
        with self._work:
            while self.idle:
                if self._closing:
                    return False
                if not self._work.wait(IDLE_S):
                    self._cache.idle()
                    self._work.wait()
        return True

    def _work_on(self) -> None:
        """Round after round, each in a turn of its own."""
        with self._turns.take(self._share, self._threads) as turn:
            while True:
                self._since = time.monotonic()
                try:
                    self._round()
                finally:
                    self._since = 0.0
                    self._tell()
                if self.idle:
                    return
                turn.renew(self._threads)

    def _round(self) -> None:
        self._drop()
        self._admit()
        self._read()
        if self._rows.running:
            self._step()

    # --- coming and going ----------------------------------------------------------------------

    def _drop(self) -> None:
        """Whoever is gone or late leaves; of the others nobody notices."""
        now = time.monotonic()
        with self._work:
            kept = [
                place for place in self._waiting
                if not self._is_over(place[2], now, "before its turn came")
            ]  # fmt: skip
            self._waiting = kept
        for sequence in [*self._rows]:
            if self._is_over(sequence, now, "while the model was at it"):
                self._leave(sequence)

    def _is_over(self, sequence: Sequence, now: float, when: str) -> bool:
        if sequence.cancelled:
            return True
        if sequence.deadline <= now:
            self._told.append((sequence, DeadlinePassed(f"the deadline passed {when}")))
            return True
        return False

    def _admit(self) -> None:
        """First come, first served: whoever is next is not overtaken by those who need less."""
        with self._work:
            while self._waiting:
                sequence = self._waiting[0][2]
                if self._rows.taken + sequence.width > self._cache.rows:
                    return
                if self._rows.taken and self.reserved + sequence.most_tokens > self.max_tokens:
                    return
                del self._waiting[0]
                self.reserved += sequence.most_tokens
                self._rows.add(sequence)
                sequence.queue_s = time.monotonic() - sequence.arrived

    def _leave(self, sequence: Sequence) -> None:
        self._rows.leave(sequence)
        self.reserved -= sequence.most_tokens

    def _fail_all(self, error: Exception) -> None:
        """What the loop itself cannot do must not be tried for ever."""
        fault = ModelFault(f"the sequence could not be continued ({type(error).__name__})")
        for sequence in [*self._rows]:
            self._told.append((sequence, fault))
            sequence.rows = []
        self._rows, self.reserved = Rows(self._cache), 0
        self._saying = Saying(self._cache, self._rows)
        self._tell()

    # --- reading and saying --------------------------------------------------------------------

    def _read(self) -> None:
        """Pieces of prompts, for as long as those that run can be made to wait."""
        rows, spent_s = self._rows, 0.0
        while rows.reading:
            size = self._pace.piece(len(rows.running), len(rows.reading), spent_s)
            if not size:
                return
            started = time.monotonic()
            self._read_piece(next_to_read(rows.reading, started), size)
            spent_s += time.monotonic() - started

    def _read_piece(self, sequence: Sequence, size: int) -> None:
        [row] = sequence.rows
        try:
            if not sequence.read:
                self._cache.open(row, sequence.source)
                sequence.read = self._prefixes.restore(row, sequence.prompt)
            piece = sequence.prompt[sequence.read : sequence.read + size]
            started = time.monotonic()
            logits = self._cache.read(row, piece)
            self._pace.read(len(piece), time.monotonic() - started)
        except Exception as error:  # noqa: BLE001 - whatever a graph raises is this prompt's matter
            self._take([(sequence, error)])
            return
        sequence.read += len(piece)
        if not sequence.unread:
            self._prefixes.save(row, sequence.prompt)
            self._rows.join(sequence)
            self._saying.begin(sequence)
            self._take(self._saying.go_on([sequence], logits[None]))

    def _step(self) -> None:
        """One token each of the rows that run."""
        started, running = time.monotonic(), list(self._rows.running)
        parts = self._run(0, len(running))
        if len(parts) == 1 and not isinstance(parts[0], Exception):
            self._take(self._saying.go_on(running, parts[0]))
        else:
            self._take_apart(running, parts)
        self._pace.stepped(time.monotonic() - started)

    def _run(self, start: int, stop: int) -> list[Array | Exception]:
        """Logits of these rows, in order, in as many parts as it took; a row that fails even alone
        is the error it failed with.
        """
        try:
            return [self._cache.step(start, stop)]
        except Exception as error:  # noqa: BLE001 - whatever a graph raises is the step's matter
            if stop - start == 1:
                return [error]
            middle = (start + stop) // 2
            return [*self._run(start, middle), *self._run(middle, stop)]

    def _take_apart(self, running: Many[Sequence], parts: Many[Array | Exception]) -> None:
        """A step that did not succeed as a whole: whose row failed fails, the others go on."""
        sound: list[Sequence] = []
        logits: list[Array] = []
        failed: dict[Sequence, Exception] = {}
        at = 0
        for part in parts:
            if isinstance(part, Exception):
                failed[running[at]] = part
                at += 1
                continue
            sound += running[at : at + len(part)]
            logits += list(part)
            at += len(part)
        kept = [row for row, sequence in enumerate(sound) if sequence not in failed]
        if kept:
            rows = np.stack([logits[row] for row in kept])
            self._take(self._saying.go_on([sound[row] for row in kept], rows))
        self._take(list(failed.items()))

    # --- telling -------------------------------------------------------------------------------

    def _take(self, outcomes: Many[Outcome]) -> None:
        """What is to be told, and whoever has ended leaves."""
        for sequence, outcome in outcomes:
            told = outcome
            if isinstance(outcome, Exception):
                log.error("%s: a sequence failed: %s", self._name, outcome, exc_info=outcome)
                if not isinstance(outcome, ServiceError):
                    told = ModelFault("the model failed on this input")
            self._told.append((sequence, told))
            if isinstance(told, Exception) or told.finish_reason:
                self._leave(sequence)

    def _tell(self) -> None:
        if self._told:
            told, self._told = self._told, []
            self._loop.call_soon_threadsafe(self._hand_out, told)

    def _hand_out(self, told: Many[Outcome]) -> None:
        """On the event loop, once for the whole round."""
        now = time.monotonic()
        for sequence, outcome in told:
            if sequence.cancelled or sequence.ended:
                continue
            sequence.ended = isinstance(outcome, Exception) or bool(outcome.finish_reason)
            try:
                self._count(sequence, outcome, now)
                sequence.sink(outcome)
            except Exception:
                log.exception("a token could not be delivered")  # the others still are

    def _count(self, sequence: Sequence, outcome: Delta | Exception, now: float) -> None:
        meter = self._meter
        if isinstance(outcome, Exception):
            return
        if not sequence.told:
            meter.first_s.observe(now - sequence.arrived)
            meter.queue_s.observe(sequence.queue_s)
            meter.prompt_tokens.observe(len(sequence.prompt))
        elif outcome.tokens:
            meter.between_s.observe(now - sequence.told)
        sequence.told = now
        if outcome.finish_reason:
            meter.said_tokens.observe(len(sequence.said))
            meter.total_s.observe(now - sequence.arrived)
            meter.finished[outcome.finish_reason] += 1
