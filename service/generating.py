"""From an Ask to text: check, encode, let the source's graph read, say token by token.

All refusals come first, before anything is queued. Knows no wire, no store and no ONNX.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from model_store.answers.text import MAX_SEED, SamplingParameters, TextAnswer
from model_store.errors import ItemError, ItemMismatch
from model_store.manifest import Verb
from model_store.spec import Encoded, Tensors
from service.decoder.lane import DecoderLane
from service.decoder.sequence import Delta, Sampling, Sequence, TokenScore
from service.decoder.speech import Speech
from service.errors import BodyTooLarge
from service.loaded import LoadedModel
from service.schema import Ask, Reply
from service.telemetry import metered

NOT_BESIDE_BEAMS: dict[str, object] = {
    "temperature": 0, "top_k": 0, "top_p": 1, "min_p": 0, "repetition_penalty": 1, "seed": None,
    "logprobs": None,
}  # fmt: skip
"""What a search for the likeliest text has no use for, and the value that says nothing."""
INLINE_BYTES = 16 * 1024
"""Prompts of fewer bytes are encoded on the event loop: a thread would cost more."""


@dataclass(frozen=True, slots=True)
class Said:
    """What came of an item, or of a copy of it: ``tokens`` chosen and ``text`` that is certain
    by now. Its last one has a ``finish_reason``.
    """

    index: int
    tokens: int
    text: str
    finish_reason: str | None
    scores: tuple[TokenScore, ...]
    prompt_tokens: int


def usage_of(prompt_tokens: int, tokens: int) -> dict[str, int]:
    """What was read and what was said, as clients of language models expect it."""
    return {
        "prompt_tokens": prompt_tokens, "completion_tokens": tokens,
        "total_tokens": prompt_tokens + tokens,
    }  # fmt: skip


class Generating:
    """Asks decoders on the event loop; long prompts are encoded in ``pool``."""

    def __init__(self, max_items: int, pool: Executor) -> None:
        self._max_items, self._pool = max_items, pool

    async def answer(self, ask: Ask, model: LoadedModel) -> Reply:
        """One whole text per item. Raises ItemError (with ``index``) and ServiceError."""
        texts: list[list[Said]] = [[] for _ in range(len(ask.items) * ask.copies)]
        started = time.monotonic()
        async with aclosing(self.stream(ask, model)) as stream:
            async for said in stream:
                texts[said.index].append(said)
        verb = model.verb(ask.verb)
        _, wish = verb.read_parameters(ask.parameters)
        outputs = [verb.answer.answer(*_whole(parts), wish) for parts in texts]
        manifest = model.manifest
        seconds = time.monotonic() - started
        tokens = sum(parts[-1].prompt_tokens for parts in texts[:: ask.copies])
        return Reply(manifest.name, manifest.version, outputs, 0.0, seconds, tokens)

    async def stream(self, ask: Ask, model: LoadedModel) -> AsyncGenerator[Said, None]:
        """What is said of any item, as it is said. Whoever closes it early gives all of it up.
        Raises as :meth:`answer` does.
        """
        with metered(model.meter):
            async with asyncio.timeout(max(0.0, ask.deadline - time.monotonic())):
                sequences, queue = await self._begin(ask, model)
            left = dict(enumerate(sequences))
            try:
                while left:
                    said = await queue.get()
                    if isinstance(said, Exception):
                        raise said
                    if said.finish_reason:
                        del left[said.index]
                    yield said
            finally:
                decoder = model.decoders[model.verb(ask.verb).graph].decoder
                for sequence in left.values():
                    decoder.cancel(sequence)

    async def _begin(
        self, ask: Ask, model: LoadedModel
    ) -> "tuple[list[Sequence], asyncio.Queue[Said | Exception]]":
        verb = model.verb(ask.verb)
        lane, answer = model.decoders[verb.graph], verb.answer
        if not isinstance(answer, TextAnswer):
            raise TypeError(f"a decoder says text, not {answer.kind}")
        for_input, wish = verb.read_parameters(ask.parameters)
        if not ask.items:
            raise ItemMismatch("expected at least one item; got none", field="inputs")
        if (asked := len(ask.items) * ask.copies) > self._max_items:
            raise BodyTooLarge(f"expected at most {self._max_items:,} texts; got {asked:,}")
        sampling = _sampling(wish, answer, lane)
        encode = partial(_encode, model, ask, for_input)
        if ask.body_bytes > INLINE_BYTES:
            encoded = await asyncio.get_running_loop().run_in_executor(self._pool, encode)
        else:
            encoded = encode()
        prompts = [_prompt(item, verb, lane) for item in encoded]
        limits = [_limit(index, prompt, wish, answer, lane) for index, prompt in enumerate(prompts)]
        _check_room(prompts, limits, sampling.beams, lane)
        sources = await _read_sources(ask, model, lane, encoded)
        queue: asyncio.Queue[Said | Exception] = asyncio.Queue()
        seed = secrets.randbelow(MAX_SEED) if wish.seed is None else wish.seed
        sequences: list[Sequence] = []
        pieces = model.pieces[ask.verb]
        try:
            for place in range(len(prompts) * ask.copies):
                index, copy = divmod(place, ask.copies)
                prompt = prompts[index]
                sequence = Sequence(
                    prompt, limits[index], sampling, ask.deadline, Speech(pieces(), wish.stop),
                    partial(_put, queue, place, len(prompt)), ask.priority, seed + copy,
                    sources[index],
                )  # fmt: skip
                lane.decoder.submit(sequence)
                sequences.append(sequence)
        except BaseException:
            for sequence in sequences:
                lane.decoder.cancel(sequence)
            raise
        return sequences, queue


def _put(
    queue: "asyncio.Queue[Said | Exception]", index: int, prompt_tokens: int,
    outcome: Delta | Exception,
) -> None:  # fmt: skip
    if isinstance(outcome, Exception):
        if isinstance(outcome, ItemError):
            outcome.index = index
        queue.put_nowait(outcome)
    elif outcome.text or outcome.finish_reason or outcome.scores or outcome.tokens:
        queue.put_nowait(
            Said(index, outcome.tokens, outcome.text, outcome.finish_reason, outcome.scores,
                 prompt_tokens)
        )  # fmt: skip


def _whole(parts: list[Said]) -> tuple[Tensors, Mapping[str, Any]]:
    """All that was said of one item, as its answer kind takes it."""
    count = sum(part.tokens for part in parts)
    context: dict[str, Any] = {
        "text": "".join([part.text for part in parts]),
        "finish_reason": parts[-1].finish_reason,
    }
    scores = [one for part in parts for one in part.scores]
    if scores:
        context["logprobs"] = [
            {"token": one.text, "logprob": one.logprob,
             "top": [{"token": text, "logprob": value} for text, value in one.top]}
            for one in scores
        ]  # fmt: skip
    return {"tokens": np.zeros((1, count), np.int64)}, context


def _sampling(wish: SamplingParameters, answer: TextAnswer, lane: DecoderLane) -> Sampling:
    """What the caller said, else what the model says. Raises ItemMismatch."""
    given = wish.model_dump(include={*NOT_BESIDE_BEAMS}, exclude_unset=True)
    drawn = [name for name, value in given.items() if value != NOT_BESIDE_BEAMS[name]]
    beams = wish.beams or (1 if drawn else answer.beams)
    if beams > 1 and drawn:
        raise ItemMismatch(f"expected 1 beside {drawn[0]}; got {beams}", field="parameters.beams")
    if beams > lane.rows:
        raise ItemMismatch(
            f"expected at most {lane.rows}, as many texts as this model says at a time; got"
            f" {beams}", field="parameters.beams"
        )  # fmt: skip
    return Sampling(
        temperature=answer.temperature if wish.temperature is None else wish.temperature,
        top_k=wish.top_k, top_p=wish.top_p, min_p=wish.min_p,
        repetition_penalty=wish.repetition_penalty, logprobs=wish.logprobs, beams=beams,
        length_penalty=answer.length_penalty,
    )  # fmt: skip


def _encode(model: LoadedModel, ask: Ask, parameters: Any) -> list[Encoded]:
    encode, found = model.encoders[ask.verb], []
    for index, item in enumerate(ask.items):
        try:
            found.append(encode(item, parameters))
        except ItemError as error:
            error.index = index
            raise
    return found


def _prompt(item: Encoded, verb: Verb, lane: DecoderLane) -> list[int]:
    """What the decoder reads first."""
    start = list(lane.decoding.start)
    if lane.decoding.source:
        return start
    tokens: list[int] = item.tensors[verb.input.tokens][0].tolist()  # type: ignore[union-attr]
    return start + tokens


def _limit(
    index: int, prompt: list[int], wish: SamplingParameters, answer: TextAnswer, lane: DecoderLane
) -> int:
    """How many tokens may be said. Raises ItemMismatch where there is no room for them."""
    room = lane.context - len(prompt)
    if room < (wish.max_tokens or 1):
        want, got = f"at most {lane.context - 1:,}", f"{len(prompt):,}"
        if wish.max_tokens:
            want = f"at most {lane.context:,} with max_tokens"
            got = f"{len(prompt):,} and {wish.max_tokens:,}"
        error = ItemMismatch(
            f"expected a prompt of {want} (the model's context is {lane.context:,} tokens); got"
            f" {got}", field="prompt"
        )  # fmt: skip
        error.index = index
        raise error
    return wish.max_tokens or min(answer.max_tokens, room)


def _check_room(prompts: list[list[int]], limits: list[int], beams: int, lane: DecoderLane) -> None:
    """Raises ItemMismatch for one whose beams need more of the cache than there is."""
    room = lane.decoder.max_tokens
    for index, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
        needed = (len(prompt) + limit) * beams
        if needed > room:
            error = ItemMismatch(
                f"expected so few that all of them fit in the {room:,} tokens of the cache; {beams}"
                f" of {len(prompt) + limit:,} tokens are {needed:,}", field="parameters.beams"
            )  # fmt: skip
            error.index = index
            raise error


async def _read_sources(
    ask: Ask, model: LoadedModel, lane: DecoderLane, encoded: list[Encoded]
) -> list[Tensors]:
    """Each item's row of what the source's graph makes of it, and its mask."""
    source = lane.decoding.source
    if source is None:
        return [{} for _ in encoded]
    reader = model.lanes[source.graph]
    padded = [reader.pad(item.tensors) for item in encoded]
    waiting = [reader.ask(tensors, ask.deadline, ask.priority) for tensors, _ in padded]
    try:
        delivered = await asyncio.gather(*waiting)
    finally:
        for future in waiting:
            future.cancel()
    return [
        {**result.tensors, source.mask: tensors[source.mask]}
        for result, (tensors, _) in zip(delivered, padded, strict=True)
    ]
