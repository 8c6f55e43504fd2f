"""From an Ask and a loaded model to a Reply: check, encode, queue, give each item its own answer.

All refusals come first, before anything is queued. Knows no wire, no store and no ONNX.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from model_store.errors import ItemError, ItemMismatch
from model_store.inputs.text import TextInput
from model_store.manifest import EXPLAIN, Verb
from model_store.spec import Encoded, Encoder, Parameters, Tensors
from service.errors import BodyTooLarge, ModelFault
from service.explaining import Explaining
from service.loaded import LoadedModel
from service.schema import Ask, Delivered, Reply
from service.telemetry import metered

INLINE_BYTES = 16 * 1024
INLINE_ROWS = 16
"""Less than this is encoded on the event loop: handing it to a thread would cost more."""


class Answering:
    """Answers on the event loop; heavy encoding and decoding goes to ``pool``."""

    def __init__(self, max_rows: int, pool: Executor) -> None:
        self._max_rows, self._pool = max_rows, pool
        self._explaining = Explaining(max_rows, pool)

    async def answer(self, ask: Ask, model: LoadedModel) -> Reply:
        """One answer per item. Raises ItemError (with ``index``) and ServiceError."""
        with metered(model.meter):
            async with asyncio.timeout(max(0.0, ask.deadline - time.monotonic())):
                if ask.verb == EXPLAIN:
                    return await self._explaining.answer(ask, model)
                return await self._answer(ask, model)

    async def _answer(self, ask: Ask, model: LoadedModel) -> Reply:
        verb = model.verb(ask.verb)
        for_input, for_answer = verb.read_parameters(ask.parameters)
        if not ask.items:
            raise ItemMismatch("expected at least one item; got none", field="inputs")
        if len(ask.items) > self._max_rows:
            raise BodyTooLarge(
                f"expected at most {self._max_rows:,} inputs; got {len(ask.items):,}"
            )
        clock = time.monotonic()
        heavy = (
            verb.input.compressed or ask.body_bytes > INLINE_BYTES or len(ask.items) > INLINE_ROWS
        )
        encode = model.encoders[ask.verb]
        arguments = (encode, ask.items, for_input, self._max_rows)
        encoded = await self._blocking(_encode, *arguments) if heavy else _encode(*arguments)
        model.meter.stage("compute_input", time.monotonic() - clock)
        rows, queue_s, compute_s = await self._run(ask, model, verb, encoded)
        clock = time.monotonic()
        heavy = verb.answer.compressed or sum(item.rows for item in encoded) > INLINE_ROWS
        parts = (verb, rows, encoded, for_answer)
        outputs = await self._blocking(_decode, *parts) if heavy else _decode(*parts)
        model.meter.stage("compute_output", time.monotonic() - clock)
        name, version = model.manifest.name, model.manifest.version
        return Reply(name, version, outputs, queue_s, compute_s, _tokens(verb, encoded))

    async def _run(
        self, ask: Ask, model: LoadedModel, verb: Verb, encoded: Sequence[Encoded]
    ) -> tuple[list[Tensors], float, float]:
        """Send rows of each shape as one entry; give each item its own rows back."""
        lane = model.lanes[verb.graph]
        padded, lengths = zip(*(lane.pad(item.tensors) for item in encoded), strict=True)
        model.meter.padded(_cells(item.tensors for item in encoded), _cells(padded))
        groups: dict[object, list[int]] = {}
        for place, tensors in enumerate(padded):
            shape = tuple(array.shape[1:] for array in tensors.values())
            groups.setdefault(shape if lane.has_rows else place, []).append(place)
        waiting = []
        try:
            for places in groups.values():
                joined = _stack([padded[place] for place in places])
                waiting.append(lane.ask(joined, ask.deadline, ask.priority))
            owners = [
                [p for p in places for _ in range(encoded[p].rows)] for places in groups.values()
            ]
            delivered = await _all(waiting, owners)
        finally:
            for future in waiting:
                future.cancel()
        rows: list[Tensors] = [{} for _ in encoded]
        for places, result in zip(groups.values(), delivered, strict=True):
            offset = 0
            for place in places:
                end = offset + encoded[place].rows
                own = result.tensors
                if len(places) > 1:
                    own = {key: array[offset:end] for key, array in own.items()}
                rows[place] = lane.crop(own, lengths[place])
                offset = end
        return rows, max(d.queue_s for d in delivered), max(d.compute_s for d in delivered)

    async def _blocking(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def _encode(
    encode: Encoder, items: Sequence[object], parameters: Parameters, max_rows: int
) -> list[Encoded]:
    encoded: list[Encoded] = []
    rows = 0
    for index, item in enumerate(items):
        try:
            encoded.append(encode(item, parameters))
        except ItemError as error:
            error.index = index
            raise
        rows += encoded[-1].rows
        if rows > max_rows:  # one item may be many rows: stop before they fill the memory
            raise BodyTooLarge(f"expected at most {max_rows:,} rows; got more")
    return encoded


def _decode(
    verb: Verb, rows: Sequence[Tensors], encoded: Sequence[Encoded], parameters: Any
) -> list[dict[str, Any]]:
    return [
        verb.answer.answer(tensors, item.context, parameters)
        for tensors, item in zip(rows, encoded, strict=True)
    ]


def _tokens(verb: Verb, encoded: Sequence[Encoded]) -> int:
    """Tokens of text, before padding; 0 for other kinds."""
    if not isinstance(verb.input, TextInput):
        return 0
    return sum(item.tensors[verb.input.tokens].size for item in encoded)


def _stack(items: Sequence[Tensors]) -> Tensors:
    if len(items) == 1:
        return items[0]
    return {key: np.concatenate([item[key] for item in items]) for key in items[0]}


def _cells(items: Any) -> int:
    return sum(array.size for item in items for array in item.values())


async def _all(
    waiting: "Sequence[asyncio.Future[Delivered]]", owners: Sequence[Sequence[int]]
) -> list[Delivered]:
    pairs = list(zip(waiting, owners, strict=True))
    if len(pairs) == 1:
        return [await _one(*pairs[0])]  # the common case; gather would make a task of it
    return list(await asyncio.gather(*(_one(*pair) for pair in pairs)))


async def _one(future: "asyncio.Future[Delivered]", owners: Sequence[int]) -> Delivered:
    """Await an entry; a fault's row becomes the place of its item in the request."""
    try:
        return await future
    except ModelFault as fault:
        if fault.row is not None:
            fault.row = owners[fault.row]
        raise
