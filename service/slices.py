"""Cutting and joining rows of tensors: what a batch is made of. Pure functions."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias, TypeVar

import numpy as np

from model_store.spec import Tensors
from service.errors import ModelFault


class Owner(Protocol):
    """Whoever has rows in a batch."""

    tensors: Tensors


O = TypeVar("O", bound=Owner)  # noqa: E741
Slice: TypeAlias = tuple[O, int, int]
"""Rows ``start`` to ``stop`` of an owner."""


def count(tensors: Tensors) -> int:
    """Rows."""
    return len(next(iter(tensors.values())))


def join(batch: Sequence[Slice[O]]) -> Tensors:
    """One array per tensor, ``[rows of the batch, …]``; a view where one owner is all."""
    owner, start, stop = batch[0]
    if len(batch) == 1:
        return {name: array[start:stop] for name, array in owner.tensors.items()}
    return {
        name: np.concatenate([owner.tensors[name][start:stop] for owner, start, stop in batch])
        for name in owner.tensors
    }


def concatenate(parts: Sequence[Tensors]) -> Tensors:
    """Parts in order → whole."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def checked(outputs: Tensors, rows: int) -> None:
    """Raises ModelFault where an output has not one entry per row, or there is none."""
    if not outputs:
        raise ModelFault("it gave no output")
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != rows:
            raise ModelFault(f"output {name} has shape {array.shape} for {rows} rows")


def halves(batch: Sequence[Slice[O]], rows: int) -> tuple[list[Slice[O]], list[Slice[O]]]:
    """Two lists of slices with half the rows each, in order."""
    left: list[Slice[O]] = []
    right: list[Slice[O]] = []
    room = rows // 2
    for owner, start, stop in batch:
        cut = min(stop, start + room)
        room -= cut - start
        if cut > start:
            left.append((owner, start, cut))
        if stop > cut:
            right.append((owner, cut, stop))
    return left, right
