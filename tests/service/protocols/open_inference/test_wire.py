"""Tensors on the wire and back: binary and JSON, each type, and what is refused."""

import json
import math
import struct
from typing import Any

import numpy as np
import orjson
import pytest
import simdjson
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model_store.spec import DType
from service.errors import BadBody
from service.protocols.open_inference import wire
from tests.service.protocols.open_inference.graphs import ELEMENTS, IN_JSON, NUMPY, Array, sample

every_type = pytest.mark.parametrize("datatype", ELEMENTS)
every_json_type = pytest.mark.parametrize("datatype", IN_JSON)
INTEGERS = [name for name in ELEMENTS if "INT" in name]
PARSERS = {
    "simdjson": lambda text: simdjson.Parser().parse(text),
    "orjson": orjson.loads,
}
"""Both of the readers that hand data to ``from_json``."""
every_parser = pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)


def carried(array: Array) -> Array:
    """As the server holds it: bfloat16 is its bits, all else is itself."""
    return array.view(np.uint16) if array.dtype == NUMPY["BF16"] else array


def arrays_of(datatype: str) -> st.SearchStrategy[Array]:
    shapes = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    if datatype == "BYTES":
        words = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
        return shapes.flatmap(lambda shape: arrays.arrays(np.object_, shape, elements=words))
    kind = np.uint16 if datatype == "BF16" else NUMPY[datatype]
    return shapes.flatmap(lambda shape: arrays.arrays(kind, shape))


def same(one: Array, other: Array) -> bool:
    """Equal to the bit: NaN is NaN and -0.0 is not 0.0."""
    if one.shape != other.shape or one.dtype.kind != other.dtype.kind:
        return False
    return (
        one.tolist() == other.tolist() if one.dtype == object else one.tobytes() == other.tobytes()
    )


def test_every_type_of_a_manifest_has_a_name_in_the_protocol_and_an_array() -> None:
    assert set(wire.DATATYPES) == set(DType.__args__)  # type: ignore[attr-defined]
    assert set(wire.DATATYPES.values()) == set(wire.NUMPY) == set(ELEMENTS)


# --- binary --------------------------------------------------------------------------------------


@every_type
@given(data=st.data())
def test_binary_comes_back_as_it_went(datatype: str, data: Any) -> None:
    array = data.draw(arrays_of(datatype))
    raw = bytes(wire.to_binary(array, datatype))
    assert same(wire.from_binary(memoryview(raw), datatype, array.shape, "x"), array)


@pytest.mark.parametrize(
    ("datatype", "values", "raw"),
    [
        ("BOOL", [True, False], b"\x01\x00"),
        ("INT16", [-2, 258], b"\xfe\xff\x02\x01"),
        ("UINT64", [2**64 - 1, 1], b"\xff" * 8 + b"\x01" + b"\x00" * 7),
        ("FP16", [1.0, -2.0], b"\x00\x3c\x00\xc0"),
        ("FP32", [1.0, -0.0], b"\x00\x00\x80\x3f\x00\x00\x00\x80"),
        ("FP64", [1.0], b"\x00" * 6 + b"\xf0\x3f"),
        ("BYTES", ["é", "", "ab"], b"\x02\x00\x00\x00\xc3\xa9\x00\x00\x00\x00\x02\x00\x00\x00ab"),
    ],
)
def test_binary_is_little_endian_and_row_major(
    datatype: str, values: list[Any], raw: bytes
) -> None:
    array = np.array(values, NUMPY[datatype])
    assert bytes(wire.to_binary(array, datatype)) == raw
    assert same(wire.from_binary(memoryview(raw), datatype, array.shape, "x"), array)


def test_bfloat16_travels_as_its_bits() -> None:
    array = sample("BF16")
    raw = bytes(wire.to_binary(carried(array), "BF16"))
    assert raw == array.tobytes()
    assert same(wire.from_binary(memoryview(raw), "BF16", array.shape, "x"), carried(array))


@pytest.mark.parametrize("columns", [3, 5000], ids=["small", "large"])
@pytest.mark.parametrize("order", ["transposed", "reversed", "big-endian", "strided"])
def test_arrays_that_lie_otherwise_in_memory_are_written_row_by_row(
    columns: int, order: str
) -> None:
    base = np.arange(8 * columns, dtype=np.float64).reshape(8, columns)
    array = {
        "transposed": base.T,
        "reversed": base[::-1],
        "big-endian": base.astype(">f8"),
        "strided": base[::2, ::2],
    }[order]
    values = [value for row in array.tolist() for value in row]
    assert bytes(wire.to_binary(array, "FP64")) == struct.pack(f"<{len(values)}d", *values)
    assert orjson.loads(wire.to_json(array.astype(np.float64), "FP64", "y")) == values


@pytest.mark.parametrize("value", [2, 255])
def test_boolean_bytes_are_0_and_1_and_no_others(value: int) -> None:
    with pytest.raises(BadBody, match="input x: expected BOOL as bytes 0 and 1"):
        wire.from_binary(memoryview(bytes([1, value])), "BOOL", (2,), "x")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\x01", "expected the length of BYTES element 0; the data ends in it"),
        (b"\x01\x00\x00\x00a\x01\x00", "expected the length of BYTES element 1"),
        (b"\x02\x00\x00\x00a", "BYTES element 0 has 2 bytes; only 1 are left"),
        (b"\xff\xff\xff\xffa", "BYTES element 0 has 4294967295 bytes; only 1 are left"),
        (b"\x01\x00\x00\x00\xff", "BYTES element 0 is not UTF-8"),
        (b"", "expected 1 elements for shape \\[1\\]; got 0"),
        (b"\x00" * 8, "expected 1 elements for shape \\[1\\]; got 2"),
    ],
)
def test_strings_that_end_too_soon_or_are_no_text_are_refused(raw: bytes, words: str) -> None:
    with pytest.raises(BadBody, match=words):
        wire.from_binary(memoryview(raw), "BYTES", (1,), "x")


@given(raw=st.binary(max_size=40), count=st.integers(0, 4))
def test_any_bytes_as_strings_are_read_or_refused(raw: bytes, count: int) -> None:
    try:
        array = wire.from_binary(memoryview(raw), "BYTES", (count,), "x")
    except BadBody:
        return
    assert bytes(wire.to_binary(array, "BYTES")) == raw


def test_raw_text_is_one_element_without_its_length() -> None:
    assert wire.from_text(memoryview("é".encode()), (1, 1), "x").tolist() == [["é"]]
    with pytest.raises(BadBody, match="input x: expected UTF-8 text"):
        wire.from_text(memoryview(b"\xff"), (1, 1), "x")


@pytest.mark.parametrize("shape", [(10_000, 2**31 - 1, 2**31 - 1, 0), (0, 2**31 - 1, 2**31 - 1, 3)])
@every_type
def test_empty_tensor_of_a_shape_beyond_any_memory_is_refused(
    datatype: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(BadBody, match="input x: "):
        wire.from_binary(memoryview(b""), datatype, shape, "x")
    if datatype in IN_JSON:
        with pytest.raises(BadBody, match="input x: "):
            wire.from_json([], datatype, shape, "x")


# --- JSON ----------------------------------------------------------------------------------------


def text_of(array: Array, *, nested: bool) -> bytes:
    values = array.tolist() if nested else array.ravel().tolist()
    return json.dumps(values, ensure_ascii=False).encode()


@every_parser
@every_json_type
@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
def test_json_is_read_flat_or_nested(datatype: str, parse: Any, nested: bool) -> None:
    array = sample(datatype)
    found = wire.from_json(parse(text_of(array, nested=nested)), datatype, array.shape, "x")
    assert same(found, array)


@every_json_type
@every_parser
@given(data=st.data())
def test_json_comes_back_as_it_went(datatype: str, parse: Any, data: Any) -> None:
    array = data.draw(arrays_of(datatype))
    if array.dtype.kind == "f":
        array = np.where(np.isfinite(array), array, 0).astype(array.dtype)
    text = wire.to_json(array, datatype, "y")
    assert same(wire.from_json(parse(text), datatype, array.shape, "x"), array)


def test_json_of_floats_has_as_many_digits_as_it_takes_to_read_them_back() -> None:
    text = wire.to_json(np.array([0.1, 3.4028235e38, 1e-45, -0.0], np.float32), "FP32", "y")
    assert text == b"[0.1,3.4028235e+38,1e-45,-0.0]"


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_what_json_has_no_number_for_is_null(datatype: str) -> None:
    array = np.array([math.nan, math.inf, -math.inf, 1], NUMPY[datatype])
    assert wire.to_json(array, datatype, "y") == b"[null,null,null,1.0]"


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_halves_have_no_json_form(datatype: str) -> None:
    with pytest.raises(BadBody, match=f"input x: {datatype} has no JSON form; send it as binary"):
        wire.from_json([1.0], datatype, (1,), "x")
    with pytest.raises(
        BadBody, match=f'output y: {datatype} has no JSON form.*"binary_data": true'
    ):
        wire.to_json(np.zeros(1, np.uint16), datatype, "y")


@every_parser
@pytest.mark.parametrize(
    ("datatype", "text", "values"),
    [
        ("FP32", "[1, -2, 3]", [1.0, -2.0, 3.0]),
        ("FP32", "[1e2, 1E-2, 1.5e+1]", [100.0, np.float32(0.01), 15.0]),
        ("FP32", "[-0.0]", [-0.0]),
        ("FP32", "[1e-400, 1e-46]", [0.0, 0.0]),
        ("FP32", "[3.4028235e38, -3.4028235e38]", [3.4028234663852886e38, -3.4028234663852886e38]),
        ("FP64", "[1.7976931348623157e308]", [1.7976931348623157e308]),
        ("FP64", "[9007199254740993]", [9007199254740992.0]),
        ("FP64", "[ \\t1 ,\\n 2\\r]", [1.0, 2.0]),
        ("FP64", "[18446744073709551615, -1]", [1.8446744073709552e19, -1.0]),
        ("INT64", "[-9223372036854775808, 9223372036854775807]", [-(2**63), 2**63 - 1]),
        ("UINT64", "[0, 18446744073709551615, 1]", [0, 2**64 - 1, 1]),
        ("UINT64", "[9007199254740993, 18446744073709551615]", [2**53 + 1, 2**64 - 1]),
        ("INT8", "[-0, 127, -128]", [0, 127, -128]),
        ("BYTES", '["\\\\u00e9", "\\\\ud83d\\\\ude00", "a\\\\u0000b"]', ["é", "😀", "a\0b"]),
    ],
)  # fmt: skip
def test_numbers_are_read_as_json_writes_them(
    parse: Any, datatype: str, text: str, values: list[Any]
) -> None:
    raw = text.encode().decode("unicode_escape").encode()
    expected = np.array(values, NUMPY[datatype])
    assert same(wire.from_json(parse(raw), datatype, (len(values),), "x"), expected)


@every_parser
@pytest.mark.parametrize(
    ("datatype", "text", "words"),
    [
        ("FP32", "[true]", "only FP32 values"),
        ("FP32", "[null]", "only FP32 values"),
        ("FP32", '["1"]', "only FP32 values"),
        ("FP32", "[{}]", "only FP32 values"),
        ("FP32", "[1e39]", "numbers that FP32 can hold"),
        ("FP32", "[3.4028236e38]", "numbers that FP32 can hold"),
        ("FP32", "[-1e300]", "numbers that FP32 can hold"),
        ("FP32", "[18446744073709551615e30]", "numbers that FP32 can hold"),
        ("INT32", "[1.0]", "only INT32 values"),
        ("INT32", "[1e2]", "only INT32 values"),
        ("INT32", "[true]", "only INT32 values"),
        ("INT32", "[2147483648]", "numbers that INT32 can hold"),
        ("INT8", "[-129]", "numbers that INT8 can hold"),
        ("UINT8", "[256]", "numbers that UINT8 can hold"),
        ("UINT8", "[-1]", "numbers that UINT8 can hold"),
        ("UINT64", "[-1]", "UINT64"),
        ("UINT64", "[18446744073709551615, -1]", "UINT64"),
        ("INT64", "[9223372036854775808]", "INT64"),
        ("INT64", "[-1, 9223372036854775808]", "INT64"),
        ("BOOL", "[1]", "only BOOL values"),
        ("BOOL", '["true"]', "only BOOL values"),
        ("BYTES", "[1]", "only BYTES values"),
        ("BYTES", "[null]", "only BYTES values"),
    ],
)  # fmt: skip
def test_values_of_another_kind_or_size_are_refused(
    parse: Any, datatype: str, text: str, words: str
) -> None:
    with pytest.raises(BadBody, match=f"^input x: .*{words}"):
        wire.from_json(parse(text.encode()), datatype, (text.count(",") + 1,), "x")


@every_parser
@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BOOL", "BYTES"])
@pytest.mark.parametrize(
    "form",
    [
        "[[V,V],[V]]", "[[V,V],V,V]", "[V,[V,V],V]", "[[V],[V],[V],[V]]", "[[V,V,V,V]]",
        "[[[V],[V]],[[V],[V]]]", "[[V,V],[V,V],[]]", "[[],[V,V,V,V]]", "[[V,V],{},{}]",
        "[[V,V],[V,[V]]]", "[V,V,V]", "[V,V,V,V,V]", "[]", "[[],[]]",
    ],
)  # fmt: skip
def test_ragged_or_otherwise_nested_data_are_refused(parse: Any, datatype: str, form: str) -> None:
    value = {"FP32": "1.5", "INT64": "1", "BOOL": "true", "BYTES": '"a"'}[datatype]
    data = parse(form.replace("V", value).encode())
    with pytest.raises(BadBody, match=r"^input x: "):
        wire.from_json(data, datatype, (2, 2), "x")


@pytest.mark.parametrize("data", ["text", 1, 1.5, True, {"a": 1}], ids=repr)
@every_json_type
def test_data_that_is_no_array_is_refused(datatype: str, data: object) -> None:
    with pytest.raises(BadBody, match="input x: data: expected an array; got "):
        wire.from_json(data, datatype, (1,), "x")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=6,
)


@every_json_type
@given(values=st.lists(JSON_VALUES, max_size=4), shape=st.lists(st.integers(0, 3), max_size=3))
def test_both_parsers_agree_on_any_data(datatype: str, values: list[Any], shape: list[int]) -> None:
    text = orjson.dumps(values)
    found: list[Array | None] = []
    for parse in PARSERS.values():
        try:
            found.append(wire.from_json(parse(text), datatype, shape, "x"))
        except BadBody:
            found.append(None)
    one, other = found
    assert one is other is None or (one is not None and other is not None and same(one, other))


@every_type
def test_test_samples_hold_the_ends_of_their_type(datatype: str) -> None:
    array = carried(sample(datatype))
    assert array.shape == (2, 3)
    raw = memoryview(bytes(wire.to_binary(array, datatype)))
    assert same(wire.from_binary(raw, datatype, (2, 3), "x"), array)
    assert math.prod(array.shape) == wire.elements(array.shape) == 6
