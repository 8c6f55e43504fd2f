import json
from typing import Any

import numpy as np
import pytest

from model_store.answers.tensor import TensorAnswer
from model_store.spec import TensorSpec


def answer(dtype: Any, array: Any, *, rows: bool = True) -> Any:
    shape = ("n",) * (array.ndim - rows)
    kind = TensorAnswer(tensors=(TensorSpec(name="y", dtype=dtype, shape=shape),), rows=rows)
    body = kind.answer({"y": array, "more": array}, {}, None)
    assert list(body) == ["outputs"]
    assert list(body["outputs"]) == ["y"]
    return json.loads(json.dumps(body["outputs"]["y"], allow_nan=False))


def test_a_row_loses_its_axis_and_a_whole_run_keeps_all() -> None:
    array = np.arange(3, dtype=np.float32).reshape(1, 3)
    assert answer("float32", array) == [0, 1, 2]
    assert answer("float32", array, rows=False) == [[0, 1, 2]]
    assert answer("float32", np.array([7.5], np.float32)) == 7.5
    assert answer("int64", np.array(7), rows=False) == 7


@pytest.mark.parametrize("dtype", ["uint64", "int64", "int8"])
def test_whole_numbers_are_exact(dtype: str) -> None:
    ends = [np.iinfo(dtype).min, np.iinfo(dtype).max]
    assert answer(dtype, np.array([ends], dtype)) == ends


def test_float32_gets_its_numbers_back() -> None:
    values = np.random.default_rng(0).standard_normal(16, dtype=np.float32)
    np.testing.assert_array_equal(np.array(answer("float32", values[None]), np.float32), values)


def test_bfloat16_bits_become_the_numbers_they_stand_for() -> None:
    bits = np.array([[0x3F80, 0xC020, 0x7F80, 0x7FC0, 0x0001]], np.uint16)
    assert answer("bfloat16", bits) == [1.0, -2.5, None, None, 2.0**-133]
    assert answer("uint16", bits)[0] == 0x3F80


def test_strings_and_truths_stay_what_they_are() -> None:
    words = ["", "a\0", "数字"]
    assert answer("string", np.array([words], object)) == words
    assert answer("string", np.array(["a\0"], object)) == "a\0"
    assert answer("bool", np.array([[True, False]])) == [True, False]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_json_has_no_number_for_is_null(dtype: str) -> None:
    array = np.array([[1, np.nan], [np.inf, -np.inf]], dtype)
    assert answer(dtype, array[None]) == [[1.0, None], [None, None]]
    assert answer(dtype, array[:1, 1]) is None
    assert np.isnan(array[0, 1])  # the tensor stays as it was
