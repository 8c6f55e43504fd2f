"""A load of texts to continue, and a client that reads them as they are said.

The load is a fixed list, so the server and the graph alone do the very same work: prompts of 8 to
256 tokens and 16 to 128 tokens to say, both drawn evenly, the likeliest token each time.
"""

import asyncio
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import orjson

from service.bench.control import Control
from service.bench.errors import BenchError
from service.bench.exchange import post

PROMPT_TOKENS, SAID_TOKENS = (8, 256), (16, 128)
TEXT, DONE, USAGE = b'{"text"', b"data: [DONE]", re.compile(rb'"completion_tokens":(\d+)')
LONGEST_MARK = 40
STATUS = re.compile(rb"HTTP/1.1 (\d+)")


@dataclass(frozen=True)
class Task:
    """A text to go on with, and by how many tokens."""

    prompt: str
    tokens: tuple[int, ...]
    """The prompt's."""
    wanted: int

    def request(self, control: Control, model: str) -> bytes:
        wish = {"max_tokens": self.wanted, "temperature": 0}
        body = orjson.dumps({"inputs": [self.prompt], "stream": True, "parameters": wish})
        headers = {"content-type": "application/json", **control.headers}
        path = f"{control.prefix}/v1/models/{model}/generate"
        return post(control.netloc, path, headers, body)


def tasks(
    number: int, tokenizer: "Tokenizer", seed: int, prompt_tokens: tuple[int, int] = PROMPT_TOKENS,
    said_tokens: tuple[int, int] = SAID_TOKENS,
) -> list[Task]:  # fmt: skip
    """Prompts of words that the tokenizer knows."""
    rng = random.Random(seed)
    words = sorted(word for word in tokenizer.words() if word.strip().isalpha())
    made = []
    for _ in range(number):
        goal, prompt = rng.randint(*prompt_tokens), ""
        while len(ids := tokenizer.encode(prompt)) < goal:
            prompt += " ".join(["", *rng.choices(words, k=max(1, (goal - len(ids)) // 2))])
        made.append(Task(prompt, tuple(ids), rng.randint(*said_tokens)))
    return made


class Tokenizer:
    """A bundle's own, as much of it as a load needs."""

    def __init__(self, path: str) -> None:
        from tokenizers import Tokenizer as Library

        self._tokenizer = Library.from_file(path)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def words(self) -> list[str]:
        """What each token says by itself."""
        size = self._tokenizer.get_vocab_size()
        found: list[str] = self._tokenizer.decode_batch([[token] for token in range(size)])
        return found


@dataclass
class Heard:
    """What the clients saw, all of them together."""

    seconds: float = 0.0
    tokens: int = 0
    first_s: list[float] = field(default_factory=list)
    """From each request to its first token."""
    gaps_s: list[float] = field(default_factory=list)
    """From each token to the next."""

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


def listen(control: Control, model: str, work: Sequence[Task], connections: int) -> Heard:
    """Send the tasks, so many at a time, each as soon as one before it is done. Raises BenchError
    where an answer is not what was asked for.
    """
    return asyncio.run(_listen(control, model, work, connections))


async def _listen(control: Control, model: str, work: Sequence[Task], connections: int) -> Heard:
    heard, left = Heard(), list(reversed(work))
    loop = asyncio.get_running_loop()
    begin_s = time.perf_counter()

    async def client() -> None:
        _, listener = await loop.create_connection(
            lambda: Listener(heard), control.host, control.port
        )
        try:
            while left:
                task = left.pop()
                await listener.ask(task.request(control, model), task.wanted)
        finally:
            listener.close()

    await asyncio.gather(*(client() for _ in range(min(connections, len(work)))))
    heard.seconds = time.perf_counter() - begin_s
    return heard


class Listener(asyncio.Protocol):
    """One connection. Counts events as they come; every microsecond is taken from the server."""

    _transport: asyncio.Transport

    def __init__(self, heard: Heard) -> None:
        self.heard = heard
        self._last_s = 0.0
        self._began = False
        self._tail = b""
        self._tokens = 0
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    async def ask(self, request: bytes, wanted: int) -> None:
        self._done = asyncio.get_running_loop().create_future()
        self._began, self._tail, self._tokens = False, b"", 0
        self._last_s = time.perf_counter()
        self._transport.write(request)
        await self._done
        if self._tokens != wanted:
            raise BenchError(f"expected {wanted} tokens; got {self._tokens}")
        self.heard.tokens += self._tokens

    def data_received(self, data: bytes) -> None:
        now_s = time.perf_counter()
        if TEXT in data:
            (self.heard.gaps_s if self._began else self.heard.first_s).append(now_s - self._last_s)
            self._began, self._last_s = True, now_s
        whole = self._tail + data
        if not self._began and (status := STATUS.match(whole)) and status[1] != b"200":
            self._fail(f"status {status[1].decode()}: {whole[-300:].decode(errors='replace')}")
        if USAGE.search(whole):
            self._tokens = int(USAGE.findall(whole)[-1])
        if DONE in whole and self._done and not self._done.done():
            self._done.set_result(None)
        self._tail = whole[-LONGEST_MARK:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the server closed the connection")

    def close(self) -> None:
        self._done = None
        self._transport.close()

    def _fail(self, words: str) -> None:
        if self._done and not self._done.done():
            self._done.set_exception(BenchError(words))
