"""What texts that are being said feel of a long prompt that arrives among them.

So many streams run; once all have begun, the prompt arrives. The longest gap of any until its first
token is here is given in the streams' usual gaps: those of before.
"""

import asyncio
from collections.abc import Callable, Sequence
from statistics import median

from service.bench.control import Control
from service.bench.errors import BenchError
from service.bench.report import Column, Record, number
from service.bench.texts import Heard, Listener, Task, Tokenizer, tasks

SHORT_PROMPT, SAID = (32, 32), 400
CALM_S = 0.5
"""The streams are alone for so long before the prompt arrives: their usual gap."""


def measure(
    control: Control, model: str, tokenizer: Tokenizer, streams: int, tokens: int, windows: int,
    seed: int,
) -> Record:  # fmt: skip
    """The figures of a number of arrivals. Raises BenchError."""
    usual_s: list[float] = []
    longest: list[float] = []
    first_s: list[float] = []
    for window in range(windows + 1):
        short = tasks(streams, tokenizer, seed * 1000 + window, SHORT_PROMPT, (SAID, SAID))
        [long] = tasks(1, tokenizer, seed * 1000 + 500 + window, (tokens, tokens), (1, 1))
        before, during, first = asyncio.run(_arrival(control, model, short, long))
        if not window:
            continue  # warm-up
        step_s = median(before.gaps_s)
        usual_s.append(step_s)
        longest.append(max(during.gaps_s) / step_s)
        first_s.append(first)
    return {
        "model": model,
        "concurrency": streams,
        "prompt_tokens": tokens,
        "windows": windows,
        "usual_gap_ms": median(usual_s) * 1e3,
        "longest_gap_steps": median(longest),
        "longest_gap_steps_worst": max(longest),
        "first_token_ms": median(first_s) * 1e3,
    }


async def _arrival(
    control: Control, model: str, short: Sequence[Task], long: Task
) -> tuple[Heard, Heard, float]:
    """What the streams heard before the prompt came and until its first token and the gaps that it
    fell into were over, and when it came, in seconds.
    """
    before, during, alone = Heard(), Heard(), Heard()
    streams = [await _connect(control, before) for _ in short]
    newcomer = await _connect(control, alone)
    said = [
        asyncio.create_task(stream.ask(task.request(control, model), task.wanted))
        for stream, task in zip(streams, short, strict=True)
    ]
    try:
        while len(before.first_s) < len(streams):
            await _while_said(said, 0.01)
        before.gaps_s.clear()
        await _while_said(said, CALM_S)
        for stream in streams:
            stream.heard = during
        await newcomer.ask(long.request(control, model), long.wanted)
        enough = len(during.gaps_s) + len(streams)
        while len(during.gaps_s) < enough:
            await _while_said(said, 0.001)
        for stream in streams:
            stream.heard = Heard()
        await _while_said(said, 0)
    finally:
        for task in said:
            task.cancel()
        await asyncio.gather(*said, return_exceptions=True)
        for listener in (*streams, newcomer):
            listener.close()
    return before, during, alone.first_s[0]


async def _connect(control: Control, heard: Heard) -> Listener:
    loop = asyncio.get_running_loop()
    _, listener = await loop.create_connection(lambda: Listener(heard), control.host, control.port)
    return listener


async def _while_said(said: Sequence[asyncio.Task[None]], seconds: float) -> None:
    """Wait. Raises BenchError where a stream has ended."""
    await asyncio.sleep(seconds)
    for task in said:
        if task.done():
            task.result()
            raise BenchError("a stream ended too soon: the long prompt takes longer than it")


def columns() -> list[Column]:
    shown = (
        ("streams", 7, "concurrency"), ("prompt", 6, "prompt_tokens"),
        ("usual gap ms", 12, "usual_gap_ms"), ("longest, in gaps", 16, "longest_gap_steps"),
        ("worst of all", 12, "longest_gap_steps_worst"), ("first token ms", 14, "first_token_ms"),
    )  # fmt: skip
    return [
        Column("model", 20, lambda found: str(found["model"])),
        *(Column(title, width, _shown(key)) for title, width, key in shown),
    ]


def _shown(key: str) -> Callable[[Record], str]:
    return lambda found: number(found[key])
