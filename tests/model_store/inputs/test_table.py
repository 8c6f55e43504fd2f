from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.errors import ItemMismatch
from model_store.inputs.table import Column, TableInput
from model_store.spec import FLOAT32_MAX

SPEC = TableInput(
    columns=(
        Column(name="age"),
        Column(name="size", categories=("1", "2", "nan", "x l")),
        Column(name="heat"),
    )
)


def encode(item: object, spec: TableInput = SPEC) -> list[float]:
    [row] = spec.encoder(Path())(item, None).tensors["table"]
    assert row.dtype == np.float32
    assert row.shape == (len(spec.columns),)
    cells: list[float] = row.tolist()
    return cells


def test_a_row_is_a_mapping_or_a_list_in_column_order() -> None:
    for item in ({"heat": -2, "age": 1.5, "size": "2"}, [1.5, "2", -2]):
        assert encode(item) == [1.5, 1, -2]


def test_a_category_is_its_place_in_the_list() -> None:
    assert [encode([0, size, 0])[1] for size in ("1", "2", "nan", "x l")] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("item", "words", "field"),
    [
        ({"age": 1, "size": "1"}, r"missing \['heat'\], unknown \[\]", ""),
        ({"age": 1, "size": "1", "heat": 1, "x": 1}, r"missing \[\], unknown \['x'\]", ""),
        ({}, r"missing \['age', 'size', 'heat'\]", ""),
        ([1, "1"], "expected 3 cells; got 2", ""),
        ([1, "1", 2, 3], "expected 3 cells; got 4", ""),
        ([], "expected 3 cells; got 0", ""),
        ("1,2,3", "expected a mapping or list of .*; got '1,2,3'", ""),
        (None, "got None", ""),
        ([1, "xl", 2], r"size: expected one of \['1', '2', 'nan', 'x l'\]; got 'xl'", "size"),
        ([1, 1, 2], "size: .*; got 1", "size"),
        ([1, None, 2], "size: .*; got None", "size"),
        ([1, ["1"], 2], "size: .*; got a list of 1", "size"),
        (["1", "1", 2], "age: expected a number; got '1'", "age"),
        ([True, "1", 2], "age: expected a number; got True", "age"),
        ([None, "1", 2], "age: expected a number; got None", "age"),
        ([1, "1", [2]], "heat: expected a number; got a list of 1", "heat"),
        ([1, "1", {}], "heat: expected a number; got a mapping of 0", "heat"),
        ([1, "1", float("nan")], "heat: expected a finite 32-bit number; got nan", "heat"),
        ([1, "1", float("-inf")], "heat: expected a finite 32-bit number; got -inf", "heat"),
        ([1, "1", 1e39], "heat: expected a finite 32-bit number; got 1e.39", "heat"),
        ([1, "1", 10**400], "heat: expected a finite 32-bit number; got 1000", "heat"),
        ([1, "1", -(2**128)], "heat: expected a finite 32-bit number", "heat"),
    ],
)
def test_what_is_no_such_row_is_refused_by_column(item: object, words: str, field: str) -> None:
    with pytest.raises(ItemMismatch, match=words) as caught:
        encode(item)
    assert caught.value.field == field


def test_whole_numbers_as_large_as_float32_pass() -> None:
    assert encode([2**100, "1", -(2**127)]) == [2.0**100, 0, -(2.0**127)]


def test_each_row_of_a_csv_is_an_item() -> None:
    items = SPEC.items(b"size,age,heat\n1,2,3\nnan,4,5e-1\n", "text/csv")
    assert [encode(item) for item in items] == [[2, 0, 3], [4, 2, 0.5]]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"age,size,heat\n", "at least one row"),
        (b"age,size,heat\n1,1\n", "expected 3 cells in each row; got 2 in row 2"),
        (b"age,size,size\n1,1,1\n", "distinct names"),
        (b"age,size\n1,1\n", r"missing \['heat'\]"),
        (b"age,size,heat\n1,1,\n", "heat: expected a number; got ''"),
        (b"age,size,heat\n1,1,nan\n", "heat: expected a finite 32-bit number; got nan"),
        (b"age,size,heat\n1,3,1\n", "size: expected one of"),
    ],
)
def test_a_csv_that_is_no_such_table_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(ItemMismatch, match=words):
        [encode(item) for item in SPEC.items(body, "text/csv")]


@given(
    st.floats(-FLOAT32_MAX, FLOAT32_MAX) | st.integers(-(2**127), 2**127),
    st.sampled_from(["1", "2", "nan", "x l"]),
)
def test_any_row_is_read_alike_from_json_and_csv(age: float, size: str) -> None:
    item = {"age": age, "size": size, "heat": 0}
    body, media_type = SPEC.body(item)
    [from_csv] = SPEC.items(body, media_type)
    assert encode(from_csv) == encode(item)
    np.testing.assert_allclose(encode(item)[0], float(age), rtol=1e-6, atol=1e-37)


def test_a_message_about_many_columns_stays_short() -> None:
    spec = TableInput(columns=tuple(Column(name=f"column {n}") for n in range(1_000)))
    with pytest.raises(ItemMismatch, match="and 980 more") as caught:
        encode({}, spec)
    assert len(str(caught.value)) < 2_000
