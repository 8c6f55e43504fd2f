"""Why an answer is what it is: an item is asked about again and again with parts of it left out.

It needs nothing of a model but its answers, so it serves every family alike, through the same lane
as everybody. A request's rows are asked a few at a time, so that others get their turns between.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from model_store.errors import ItemError, ItemMismatch
from model_store.manifest import EXPLAIN, Verb
from model_store.spec import Array, Parameters, Parts, show, show_names
from service.errors import BodyTooLarge
from service.lane import Lane
from service.loaded import LoadedModel
from service.schema import Ask, Reply
from service.shapley import Subsets

AT_ONCE, BYTES_AT_ONCE = 64, 64 * 2**20
"""Rows that are asked together, and what they may take: a graph for pictures of any size gets them
as large as they came.
"""


class ExplainParameters(Parameters):
    """``target``: the label, column or other number of the answer that is explained; the answer's
    own where none is named. ``rows``: about how often the model is asked; more are more precise.
    ``seed``: of the orders in which parts are left out.
    """

    target: str | None = None
    rows: Annotated[int, Field(ge=2, le=8192)] = 512
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class Explaining:
    """Explains on the event loop; items are divided and rows made in ``pool``."""

    def __init__(self, max_items: int, pool: Executor) -> None:
        self._max_items, self._pool = max_items, pool

    async def answer(self, ask: Ask, model: LoadedModel) -> Reply:
        """One explanation per item. Raises NoSuchVerb, ItemError (with ``index``), ServiceError."""
        verb = model.verb(EXPLAIN)
        for_input, wish = verb.read_parameters(ask.parameters, ExplainParameters)
        target = _place(verb, wish.target)
        if not ask.items:
            raise ItemMismatch("expected at least one item; got none", field="inputs")
        if len(ask.items) > self._max_items:
            raise BodyTooLarge(
                f"expected at most {self._max_items:,} inputs; got {len(ask.items):,}"
            )
        divide = await self._blocking(model.divider)
        divided = await self._blocking(_divide, divide, ask.items, for_input)
        spent: Counter[str] = Counter()
        lane = model.lanes[verb.graph]
        outputs = [
            await self._explain(parts, target, wish, verb, lane, ask, spent) for parts in divided
        ]
        manifest = model.manifest
        return Reply(manifest.name, manifest.version, outputs, spent["queue"], spent["compute"])

    async def _explain(
        self, parts: Parts, target: int | None, wish: ExplainParameters, verb: Verb, lane: Lane,
        ask: Ask, spent: "Counter[str]",
    ) -> dict[str, Any]:  # fmt: skip
        subsets = Subsets(len(parts.names), wish.rows, wish.seed)
        size = await self._blocking(rows_at_once, parts)
        found = [
            await self._ask(parts, kept, verb, lane, ask, spent)
            for kept in np.array_split(subsets.keep, -(-len(subsets.keep) // size))
        ]
        amounts = np.concatenate(found).astype(np.float64)
        place = verb.answer.foremost(amounts[-1]) if target is None else target
        numbers = amounts[:, place]
        values = subsets.contributions(numbers)
        return {
            "target": verb.answer.targets[place],
            "value": float(numbers[-1]),
            "baseline": float(numbers[0]),
            "exact": subsets.exact,
            "contributions": [
                {**part, "contribution": value}
                for part, value in zip(parts.names, values.tolist(), strict=True)
            ],
            **await self._blocking(parts.draw, values),
        }

    async def _ask(
        self, parts: Parts, kept: Array, verb: Verb, lane: Lane, ask: Ask, spent: "Counter[str]"
    ) -> Array:
        """The numbers that can be explained, of rows that keep these parts: ``[R, targets]``."""
        rows, lengths = lane.pad(await self._blocking(parts.keep, kept))
        delivered = await lane.ask(rows, ask.deadline, ask.priority)
        spent.update({"queue": delivered.queue_s, "compute": delivered.compute_s})
        return verb.answer.amounts(lane.crop(delivered.tensors, lengths))

    async def _blocking(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def rows_at_once(parts: Parts) -> int:
    """How many rows of this item may be asked together."""
    row = parts.keep(np.ones((1, len(parts.names)), np.bool_))
    return max(1, min(AT_ONCE, BYTES_AT_ONCE // sum(array.nbytes for array in row.values())))


def _place(verb: Verb, target: str | None) -> int | None:
    """Raises ItemMismatch naming what there is."""
    if target is None:
        return None
    targets = verb.answer.targets
    if target not in targets:
        raise ItemMismatch(
            f"expected one of {show_names(targets)}; got {show(target)}", field="parameters.target"
        )
    return targets.index(target)


def _divide(
    divide: Callable[[object, Any], Parts], items: list[object], parameters: Parameters
) -> list[Parts]:
    divided = []
    for index, item in enumerate(items):
        try:
            divided.append(divide(item, parameters))
        except ItemError as error:
            error.index = index
            raise
    return divided
