from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_store.errors import ItemMismatch, ItemTooLarge
from model_store.inputs.series import SeriesInput
from model_store.spec import FLOAT32_MAX, Array, Encoded

TWO = SeriesInput(columns=("load", "heat"), length=3)
ONE = SeriesInput(columns=("load",), length=3)


def encode(item: object, spec: SeriesInput = TWO) -> Encoded:
    return spec.encoder(Path())(item, None)


def steps(item: object, spec: SeriesInput = TWO) -> Array:
    [array] = encode(item, spec).tensors["series"]
    return np.asarray(array)


def test_rows_and_columns_are_the_same_series() -> None:
    rows = [[1, 10], [2, 20], [3, 30]]
    columns = {"heat": [10, 20, 30], "load": [1, 2, 3]}  # in any order
    for item in (rows, columns):
        array = encode(item).tensors["series"]
        assert array.dtype == np.float32
        assert array.tolist() == [[[1, 10], [2, 20], [3, 30]]]


def test_a_single_column_may_be_a_plain_list() -> None:
    for item in ([1, 2, 3], [[1], [2], [3]], {"load": [1, 2, 3]}):
        assert steps(item, ONE).tolist() == [[1], [2], [3]]


def test_of_a_longer_series_the_last_steps_count() -> None:
    assert steps([5, 6, 7, 8, 9], ONE).tolist() == [[7], [8], [9]]
    assert encode([5, 6, 7, 8, 9], ONE).context == {"steps": 5}


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ([[1, 10], [2, 20]], "expected at least 3 steps; got 2"),
        ([], "expected time × 2"),
        ([1, 2, 3], r"expected time × 2 \['load', 'heat'\]; got shape \[3\]"),
        ([[1, 2, 3]] * 3, r"got shape \[3, 3\]"),
        ([[[1, 2]]] * 3, r"got shape \[3, 1, 2\]"),
        ([[1, 2], [3, 4], [5]], "series: expected rows of equal length; got ragged rows"),
        ([[1, 2], [3, 4], 5], "series: expected rows of equal length"),
        ([[1, 2], [3, float("nan")], [5, 6]], "series: expected finite"),
        ([[1, 2], [3, float("inf")], [5, 6]], "series: expected finite"),
        ([[1, 2], [3, 1e39], [5, 6]], "series: expected finite"),
        ([[1, 2], [3, None], [5, 6]], "series: expected numbers"),
        ([[1, 2], [3, "4"], [5, 6]], "series: expected numbers"),
        ([[True, False]] * 3, "series: expected numbers"),
        ({"load": [1, 2, 3]}, r"expected columns \['load', 'heat'\]; got \['load'\]"),
        ({"load": [1], "heat": [1], "x": [1]}, r"got \['load', 'heat', 'x'\]"),
        ({}, r"got \[\]"),
        ({"load": [1, 2, 3], "heat": [1, 2]}, "as lists of numbers of equal length"),
        ({"load": 1, "heat": 2}, "as lists of numbers of equal length"),
        ({"load": [[1]] * 3, "heat": [[1]] * 3}, "as lists of numbers of equal length"),
        ({"load": [1, 2, 3], "heat": [1, 2, "3"]}, "heat: expected numbers"),
        ({"load": [1, 2, float("nan")], "heat": [1, 2, 3]}, "load: expected finite"),
        ("1,2,3", "expected rows of .* or one list per column; got '1,2,3'"),
        (None, "got None"),
        (7, "got 7"),
    ],
)
def test_what_is_no_such_series_is_refused(item: object, words: str) -> None:
    with pytest.raises(ItemMismatch, match=words):
        encode(item)


def test_too_many_steps_are_refused_with_their_number() -> None:
    spec = SeriesInput(columns=("load",), length=3, max_steps=5)
    encode([0] * 5, spec)
    with pytest.raises(ItemTooLarge, match="expected at most 5 steps; got 6"):
        encode([0] * 6, spec)


@pytest.mark.parametrize(
    "body",
    [
        b"load,heat\n1,10\n2,20\n3,30\n",
        b"\xef\xbb\xbfheat,load\r\n10,1\r\n20,2\r\n30,3\r\n",
    ],
)
def test_a_csv_is_one_series(body: bytes) -> None:
    [item] = TWO.items(body, "text/csv")
    assert steps(item).tolist() == [[1, 10], [2, 20], [3, 30]]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "at least one row"),
        (b"load,load\n1,2\n", "distinct names"),
        (b"load,heat\n1,10\n2\n", "got 1 in row 3"),
        (b"load,heat\n1,10\n2,\n3,30\n", "heat: expected numbers"),
        (b"load,heat\n1,10\n2,nan\n3,30\n", "heat: expected finite"),
        (b"time,load\n1,10\n2,20\n3,30\n", r"got \['time', 'load'\]"),
    ],
)
def test_a_csv_that_is_no_such_series_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(ItemMismatch, match=words):
        [encode(item) for item in TWO.items(body, "text/csv")]


values = st.floats(-FLOAT32_MAX, FLOAT32_MAX) | st.integers(-(2**70), 2**70)


@given(st.lists(st.tuples(values, values), min_size=3, max_size=12))
def test_any_numbers_become_the_last_steps_in_float32(rows: list[tuple[Any, Any]]) -> None:
    item = [list(row) for row in rows]
    try:
        array = steps(item)
    except ItemMismatch:
        # Whole numbers beyond 64 bits are no numbers to numpy.
        assert any(abs(value) >= 2**63 for row in rows for value in row if isinstance(value, int))
        return
    assert array.shape == (3, 2)
    assert array.dtype == np.float32
    assert np.isfinite(array).all()
    np.testing.assert_allclose(array, np.array(item[-3:], dtype=float), rtol=1e-6, atol=1e-37)


def test_an_item_that_was_shown_as_a_csv_reads_the_same() -> None:
    item = {"load": [0.1, 1e-30, 3], "heat": [-1, 2.5, 1 / 3]}
    body, media_type = TWO.body(item)
    assert media_type == "text/csv"
    np.testing.assert_array_equal(steps(TWO.items(body, media_type)[0]), steps(item))


def test_shorter_series_keep_their_length_and_a_mask_goes_with_them() -> None:
    spec = SeriesInput(columns=("load",), length=5, min_steps=2)

    for sent, kept in ((2, 2), (4, 4), (9, 5)):
        tensors = encode(list(range(sent)), spec).tensors
        assert tensors["series"].shape == (1, kept, 1)
        assert tensors["mask"].tolist() == [[1.0] * kept]
        assert tensors["mask"].dtype == np.float32
    with pytest.raises(ItemMismatch, match="expected at least 2 steps; got 1"):
        encode([7], spec)
    assert set(encode(list(range(5)), ONE).tensors) == {"series"}


def test_least_length_above_the_length_is_refused() -> None:
    with pytest.raises(ValidationError, match="min_steps: expected at most 3; got 4"):
        SeriesInput(columns=("load",), length=3, min_steps=4)
