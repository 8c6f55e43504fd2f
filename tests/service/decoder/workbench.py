"""A decoder under glass: a real cache over a real graph, whose runs are noted and can be held.

What every sequence was told is kept, and at the end each must have been told its end once, on the
event loop, and every row and every place must be free again.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from model_store.answers.text import TextAnswer
from model_store.spec import Array
from service.decoder import lane
from service.decoder.decoder import Decoder
from service.decoder.prefixes import Prefixes
from service.decoder.sequence import Delta, Sampling
from service.decoder.sequence import Sequence as Spoken
from service.decoder.speech import Speech
from service.errors import ServiceError
from service.runner import Runner
from service.schema import Priority
from service.token_meter import TokenMeter
from service.turns import Turns
from tests.service.decoder.bundles import CONTEXT, Form, walker
from tests.service.workbench import NEVER, PATIENCE_S, until

GREEDY = Sampling(temperature=0)


class Run(NamedTuple):
    """One run of the graph. A step is of the rows from ``start`` to ``stop``; a read is of so many
    ``tokens`` into row ``start``.
    """

    what: str
    start: int
    stop: int
    tokens: int


@dataclass(eq=False)
class Voice:
    """One sequence, and all that its caller was told."""

    spoken: Spoken
    told: list[Delta | Exception] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def text(self) -> str:
        return "".join(told.text for told in self.told if isinstance(told, Delta))

    @property
    def tokens(self) -> list[int]:
        return list(self.spoken.said)

    @property
    def ends(self) -> list[Delta | Exception]:
        return [one for one in self.told if isinstance(one, Exception) or one.finish_reason]

    async def end(self) -> str:
        """Why it ended. Raises what it failed with."""
        await asyncio.wait_for(self.over.wait(), PATIENCE_S)
        last = self.told[-1]
        if isinstance(last, Exception):
            raise last
        assert last.finish_reason
        return last.finish_reason


class Bench:
    """A decoder of ``rows`` rows over the walker of one form."""

    def __init__(
        self, folder: Path, form: Form, *, rows: int = 8, max_tokens: int | None = None,
        max_waiting: int = 1000, prefix_bytes: int = 0, device: Any = "cpu", **made: Any,
    ) -> None:  # fmt: skip
        folder.mkdir(exist_ok=True)
        graph = walker(folder, form, **made).graphs["model"]
        assert graph.decoding
        self.runs: list[Run] = []
        self.trouble: Callable[[Run], None] = lambda _: None
        """Called before each run, in the decoder's thread; what it raises, the run raises."""
        self.before_copy: Callable[[], None] = lambda: None
        self._gate, self._open, self._steps = threading.Condition(), True, 0
        self._entered = threading.Semaphore(0)
        self.runner = Runner(folder / graph.file, device=device, threads=1)
        self.cache = self._watched(lane.FORMS[form])(self.runner, graph, graph.decoding, rows)
        self.pieces = TextAnswer().pieces(folder)
        self.meter = TokenMeter()
        self.prefixes = Prefixes(self.cache, prefix_bytes)
        self.max_tokens = max_tokens or rows * CONTEXT
        self.decoder = Decoder(
            self.cache, self.prefixes, name="bench", loop=asyncio.get_running_loop(),
            turns=Turns(1), threads=1, max_tokens=self.max_tokens, max_waiting=max_waiting,
            meter=self.meter,
        )  # fmt: skip
        self.voices: list[Voice] = []
        self.ended: list[Voice] = []
        """In the order in which they were told their ends."""
        self.most_reserved = 0
        self._complaints: list[str] = []

    def _watched(self, kind: Any) -> Any:
        bench = self

        class Watched(kind):  # type: ignore[misc]
            """The real one, whose runs are noted and wait at the gate."""

            def read(self, row: int, tokens: Sequence[int]) -> Array:
                bench._enter(Run("read", row, row + 1, len(tokens)))
                found: Array = super().read(row, tokens)
                return found

            def step(self, start: int, stop: int) -> Array:
                bench._enter(Run("step", start, stop, 1))
                found: Array = super().step(start, stop)
                return found

            def copy(self, source: Sequence[int], target: Sequence[int]) -> None:
                bench.before_copy()
                super().copy(source, target)

        return Watched

    def _enter(self, run: Run) -> None:
        self.runs.append(run)
        self.most_reserved = max(self.most_reserved, self.decoder.reserved)
        self._entered.release()
        with self._gate:
            assert self._gate.wait_for(lambda: self._open or self._steps, PATIENCE_S)
            self._steps -= not self._open
        self.trouble(run)

    # --- asking --------------------------------------------------------------------------------

    def say(
        self, prompt: list[int], limit: int = 12, sampling: Sampling = GREEDY, *,
        deadline: float = NEVER, stops: Sequence[str] = (), priority: Priority = Priority.NORMAL,
        seed: int = 0,
    ) -> Voice:  # fmt: skip
        def sink(outcome: Delta | Exception) -> None:
            if threading.current_thread() is not threading.main_thread():
                self._complaints.append("told in a thread and not on the event loop")
            if voice.over.is_set():
                self._complaints.append(f"told {outcome!r} after its end")
            voice.told.append(outcome)
            if isinstance(outcome, Exception) or outcome.finish_reason:
                bench.ended.append(voice)
                voice.over.set()

        bench = self
        speech = Speech(self.pieces(), stops)
        spoken = Spoken(prompt, limit, sampling, deadline, speech, sink, priority, seed)
        voice = Voice(spoken)
        self.decoder.submit(spoken)
        self.voices.append(voice)
        return voice

    async def hear(self, *wishes: Any, **more: Any) -> str:
        """All that one sequence says."""
        voice = self.say(*wishes, **more)
        await voice.end()
        return voice.text

    # --- holding -------------------------------------------------------------------------------

    def shut(self) -> None:
        """Let no run go on until :meth:`step` or :meth:`release`."""
        while self._entered.acquire(blocking=False):
            pass
        with self._gate:
            self._open, self._steps = False, 0

    async def entered(self) -> Run:
        """Wait until one more run has begun, and stands at the gate."""
        assert await asyncio.to_thread(self._entered.acquire, timeout=PATIENCE_S)
        return self.runs[-1]

    async def step(self) -> Run:
        """Let the run at the gate end, and wait for the next one."""
        with self._gate:
            self._steps += 1
            self._gate.notify()
        return await self.entered()

    def release(self) -> None:
        with self._gate:
            self._open = True
            self._gate.notify_all()

    async def close(self) -> None:
        """End it, and see that every law of the books was kept."""
        self.release()
        await asyncio.to_thread(self.decoder.close, timeout_s=PATIENCE_S)
        assert not self.decoder.alive
        await asyncio.sleep(0)  # what the thread handed to the event loop last
        assert self.decoder.idle
        assert (self.decoder.running, self.decoder.waiting, self.decoder.reserved) == (0, 0, 0)
        assert self.decoder.cache_use == 0
        for voice in self.voices:
            assert len(voice.ends) == 1 or (voice.spoken.cancelled and not voice.ends)
        assert self._complaints == []
        self.runner.close()


async def failure(voice: Voice) -> ServiceError:
    """What a sequence failed with."""
    try:
        reason = await voice.end()
    except ServiceError as error:
        return error
    raise AssertionError(f"it ended well: {reason}")


async def drained(bench: Bench) -> None:
    """Wait until nothing runs and nothing waits."""
    await until(lambda: bench.decoder.idle)


def soon(seconds: float) -> float:
    return time.monotonic() + seconds
