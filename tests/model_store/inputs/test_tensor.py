"""Whatever a graph takes can be sent as JSON, exactly, and what it does not take is refused."""

import json
from pathlib import Path
from typing import Any, get_args

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.errors import ItemMismatch
from model_store.inputs.tensor import LARGEST, TensorInput
from model_store.spec import FLOAT32_MAX, Array, DType, Encoded, TensorSpec
from tests.model_store.graphs import echo


def spec(shape: tuple[int | str, ...] = (2,), dtype: Any = "float32", **more: Any) -> TensorInput:
    return TensorInput(tensors=(TensorSpec(name="x", dtype=dtype, shape=shape),), **more)


TWO = TensorInput(
    tensors=(
        TensorSpec(name="ids", dtype="int64", shape=("time",)),
        TensorSpec(name="scale", dtype="float32", shape=()),
    )
)


def encode(item: object, kind: TensorInput) -> Encoded:
    return kind.encoder(Path())(item, None)


def array_of(item: object, dtype: Any, shape: tuple[int | str, ...] = ("n",)) -> Array:
    return encode(item, spec(shape, dtype, rows=False)).tensors["x"]


# --- shape -------------------------------------------------------------------------------------


def test_an_item_is_one_row_where_the_graph_has_rows() -> None:
    encoded = encode([1, 2], spec())
    assert encoded.tensors["x"].shape == (1, 2)
    assert (encoded.rows, encoded.row_axis) == (1, True)


def test_an_item_is_the_whole_tensor_where_the_graph_has_no_rows() -> None:
    encoded = encode([[1, 2], [3, 4], [5, 6]], spec(("N", 2), rows=False))
    assert encoded.tensors["x"].shape == (3, 2)
    assert (encoded.rows, encoded.row_axis) == (1, False)
    scalar = encode(7, spec((), rows=False))
    assert scalar.tensors["x"].shape == ()
    assert scalar.rows == 1


def test_several_tensors_come_by_name_and_one_may() -> None:
    tensors = encode({"scale": 0.5, "ids": [1, 2, 3]}, TWO).tensors
    assert [tensors["ids"].tolist(), tensors["scale"].tolist()] == [[[1, 2, 3]], [0.5]]
    np.testing.assert_array_equal(
        encode({"x": [1, 2]}, spec()).tensors["x"], encode([1, 2], spec()).tensors["x"]
    )


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ([1, 2], r"expected a mapping of \['ids', 'scale'\] to nested arrays; got a list of 2"),
        ({"ids": [1]}, r"expected tensors \['ids', 'scale'\]; got \['ids'\]"),
        ({"ids": [1], "scale": 1, "more": 1}, r"got \['ids', 'scale', 'more'\]"),
        ({"ids": 1, "scale": 1}, r"^ids: expected 1 axes \[time\]; got 0 of shape \[\]"),
        ({"ids": [1], "scale": [1]}, r"^scale: expected 0 axes \[\]; got 1 of shape \[1\]"),
    ],
)
def test_tensors_that_are_not_the_graphs_are_refused(item: object, words: str) -> None:
    with pytest.raises(ItemMismatch, match=words):
        encode(item, TWO)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ([1, 2, 3], r"expected 2 axes \[2, w\]; got 1 of shape \[3\]"),
        ([[[1]]], r"expected 2 axes \[2, w\]; got 3 of shape \[1, 1, 1\]"),
        ([[1, 2], [3, 4], [5, 6]], r"expected 2 along axis 0 of \[2, w\]; got 3"),
        ([[1, 2], [3]], "expected nested arrays of equal length and depth; got ragged ones"),
        ([[1, 2], 3], "got ragged ones"),
        ([[1, [2]], [3, 4]], "got ragged ones"),
        ([[1, 2], [3, "4"]], "expected float32 numbers; got '4'"),
        ([[1, 2], [3, None]], "expected float32 numbers; got None"),
        ([[1, 2], [3, {}]], "expected float32 numbers; got a mapping of 0"),
        ([[1, 2], [3, True]], "expected float32 numbers; got True"),
        ("text", "expected 2 axes"),
        (None, "expected 2 axes"),
    ],
)
def test_what_has_not_the_tensors_shape_is_refused_with_the_axis(item: object, words: str) -> None:
    with pytest.raises(ItemMismatch, match=f"^x: .*{words}") as caught:
        encode(item, spec((2, "w")))
    assert caught.value.field == "x"


def test_a_dynamic_axis_takes_any_length_even_none() -> None:
    for length in (0, 1, 100):
        item = [[0.5] * length] * 2
        shape = (1, 2, length) if length else (1, 2, 0)
        assert encode(item, spec((2, "w"))).tensors["x"].shape == shape


def test_a_nest_deeper_than_any_array_is_refused() -> None:
    nest: list[object] = []
    for _ in range(5_000):
        nest = [nest]
    with pytest.raises(ItemMismatch, match="ragged"):
        encode(nest, spec())


# --- element types -----------------------------------------------------------------------------

WHOLE = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]


@pytest.mark.parametrize("dtype", WHOLE)
def test_whole_numbers_are_exact_to_the_last(dtype: str) -> None:
    limits = np.iinfo(dtype)
    ends = [int(limits.min), int(limits.min) + 1, 0, int(limits.max) - 1, int(limits.max)]
    array = array_of(ends, dtype)
    assert array.dtype == dtype
    assert array.tolist() == ends


@pytest.mark.parametrize("dtype", WHOLE)
def test_a_number_out_of_range_is_refused_with_the_range(dtype: str) -> None:
    limits = np.iinfo(dtype)
    for value in (limits.min - 1, limits.max + 1, 10**30):
        with pytest.raises(ItemMismatch, match=f"expected {dtype} from {limits.min} to"):
            array_of([0, int(value)], dtype)


@pytest.mark.parametrize(
    ("dtype", "cell", "words"),
    [
        ("int64", 1.0, "expected whole int64 numbers; got 1.0"),
        ("int64", True, "expected whole int64 numbers; got True"),
        ("uint8", "1", "expected whole uint8 numbers; got '1'"),
        ("bool", 1, "expected true or false; got 1"),
        ("bool", "true", "expected true or false; got 'true'"),
        ("string", 1, "expected strings; got 1"),
        ("string", "\ud800", "expected Unicode text; got half of a surrogate pair"),
        ("float64", True, "expected float64 numbers; got True"),
        ("float64", float("nan"), "expected finite float64 numbers; got NaN"),
        ("float64", 10**400, "expected finite float64 numbers"),
        ("float32", 1e39, "expected finite float32 numbers"),
        ("float16", 65505, "expected finite float16 numbers"),
        ("bfloat16", 3.4e38, "expected finite bfloat16 numbers"),
        ("bfloat16", -float("inf"), "expected finite bfloat16 numbers"),
    ],
)
def test_a_cell_of_another_type_is_refused(dtype: str, cell: object, words: str) -> None:
    good: Any = {"string": "a", "bool": False}.get(dtype, 0)
    with pytest.raises(ItemMismatch, match=f"^x: {words}"):
        array_of([good, cell], dtype)


def test_booleans_and_strings_come_through_as_they_are() -> None:
    truths = array_of([True, False], "bool")
    assert truths.dtype.name == "bool"
    assert truths.tolist() == [True, False]
    words = ["", "a\0b", "数字", "🙂", "x" * 1_000]
    assert array_of(words, "string").tolist() == words
    assert array_of("word", "string", ()).tolist() == "word"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_fractions_are_the_nearest_that_the_type_has(dtype: str) -> None:
    values = [0, 1, -2.5, 0.1, 1e-8, LARGEST[dtype], -LARGEST[dtype]]
    array = array_of(values, dtype)
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, np.array(values, dtype))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_bfloat16_bits_are_those_of_another_implementation(values: list[float]) -> None:
    values = [value for value in values if abs(value) <= LARGEST["bfloat16"]]
    bits = array_of(values, "bfloat16")
    assert bits.dtype == np.uint16
    np.testing.assert_array_equal(
        bits, np.array(values, np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)
    )


def test_bfloat16_is_rounded_once_and_halves_to_even() -> None:
    step = 2.0**-7  # between neighbours from 1 to 2
    tiny = 2.0**-40  # lost in float32, so that rounding twice would take it for a half
    values = [1 + step / 2, 1 + 3 * step / 2, 1 + step / 2 + tiny, -1 - step / 2 - tiny, -0.0]
    assert array_of(values, "bfloat16").tolist() == [0x3F80, 0x3F82, 0x3F81, 0xBF81, 0x8000]
    assert array_of(1.0, "bfloat16", ()).tolist() == 0x3F80


def test_onnx_runtime_takes_every_type_as_it_is_encoded() -> None:
    """Except bfloat16, which it takes from a value made of these bits."""
    words = {"float32": "FLOAT", "float64": "DOUBLE"}
    for dtype in get_args(DType):
        model = echo({"x": (words.get(dtype, dtype.upper()), ["N", 2])})
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        item: Any = {"bool": [True, False], "string": ["a", "é"]}.get(dtype, [1, 2])
        array = encode(item, spec(dtype=dtype)).tensors["x"]
        if dtype == "bfloat16":
            onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, 16)
            continue
        [back] = session.run(None, {"x": array})
        assert back.tolist() == [item]


# --- examples ----------------------------------------------------------------------------------

BIG = TensorInput(
    tensors=(
        TensorSpec(name="picture", dtype="float16", shape=(3, "height", "width")),
        TensorSpec(name="lines", dtype="uint8", shape=("height", 2)),
        TensorSpec(name="words", dtype="string", shape=("time",)),
    )
)


def test_zeros_are_an_item_of_modest_size_whose_axes_agree() -> None:
    tensors = encode(BIG.zeros(), BIG).tensors
    shapes = {name: array.shape for name, array in tensors.items()}
    assert shapes == {"picture": (1, 3, 32, 32), "lines": (1, 32, 2), "words": (1, 8)}
    assert BIG.cells == 3 * 32 * 32 + 32 * 2 + 8


def test_without_rows_a_dynamic_first_axis_is_one_wherever_it_is_named() -> None:
    kind = TensorInput(
        tensors=(
            TensorSpec(name="a", dtype="int32", shape=("N", "time")),
            TensorSpec(name="b", dtype="int32", shape=("time", "N")),
            TensorSpec(name="c", dtype="bool", shape=()),
        ),
        rows=False,
    )
    assert kind.zeros() == {"a": [[0]], "b": [[0]], "c": False}


@pytest.mark.parametrize("dtype", get_args(DType))
@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("shape", [(), (2,), ("N", 3)])
def test_blank_is_what_zeros_become(dtype: str, rows: bool, shape: tuple[Any, ...]) -> None:
    kind = spec(shape, dtype, rows=rows)
    item = json.loads(json.dumps(kind.zeros()))
    encoded, blank = encode(item, kind), kind.blank()
    assert encoded.tensors["x"].dtype == blank.tensors["x"].dtype
    np.testing.assert_array_equal(encoded.tensors["x"], blank.tensors["x"])
    assert encoded.row_axis == blank.row_axis == rows


def test_the_largest_float32_comes_through() -> None:
    assert array_of([FLOAT32_MAX], "float32").tolist() == [FLOAT32_MAX]
