"""Rows cut and joined: none is lost, doubled or out of place."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.spec import Tensors
from service.errors import ModelFault
from service.slices import Slice, checked, concatenate, count, halves, join


@dataclass(eq=False)
class Owner:
    """Rows, each with a number of its own."""

    tensors: Tensors

    @classmethod
    def of(cls, first: int, rows: int) -> "Owner":
        numbers = np.arange(first, first + rows)
        return cls({"x": numbers[:, None].astype(np.float32), "label": numbers})


@st.composite
def batches(draw: st.DrawFn) -> list[Slice[Owner]]:
    """Slices of one to five owners; every row of the batch has another number."""
    batch = []
    for place in range(draw(st.integers(1, 5))):
        rows = draw(st.integers(1, 9))
        start = draw(st.integers(0, rows - 1))
        stop = draw(st.integers(start + 1, rows))
        batch.append((Owner.of(100 * place, rows), start, stop))
    return batch


def numbers(batch: list[Slice[Owner]]) -> list[int]:
    return [n for owner, start, stop in batch for n in owner.tensors["label"][start:stop].tolist()]


@given(batches())
def test_joined_rows_stand_in_the_order_of_their_slices_in_every_tensor(
    batch: list[Slice[Owner]],
) -> None:
    joined = join(batch)
    assert joined["label"].tolist() == numbers(batch)
    assert joined["x"][:, 0].tolist() == numbers(batch)
    assert count(joined) == len(numbers(batch))


def test_rows_of_one_owner_are_not_copied() -> None:
    owner = Owner.of(0, 4)
    joined = join([(owner, 1, 3)])
    assert joined["x"].base is owner.tensors["x"]
    assert joined["label"].tolist() == [1, 2]


@given(batches())
def test_halves_hold_every_row_once_in_order_and_differ_by_one_at_most(
    batch: list[Slice[Owner]],
) -> None:
    rows = len(numbers(batch))
    left, right = halves(batch, rows)
    assert numbers(left) + numbers(right) == numbers(batch)
    assert len(numbers(left)) == rows // 2
    assert all(start < stop for _, start, stop in left + right)


def test_parts_are_joined_tensor_by_tensor() -> None:
    parts = [Owner.of(0, 2).tensors, Owner.of(2, 3).tensors]
    assert concatenate(parts)["label"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "outputs",
    [
        {},
        {"y": np.zeros(())},
        {"y": np.zeros((2, 3))},
        {"y": np.zeros((4, 3))},
        {"y": np.zeros((3, 1)), "z": np.zeros((1, 3))},
    ],
    ids=["none", "a scalar", "too few", "too many", "one of two"],
)
def test_outputs_without_a_row_for_each_row_are_a_fault(outputs: Tensors) -> None:
    with pytest.raises(ModelFault):
        checked(outputs, 3)


def test_outputs_with_a_row_for_each_row_pass() -> None:
    checked({"y": np.zeros((3, 2)), "z": np.zeros(3), "empty": np.zeros((3, 0))}, 3)
