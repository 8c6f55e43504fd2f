import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.errors import ItemError, ItemMismatch
from model_store.spec import FLOAT32_MAX, Encoded, numbers, show, show_names


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("short", "'short'"),
        ("x" * 60, repr("x" * 60)),
        ("x" * 61, "'" + "x" * 59 + "…"),
        (1.5, "1.5"),
        (None, "None"),
        (True, "True"),
        (b"12345", "5 bytes"),
        ([1, 2, 3], "a list of 3"),
        ({"a": 1}, "a mapping of 1"),
        (10**100, "1" + "0" * 59 + "…"),
    ],
)
def test_what_came_is_shown_short(value: object, words: str) -> None:
    assert show(value) == words


@given(st.text() | st.integers() | st.floats() | st.binary())
def test_what_is_shown_is_never_long(value: object) -> None:
    assert len(show(value)) <= 63


def test_many_names_are_cut_and_counted() -> None:
    assert show_names(["a", "b"]) == "['a', 'b']"
    assert show_names(range(25), limit=3) == "[0, 1, 2] and 22 more"


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2], [3]],
        [[1, 2], 3],
        ["1"],
        [None],
        [True, False],
        [{}],
        {"a": 1},
        None,
        "7",
        [float("nan")],
        [float("inf")],
        [-float("inf")],
        [1e39],
        [10**400],
        [1.0, 10**400],
        [2**128],
    ],
)
def test_what_is_not_finite_numbers_is_a_mismatch_with_the_field(value: object) -> None:
    with pytest.raises(ItemMismatch, match=r"^place: expected .*; got ") as caught:
        numbers(value, field="place")
    assert caught.value.field == "place"


def test_too_deep_a_nest_is_a_mismatch() -> None:
    nest: list[object] = []
    for _ in range(5_000):
        nest = [nest]
    with pytest.raises(ItemMismatch):
        numbers(nest, field="place")


@given(st.lists(st.integers(-(2**63), 2**63) | st.floats(-FLOAT32_MAX, FLOAT32_MAX), min_size=1))
def test_numbers_of_any_size_that_float32_holds_come_through(values: list[float]) -> None:
    array = numbers(values, field="place")
    assert array.dtype == np.float64
    np.testing.assert_allclose(array, values)
    assert np.isfinite(array.astype(np.float32)).all()


def test_rows_are_the_length_of_the_first_axis() -> None:
    assert Encoded({"a": np.zeros((3, 2))}).rows == 3


def test_without_a_row_axis_all_is_one_row() -> None:
    assert Encoded({"a": np.zeros((3, 2))}, row_axis=False).rows == 1
    assert Encoded({"a": np.zeros(())}, row_axis=False).rows == 1


def test_an_item_error_says_its_field_first() -> None:
    assert str(ItemError("expected x; got y", field="label")) == "label: expected x; got y"
    assert str(ItemError("expected x; got y")) == "expected x; got y"
