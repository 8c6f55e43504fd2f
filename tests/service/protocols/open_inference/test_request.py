"""Bodies of infer requests: what is read from them, and that nothing kept from one request ever
changes how the next is read.
"""
# One case a line reads as the table it is.
# ruff: noqa: E501

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model_store.manifest import Batching, Graph, Tensor
from model_store.spec import DType, Tensors
from service.errors import BadBody
from service.protocols.open_inference.request import Plan, Reader, Wish
from service.protocols.open_inference.signature import Signature

MAX_ROWS = 100
thorough = settings(max_examples=300)
Axes = tuple[int | str, ...]


def tensor(name: str, dtype: DType = "float32", axes: Axes = ("N", 2)) -> Tensor:
    return Tensor(name=name, dtype=dtype, shape=axes)


X, Y = tensor("x"), (tensor("y"), tensor("z", "int64", ("N",)))


def reader(*inputs: Tensor, outputs: Sequence[Tensor] = Y, **batching: Any) -> Reader:
    batching.setdefault("rows", True)
    graph = Graph(file="model.onnx", inputs=inputs or (X,), outputs=tuple(outputs),
                  batching=Batching(**batching))  # fmt: skip
    return Reader(Signature(graph), MAX_ROWS)


def given_as(name: str = "x", shape: Any = (1, 2), datatype: str = "FP32", **more: Any) -> Any:
    return {"name": name, "shape": list(shape), "datatype": datatype, **more}


def binary(name: str = "x", shape: Any = (1, 2), datatype: str = "FP32", size: Any = 8) -> Any:
    return given_as(name, shape, datatype, parameters={"binary_data_size": size})


def body_of(*inputs: Any, **more: Any) -> bytes:
    return orjson.dumps({"inputs": inputs, **more})


def read(
    source: Reader, body: bytes, header_bytes: int | None = None
) -> tuple[Plan, Tensors]:  # fmt: skip
    return source.read(memoryview(body), header_bytes)


def read_header(source: Reader, header: bytes, data: bytes = b"") -> tuple[Plan, Tensors]:
    return read(source, header + data, len(header))


def refusal(source: Reader, body: bytes, header_bytes: int | None = None) -> str:
    with pytest.raises(BadBody) as caught:
        read(source, body, header_bytes)
    return str(caught.value)


GOOD = body_of(given_as(data=[1, 2.5]))
FLOATS = np.array([1, 2.5], np.float32).tobytes()


# --- what is read --------------------------------------------------------------------------------


def test_json_request_asks_for_all_outputs_as_json() -> None:
    plan, tensors = read(reader(), GOOD)
    assert tensors["x"].tolist() == [[1, 2.5]]
    assert tensors["x"].dtype == np.float32
    assert plan.wishes == [Wish("y", binary=False), Wish("z", binary=False)]
    assert (plan.id, plan.timeout_us, plan.priority) == (None, 0, 0)


def test_binary_request_has_its_tensors_behind_the_header_in_order() -> None:
    source = reader(X, tensor("w", "string", ("N",)))
    header = body_of(binary(), binary("w", [1], "BYTES", 7))
    _, tensors = read_header(source, header, FLOATS + b"\x03\x00\x00\x00abc")
    assert {name: array.tolist() for name, array in tensors.items()} == {
        "x": [[1, 2.5]],
        "w": ["abc"],
    }


def test_binary_and_json_tensors_may_stand_in_one_request() -> None:
    source = reader(tensor("a"), tensor("b"), tensor("c"))
    header = body_of(binary("a"), given_as("b", data=[[3, 4]]), binary("c"))
    _, tensors = read_header(source, header, FLOATS + FLOATS[::-1])
    assert tensors["a"].tolist() == [[1, 2.5]]
    assert tensors["b"].tolist() == [[3, 4]]
    assert tensors["c"].tobytes() == FLOATS[::-1]


def test_header_may_have_blanks_and_any_length() -> None:
    for blanks in range(9):  # the data then begin at any address
        header = b" " * blanks + body_of(binary())
        _, tensors = read_header(reader(), header, FLOATS)
        assert tensors["x"].tolist() == [[1, 2.5]]


def test_outputs_are_those_asked_for_in_that_order_each_in_its_form() -> None:
    wishes = [{"name": "z", "parameters": {"binary_data": True}}, {"name": "y"}]
    plan, _ = read(reader(), body_of(given_as(data=[1, 2]), outputs=wishes))
    assert plan.wishes == [Wish("z", binary=True), Wish("y", binary=False)]


def test_binary_data_output_holds_for_outputs_that_do_not_say_otherwise() -> None:
    parameters = {"binary_data_output": True}
    plan, _ = read(reader(), body_of(given_as(data=[1, 2]), parameters=parameters))
    assert [wish.binary for wish in plan.wishes] == [True, True]
    wishes = [{"name": "y", "parameters": {"binary_data": False}}, {"name": "z"}]
    body = body_of(given_as(data=[1, 2]), parameters=parameters, outputs=wishes)
    assert [wish.binary for wish in read(reader(), body)[0].wishes] == [False, True]


def test_an_empty_list_of_outputs_asks_for_all_as_in_triton() -> None:
    for body, header_bytes in (
        (body_of(given_as(data=[1, 2]), outputs=[]), None),
        (body_of(binary(), outputs=[]) + FLOATS, len(body_of(binary(), outputs=[]))),
    ):
        assert [wish.name for wish in read(reader(), body, header_bytes)[0].wishes] == ["y", "z"]


def test_id_priority_timeout_and_classification_are_read() -> None:
    body = body_of(
        given_as(data=[1, 2]), id="ä 7", parameters={"priority": 2**64 - 1, "timeout": 1500, "own": 1.5},
        outputs=[{"name": "y", "parameters": {"classification": 3, "own": "text"}}],
    )  # fmt: skip
    plan, _ = read(reader(), body)
    assert (plan.id, plan.priority, plan.timeout_us) == ("ä 7", 2**64 - 1, 1500)
    assert plan.wishes == [Wish("y", binary=False, classes=3)]


@pytest.mark.parametrize("nothing", [{}, {"id": None}, {"id": ""}, {"parameters": None}, {"outputs": None}, {"unknown": [1]}, {"parameters": {"sequence_id": 0}}, {"parameters": {"sequence_id": ""}}], ids=str)  # fmt: skip
def test_what_says_nothing_changes_nothing(nothing: Any) -> None:
    plan, tensors = read(reader(), body_of(given_as(data=[1, 2.5]), **nothing))
    assert plan.id is None
    assert len(plan.wishes) == 2
    assert tensors["x"].tolist() == [[1, 2.5]]


def test_integers_of_more_than_64_bits_are_numbers_where_floats_are_wanted() -> None:
    body = GOOD.replace(b"2.5", b"123456789012345678901234567890")
    assert read(reader(), body)[1]["x"].tolist() == [
        [1, float(np.float32(123456789012345678901234567890))]
    ]
    assert "only INT64 values" in refusal(
        reader(tensor("x", "int64")),
        body.replace(b"FP32", b"INT64"),
    )  # fmt: skip


# --- the raw binary request ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "rows", "body", "shape"),
    [
        (("N", 2), True, FLOATS, (1, 2)),
        (("N",), True, FLOATS[:4], (1,)),
        (("N", "L"), True, FLOATS * 2, (1, 4)),
        (("N", 2, "L"), True, FLOATS * 3, (1, 2, 3)),
        (("N", "L"), True, b"", (1, 0)),
        ((2,), False, FLOATS, (2,)),
        ((), False, FLOATS[:4], ()),
        (("L", 2), False, FLOATS * 2, (2, 2)),
        ((0, 2), False, b"", (0, 2)),
    ],
)
def test_raw_body_is_the_only_input_as_one_row(
    axes: Axes, rows: bool, body: bytes, shape: tuple[int, ...]
) -> None:
    source = reader(tensor("x", axes=axes), outputs=[tensor("y", axes=("N",))], rows=rows)
    plan, tensors = read(source, body, 0)
    assert tensors["x"].shape == shape
    assert tensors["x"].tobytes() == body
    assert plan.wishes == [Wish("y", binary=True)]


@pytest.mark.parametrize("axes", [("N",), ("N", 1), ("N", 1, 1)])
def test_raw_text_is_one_string_without_its_length(axes: Axes) -> None:
    _, tensors = read(reader(tensor("x", "string", axes)), "héllo".encode(), 0)
    assert tensors["x"].tolist() == np.full([1] * len(axes), "héllo").tolist()


@pytest.mark.parametrize(
    ("inputs", "body", "words"),
    [
        ((X, tensor("w")), FLOATS, "needs a model with one input; this takes ['x', 'w']"),
        ((tensor("x", axes=("N", "A", "B")),), FLOATS, "whose shape follows from its size"),
        ((X,), FLOATS[:7], "expected 8 bytes for x; got 7"),
        ((X,), b"", "expected 8 bytes for x; got 0"),
        ((X,), FLOATS * 2, "expected 8 bytes for x; got 16"),
        ((tensor("x", axes=("N", "L", 3)),), FLOATS, "a multiple of 12 bytes for x; got 8"),
        ((tensor("x", axes=("N", "L", 0)),), FLOATS, "bytes for x; got 8"),
        ((tensor("x", axes=("N", "L", 0)),), b"", "bytes for x; got 0"),
        ((tensor("x", axes=("N", 0)),), FLOATS, "expected 0 bytes for x; got 8"),
        ((tensor("x", "string", ("N", 2)),), b"ab", "raw binary request of BYTES needs one element"),
        ((tensor("x", "string", ("N", "L")),), b"ab", "whose shape follows from its size"),
        ((tensor("x", "string", ("N", 1)),), b"\xff", "expected UTF-8 text"),
        ((tensor("x", "bool", ("N", 2)),), b"\x02\x00", "expected BOOL as bytes 0 and 1"),
    ],
)  # fmt: skip
def test_raw_body_that_is_not_one_input_is_refused(
    inputs: tuple[Tensor, ...], body: bytes, words: str
) -> None:
    assert words in refusal(reader(*inputs), body, 0)


# --- what is refused -----------------------------------------------------------------------------

HOLLOW = {"name": "x", "shape": [1, 2], "datatype": "FP32"}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "expected a JSON mapping"),
        ("inputs", "expected a JSON mapping"),
        (1, "expected a JSON mapping"),
        (None, "expected a JSON mapping"),
        ({}, "inputs: expected a list of tensors"),
        ({"inputs": None}, "inputs: expected a list of tensors"),
        ({"inputs": {"x": 1}}, "inputs: expected a list of tensors"),
        ({"inputs": "x"}, "inputs: expected a list of tensors"),
        ({"inputs": [1]}, "inputs: expected mappings with name"),
        ({"inputs": [[]]}, "inputs: expected mappings with name"),
        ({"inputs": []}, "inputs: expected ['x']; ['x'] did not come"),
        ({"inputs": [{}]}, "unexpected input None; this model takes ['x']"),
        ({"inputs": [given_as("w", data=[1, 2])]}, "unexpected input 'w'; this model takes ['x']"),
        ({"inputs": [given_as(["x"], data=[1, 2])]}, "unexpected input"),  # type: ignore[arg-type]
        ({"inputs": [given_as("x" * 10_000, data=[1])]}, "unexpected input 'xxx"),
        ({"inputs": [given_as(data=[1, 2])] * 2}, "inputs: x came twice"),
        ({"inputs": [HOLLOW]}, "expected data, or parameters.binary_data_size; got neither"),
        ({"inputs": [HOLLOW | {"data": None}]}, "got neither"),
        ({"inputs": [HOLLOW | {"data": 1}]}, "input x: data: expected an array; got int"),
        ({"inputs": [HOLLOW | {"data": "12"}]}, "input x: data: expected an array; got str"),
        ({"inputs": [HOLLOW | {"data": {}}]}, "input x: data: expected an array; got "),
        ({"inputs": [binary() | {"data": [1, 2]}]}, "expected data or binary_data_size; got both"),
        ({"inputs": [given_as(data=[1])]}, "expected 2 elements for shape [1, 2]; got 1"),
        ({"inputs": [given_as(data=[1, 2, 3])]}, "expected 2 elements for shape [1, 2]; got 3"),
        ({"inputs": [given_as(data=[])]}, "expected 2 elements for shape [1, 2]; got 0"),
        ({"inputs": [given_as(shape=[0, 2], data=[])]}, "expected 1 to 100 rows; got 0"),
        ({"inputs": [given_as(shape=[101, 2], data=[0] * 202)]}, "1 to 100 rows; got 101"),
        ({"inputs": [given_as(shape=[2**31 - 1, 2], data=[])]}, "elements for shape"),
        ({"inputs": [given_as(data=[1, 2], datatype="FP64")]}, "expected datatype FP32; got 'FP64'"),
        ({"inputs": [given_as(data=[1, 2], parameters=[])]}, "input x: parameters: expected a mapping"),
        ({"inputs": [given_as(data=[1, 2], parameters="a")]}, "input x: parameters: expected a mapping"),
        ({"inputs": [given_as(data=[1, 2])], "id": 7}, "id: expected a string; got 7"),
        ({"inputs": [given_as(data=[1, 2])], "id": ["a"]}, "id: expected a string"),
        ({"inputs": [given_as(data=[1, 2])], "parameters": []}, "parameters: expected a mapping"),
        ({"inputs": [given_as(data=[1, 2])], "parameters": {"timeout": -1}}, "parameters.timeout: expected a whole number from 0"),
        ({"inputs": [given_as(data=[1, 2])], "parameters": {"timeout": 1.5}}, "parameters.timeout"),
        ({"inputs": [given_as(data=[1, 2])], "parameters": {"timeout": True}}, "parameters.timeout"),
        ({"inputs": [given_as(data=[1, 2])], "parameters": {"timeout": "9"}}, "parameters.timeout"),
        ({"inputs": [given_as(data=[1, 2])], "parameters": {"timeout": None}}, "parameters.timeout"),
        ({"inputs": [given_as(data=[1, 2])], "parameters": {"timeout": 3_600_000_001}}, "parameters.timeout"),
        ({"inputs": [given_as(data=[1, 2])], "parameters": {"priority": -1}}, "parameters.priority"),
        ({"inputs": [given_as(data=[1, 2])], "parameters": {"priority": "high"}}, "parameters.priority"),
        ({"inputs": [given_as(data=[1, 2])], "parameters": {"sequence_id": 7}}, "sequence_id: models here keep no state"),
        ({"inputs": [given_as(data=[1, 2])], "parameters": {"sequence_id": "a"}}, "sequence_id"),
        ({"inputs": [given_as(data=[1, 2])], "parameters": {"binary_data_output": 1}}, "parameters.binary_data_output: expected true or false"),
        ({"inputs": [given_as(data=[1, 2])], "outputs": {"name": "y"}}, "outputs: expected a list of outputs"),
        ({"inputs": [given_as(data=[1, 2])], "outputs": ""}, "outputs: expected a list of outputs"),
        ({"inputs": [given_as(data=[1, 2])], "outputs": False}, "outputs: expected a list of outputs"),
        ({"inputs": [given_as(data=[1, 2])], "outputs": ["y"]}, "outputs: expected mappings with a name"),
        ({"inputs": [given_as(data=[1, 2])], "outputs": [{}]}, "unexpected output None; this model gives ['y', 'z']"),
        ({"inputs": [given_as(data=[1, 2])], "outputs": [{"name": "x"}]}, "unexpected output 'x'"),
        ({"inputs": [given_as(data=[1, 2])], "outputs": [{"name": "y"}, {"name": "y"}]}, "output y: asked for twice"),
        ({"inputs": [given_as(data=[1, 2])], "outputs": [{"name": "y", "parameters": 1}]}, "output y: parameters: expected a mapping"),
        ({"inputs": [given_as(data=[1, 2])], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "output y.binary_data: expected true or false"),
        ({"inputs": [given_as(data=[1, 2])], "outputs": [{"name": "y", "parameters": {"classification": -1}}]}, "output y.classification: expected a whole number"),
        ({"inputs": [given_as(data=[1, 2])], "outputs": [{"name": "y", "parameters": {"classification": 10_001}}]}, "output y.classification"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, str) else "",
)  # fmt: skip
def test_documents_that_are_no_request_are_refused_alike_as_body_and_as_header(
    document: Any, words: str
) -> None:
    body = orjson.dumps(document)
    as_body = refusal(reader(), body)
    assert words in as_body
    assert len(as_body) < 300
    if "got both" not in words:
        as_header = refusal(reader(), body, len(body))
        assert as_header.split("; got")[0] == as_body.split("; got")[0]


@pytest.mark.parametrize(
    "text",
    ["", " ", "hello", "{", GOOD[:-1], GOOD + b"x", GOOD + GOOD, "[" * 5000, '{"a":' * 5000,
     "[" * 5000 + "]" * 5000, b"\xff", b"\xef\xbb\xbf" + GOOD[:-1], GOOD.replace(b"2.5", b"NaN"),
     GOOD.replace(b"2.5", b"Infinity"), GOOD.replace(b"2.5", b"1e400"),
     GOOD.replace(b"2.5", b"+1"), GOOD.replace(b"2.5", b"01"), GOOD.replace(b"2.5", b".5"),
     GOOD.replace(b"2.5", b"0x1"), GOOD.replace(b"x", b"\\ud800"), GOOD.replace(b"x", b"\x00"),
     GOOD.replace(b"2.5]", b"2.5,]"), GOOD.decode().encode("utf-16")],
    ids=lambda text: repr(text)[:24],
)  # fmt: skip
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    body = text if isinstance(text, bytes) else text.encode()
    assert refusal(reader(), body).startswith("expected JSON")
    if body:
        assert refusal(reader(), body, len(body)).startswith("expected JSON in the first")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (7, "expected binary_data_size 8 for shape [1, 2] of FP32; got 7"),
        (0, "binary_data_size 8"),
        (16, "binary_data_size 8"),
        (-8, "input x.binary_data_size: expected a whole number from 0"),
        (8.0, "input x.binary_data_size"),
        ("8", "input x.binary_data_size"),
        (True, "input x.binary_data_size"),
        (None, "input x.binary_data_size"),
    ],
)
def test_binary_data_size_is_the_shapes(size: Any, words: str) -> None:
    header = body_of(binary(size=size))
    assert words in refusal(reader(), header + FLOATS, len(header))


@pytest.mark.parametrize("data", [b"", FLOATS[:-1], FLOATS + b"\x00", FLOATS * 2])
def test_binary_data_end_where_the_body_ends(data: bytes) -> None:
    header = body_of(binary())
    words = f"expected 8 bytes of tensors behind the JSON header; got {len(data)}"
    assert refusal(reader(), header + data, len(header)) == words


def test_strings_are_as_long_as_their_binary_data_size_says() -> None:
    header = body_of(binary("x", [1], "BYTES", 2**63))
    assert "expected 9,223,372,036,854,775,808 bytes of tensors" in refusal(
        reader(tensor("x", "string", ("N",))), header + FLOATS, len(header)
    )


def test_header_is_no_longer_than_the_body() -> None:
    words = f"expected at most the body's {len(GOOD)} bytes; got {len(GOOD) + 1}"
    assert words in refusal(reader(), GOOD, len(GOOD) + 1)


def test_binary_data_size_without_the_http_header_is_refused() -> None:
    header = body_of(binary())
    assert "Inference-Header-Content-Length" in refusal(reader(), header)
    both = reader(X, tensor("w"))
    assert "Inference-Header-Content-Length" in refusal(
        both, body_of(binary(), given_as("w", data=[1, 2]))
    )


def test_an_input_that_does_not_come_is_named() -> None:
    source = reader(tensor("a"), tensor("b"), tensor("c"))
    words = "expected ['a', 'b', 'c']; ['a', 'c'] did not come"
    assert words in refusal(source, body_of(given_as("b", data=[1, 2])))


@pytest.mark.parametrize("form", ["[1,[2]]", "[[1],2]", "[[1,2],[]]", "[[[1,2]]]", "[[1,[2]]]"])
def test_ragged_data_are_refused_whatever_stands_beside_them(form: str) -> None:
    text = GOOD.decode().replace("[1,2.5]", form)
    for body in (text, text.replace('"inputs"', '"id":"[","inputs"')):
        source = reader()
        for _ in range(2):
            assert "input x: " in refusal(source, body.encode())
            read(source, GOOD)


def test_padded_axis_may_be_shorter_and_not_longer() -> None:
    source = reader(tensor("x", axes=("N", "T")), pad={"T": (4, 8)})
    assert read(source, body_of(given_as(data=[1, 2])))[1]["x"].shape == (1, 2)
    assert "at most 8" in refusal(source, body_of(given_as(shape=[1, 9], data=[0] * 9)))


# --- nothing kept changes an answer --------------------------------------------------------------


def outcome(source: Reader, body: bytes, header_bytes: int | None = None) -> Any:
    """All that a request came to, in values that can be compared."""
    try:
        plan, tensors = read(source, body, header_bytes)
    except BadBody as error:
        return str(error)
    facts = plan.id, plan.timeout_us, plan.priority, tuple(map(repr, plan.wishes))
    return facts, {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in tensors.items()}


BEFORE = st.sampled_from([
    '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":',
    '{"inputs":[{"name":"x","shape":[2,1],"datatype":"FP32","data":',
    '{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data": ',
    '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","data":',
    '{"inputs":[{"data":',
    ' {"inputs" : [ {"name":"x","shape":[1,2],"datatype":"FP32","data"\n:\t',
    '{"id":"1","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":',
    '{"id":"\\"data\\":[","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":',
    '{"parameters":{"own":"data"},"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":',
    '{"inputs":[{"name":"x","datatype":"FP32","parameters":{"own":"data"},"shape":[1,2],"d\\u0061ta":',
    '{"data":[1,2],"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","d\\u0061ta":',
    '{"inputs":[{"name":"x","d\\u0061ta":[5,6],"shape":[1,2],"datatype":"FP32","data":',
    '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8},"data":',
])  # fmt: skip
DATA = st.sampled_from([
    "[1,2]", "[3,4]", "[[1,2]]", "[[1],[2]]", "[1.5,-0.0]", "[-0,1e2]", "[ 1 ,\n2 ]", "[1E-2,1e-400]",
    "[1,2,3]", "[1]", "[]", "[1,2,3,4]", "[[1,2],[3,4]]", "[true,1]", "[null,1]", '["a",1]',
    "[NaN,1]", "[1e400,1]", "[1e39,1]", "[3.4028235e38,1]", "[123456789012345678901234567890,1]",
    "[18446744073709551616,1]", "[-9223372036854775809,1]", "[1,[2]]", "[1,{}]", "[1,2]]", "[[1,2]",
    "[1,2", "1,2]", "{}", '"[1,2]"', "null", "", '[1,2],"data":[3,4]', '[1,2],"own":[3,4]',
    '[1,2]}],"outputs":[{"name":"y"', '[1,2]}],"parameters":{"own":[1]},"own":[{"own":[2]',
    "[1,2] /* */", '[1,2],"datatype":"FP64"', '[1,2],"shape":[2,1]', "[1,2,]", "[01,2]",
])  # fmt: skip
BEHIND = st.sampled_from([
    "}]}", "}]]", "]]}", "}] }\n", ' } ] } ', '}],"id":"a"}', '}],"id":""}', '}],"parameters":{"priority":1}}',
    '}],"parameters":{"priority":2}}', '}],"parameters":{"timeout":5,"binary_data_output":true}}', '}],"outputs":[{"name":"y"}]}',
    '}],"outputs":[{"name":"z","parameters":{"binary_data":true}}]}', '}],"outputs":[]}',
    '}],"own":"\\"data\\":[1,2]"}', '}],"own":{"data":[1,2]}}', ',"parameters":{}}]}',
    ',"name":"w"}]}', ',"shape":[1,2],"datatype":"FP32","name":"x"}]}', "}]}}", "}]", "", "]}",
    ',"data":[7,8]}]}', '},{"name":"x","shape":[1,2],"datatype":"FP32"}]}',
])  # fmt: skip
PLAIN = '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":'


@thorough
@given(texts=st.lists(st.tuples(BEFORE, DATA, BEHIND), min_size=2, max_size=12))
@example([(PLAIN, "[1,2]", "}]}"), (PLAIN, '[1,2]}],"outputs":[{"name":"y"', "}]}")])
@example([(PLAIN, "[1,2]", "}]}"), (PLAIN, '[1,2]}],"outputs":[{"name":"y"}],"own":[', "}]}")])
@example([(PLAIN, "[1,2]", "}]}"), (PLAIN, "[1,[2],[]]", "}]}"), (PLAIN, "[[3,4]]", "}]}")])
@example(
    [
        (
            '{"inputs":[{"name":"x","parameters":{"own":"data"},"datatype":"FP32","shape":',
            "[1,2]",
            ',"d\\u0061ta":[1,2]}]}',
        ),
        (
            '{"inputs":[{"name":"x","parameters":{"own":"data"},"datatype":"FP32","shape":',
            "[2,1]",
            ',"d\\u0061ta":[1,2]}]}',
        ),
    ]
)
@example(
    [
        ('{"data":', "[1,2]", ',"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","d\\u0061ta":[5,6]}]}'),
        ('{"data":', "[3,4]", ',"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","d\\u0061ta":[5,6]}]}'),
    ]
)  # fmt: skip
def test_json_is_read_as_if_it_were_the_first_of_its_kind(texts: list[tuple[str, ...]]) -> None:
    warm = reader()
    for text in texts:
        body = "".join(text).encode()
        expected = outcome(reader(), body)
        assert outcome(warm, body) == expected
        assert outcome(warm, body) == expected  # and again, now that it is known


def headers_of(*more: str) -> list[bytes]:
    start = (
        '{"inputs":[{"name":"x","shape":[%s],"datatype":"%s","parameters":{"binary_data_size":%s}}'
    )
    forms = [("1,2", "FP32", "8"), ("2,2", "FP32", "16"), ("2,1", "FP32", "8"), ("1,2", "FP64", "16"),
             ("1,2", "FP32", "7"), ("1, 2", "FP32", "8")]  # fmt: skip
    return [(start % form + end).encode() for form in forms for end in more]


HEADERS = st.sampled_from([body_of(given_as(data=[1, 2])), *headers_of(
    "]}", "] } ", '],"id":"a"}', '],"parameters":{"binary_data_output":true}}', "]",
    '],"outputs":[{"name":"y","parameters":{"binary_data":true}}]}', '],"parameters":{"priority":3}}',
)])  # fmt: skip
TAILS = st.sampled_from([FLOATS, FLOATS[::-1], FLOATS * 2, FLOATS + FLOATS[::-1], b"", FLOATS[:-1]])


@thorough
@given(requests=st.lists(st.tuples(HEADERS, TAILS, st.integers(-2, 2)), min_size=2, max_size=12))
def test_a_binary_header_means_what_it_meant_the_first_time(
    requests: list[tuple[bytes, bytes, int]],
) -> None:
    warm = reader()
    for header, tail, shift in requests:
        header_bytes = max(1, len(header) + shift)
        expected = outcome(reader(), header + tail, header_bytes)
        for _ in range(2):
            assert outcome(warm, header + tail, header_bytes) == expected


def test_an_answer_read_before_keeps_its_numbers_when_the_next_is_read() -> None:
    source = reader()
    _, first = read(source, GOOD)
    _, second = read(source, GOOD.replace(b"2.5", b"7.5"))
    assert (first["x"].tolist(), second["x"].tolist()) == ([[1, 2.5]], [[1, 7.5]])


def test_an_id_belongs_to_one_request_only() -> None:
    source = reader()
    named = body_of(given_as(data=[1, 2]), id="a")
    header = body_of(binary(), id="b")
    for _ in range(2):
        assert read(source, named)[0].id == "a"
        assert read_header(source, header, FLOATS)[0].id == "b"
        assert read(source, GOOD)[0].id is None
        assert read_header(source, body_of(binary()), FLOATS)[0].id is None


def test_more_kinds_of_requests_than_are_kept_are_all_read() -> None:
    source = reader()
    for turn in range(600):
        parameters = {"own": turn}
        _, tensors = read(source, body_of(given_as(data=[turn, 1]), parameters=parameters))
        assert tensors["x"].tolist() == [[turn, 1]]
        header = body_of(binary(), parameters=parameters)
        assert read_header(source, header, FLOATS)[1]["x"].tolist() == [[1, 2.5]]


def test_a_refusal_that_is_still_held_does_not_spoil_the_next_request() -> None:
    source, held = reader(), []
    for text in (b'["a",1]', b"[1,[2]]", b"[1e39,1]", b"[1]", b'[1,2],"own":[}'):
        for parameters in (b"", b',"id":"a"'):
            body = GOOD.replace(b"[1,2.5]", text).replace(b"]}]}", b"]}]" + parameters + b"}")
            with pytest.raises(BadBody) as caught:
                read(source, body)
            held.append(caught.value)
            assert read(source, GOOD)[1]["x"].tolist() == [[1, 2.5]]
            assert read(source, body_of(given_as(data=[3, 4]), id="b"))[1]["x"].tolist() == [[3, 4]]
    assert len(held) == 10


def test_a_large_body_is_read_and_then_a_small_one() -> None:
    source = reader(tensor("x", axes=("N", "L")))
    values = list(range(1_000_000))
    _, tensors = read(source, body_of(given_as(shape=[1, len(values)], data=values)))
    assert tensors["x"][0].tolist() == values
    assert read(source, GOOD)[1]["x"].tolist() == [[1, 2.5]]


# --- whatever comes ------------------------------------------------------------------------------

MIXED = [
    X,
    tensor("b", "bool", ("N",)),
    tensor("s", "string", ("N", "L")),
    tensor("i", "int8", ("N", 1)),
]
WHOLE = body_of(
    binary(), given_as("b", [1], "BOOL", data=[True]), binary("s", [1, 2], "BYTES", 11),
    given_as("i", [1, 1], "INT8", data=[[-5]]), id="a", parameters={"priority": 1},
    outputs=[{"name": "y", "parameters": {"classification": 1}}],
)  # fmt: skip
WHOLE_TAIL = FLOATS + b"\x02\x00\x00\x00\xc3\xa9\x01\x00\x00\x00b"


def test_the_request_that_is_broken_below_is_whole() -> None:
    plan, tensors = read_header(reader(*MIXED), WHOLE, WHOLE_TAIL)
    assert plan.id == "a"
    assert {name: array.tolist() for name, array in tensors.items()} == {
        "x": [[1, 2.5]], "b": [True], "s": [["é", "b"]], "i": [[-5]],
    }  # fmt: skip


LENGTHS = st.none() | st.integers(0, 80) | st.integers(0, 10**12)


@thorough
@given(body=st.binary(max_size=80), header_bytes=LENGTHS)
def test_any_bytes_are_read_or_refused(body: bytes, header_bytes: int | None) -> None:
    for source in (reader(), reader(*MIXED), reader(tensor("s", "string", ("N", 1)))):
        outcome(source, body, header_bytes)  # raises nothing but BadBody


@thorough
@given(
    cuts=st.lists(
        st.tuples(st.integers(0, len(WHOLE + WHOLE_TAIL)), st.integers(0, 3), st.binary(max_size=3)),
        min_size=1, max_size=3,
    ),
    length=st.sampled_from([None, 0, len(WHOLE), len(WHOLE) - 1, len(WHOLE) + 1, 10]),
)  # fmt: skip
def test_a_good_request_with_bytes_changed_is_read_or_refused(
    cuts: list[tuple[int, int, bytes]], length: int | None
) -> None:
    body = WHOLE + WHOLE_TAIL
    for place, gone, put in cuts:
        body = body[:place] + put + body[place + gone :]
    outcome(reader(*MIXED), body, length)


SCRAPS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats() | st.text(max_size=4)
    | st.sampled_from(["x", "y", "FP32", "BYTES", "binary_data_size"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["inputs", "outputs", "name", "shape", "datatype", "data", "parameters", "id",
                         "binary_data_size", "classification", "timeout", "binary_data"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@thorough
@given(changes=st.dictionaries(st.sampled_from(["name", "shape", "datatype", "data", "parameters"]), SCRAPS, max_size=3), more=st.dictionaries(st.sampled_from(["id", "parameters", "outputs", "inputs"]), SCRAPS, max_size=2))  # fmt: skip
def test_any_json_in_the_place_of_any_field_is_read_or_refused(changes: Any, more: Any) -> None:
    document = {"inputs": [{**given_as(data=[1, 2]), **changes}], **more}
    body = json.dumps(document).encode()
    for header_bytes in (None, len(body)):
        outcome(reader(), body, header_bytes)
    assert outcome(reader(), GOOD) == outcome(reader(), GOOD)
