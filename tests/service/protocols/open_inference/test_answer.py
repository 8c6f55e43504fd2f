"""Bodies of infer answers: header and data, in the form and order that was asked for."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.manifest import Batching, Graph, Tensor
from model_store.spec import DType, Tensors
from service.errors import BadBody
from service.protocols.open_inference import wire
from service.protocols.open_inference.answer import Answer, Writer
from service.protocols.open_inference.request import Plan, Wish
from service.protocols.open_inference.signature import Signature
from tests.service.protocols.open_inference.graphs import ELEMENTS, IN_JSON, Array, sample

MANIFEST_TYPES: dict[str, DType] = {name: kind for kind, name in wire.DATATYPES.items()}  # type: ignore[misc]


def writer(
    *outputs: tuple[str, str], name: str = "m", labels: Sequence[str] = (), rows: bool = True
) -> Writer:  # fmt: skip
    """Of a model whose outputs have these names and datatypes."""
    sides = tuple(
        Tensor(name=name, dtype=MANIFEST_TYPES[datatype], shape=("N", 3))
        for name, datatype in outputs or [("y", "FP32")]
    )
    graph = Graph(file="model.onnx", inputs=sides, outputs=sides, batching=Batching(rows=rows))
    return Writer(Signature(graph), name, 7, labels)


def asked(*wishes: Wish, **more: Any) -> Plan:
    return Plan(wishes=list(wishes) or [Wish("y", binary=False)], **more)


def fields(answer: Answer) -> dict[str, str]:
    lines = answer.fields.decode().split("\r\n")
    assert lines.pop() == ""
    return dict(line.split(": ") for line in lines)


def parts(answer: Answer) -> tuple[dict[str, Any], bytes]:
    """The JSON of an answer and the data behind it; what its HTTP fields say of both is true."""
    body = b"".join(answer.chunks)
    head = fields(answer)
    assert int(head["content-length"]) == len(body)
    assert head["x-model-version"] == "7"
    size = head.get("inference-header-content-length")
    kind = "json" if size is None else "octet-stream"
    assert head["content-type"] == f"application/{kind}"
    cut = len(body) if size is None else int(size)
    document: dict[str, Any] = json.loads(body[:cut])
    return document, body[cut:]


ROWS = np.array([[1, 2.5, -0.0], [4, 5, 6]], np.float32)


def test_json_answer_names_model_version_and_each_output() -> None:
    document, data = parts(writer().write(asked(), {"y": ROWS}))
    assert data == b""
    assert document == {
        "model_name": "m",
        "model_version": "7",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [2, 3], "data": [1, 2.5, 0, 4, 5, 6]}
        ],
    }


def test_binary_answer_has_sizes_in_its_header_and_the_data_behind_it() -> None:
    document, data = parts(writer().write(asked(Wish("y", binary=True)), {"y": ROWS}))
    assert data == ROWS.tobytes()
    assert document["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}}
    ]


@pytest.mark.parametrize("binary", [False, True])
def test_id_is_repeated_where_one_came(binary: bool) -> None:
    wish = Wish("y", binary=binary)
    document, _ = parts(writer().write(asked(wish, id='ä"\n'), {"y": ROWS}))
    assert document["id"] == 'ä"\n'
    document, _ = parts(writer().write(asked(wish), {"y": ROWS}))
    assert "id" not in document


@pytest.mark.parametrize("name", ["m", "m@3", "m~graph", 'strange "ü'])
def test_the_model_is_named_as_the_caller_named_it(name: str) -> None:
    document, _ = parts(writer(name=name).write(asked(), {"y": ROWS}))
    assert document["model_name"] == name


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
def test_outputs_come_in_the_order_asked_for_and_binary_data_in_the_same(
    order: tuple[str, ...],
) -> None:
    outputs = {name: np.full((2, 3), place, np.float32) for place, name in enumerate("abc")}
    plan = asked(*(Wish(name, binary=name != "b") for name in order))
    source = writer(*((name, "FP32") for name in "abc"))
    for _ in range(2):
        document, data = parts(source.write(plan, outputs))
        assert [output["name"] for output in document["outputs"]] == list(order)
        assert data == b"".join(outputs[name].tobytes() for name in order if name != "b")
        (text,) = (output for output in document["outputs"] if output["name"] == "b")
        assert text["data"] == [1] * 6
        assert "parameters" not in text


def test_only_the_outputs_asked_for_come() -> None:
    source = writer(("y", "FP32"), ("z", "FP32"))
    document, data = parts(source.write(asked(Wish("z", binary=True)), {"y": ROWS, "z": -ROWS}))
    assert [output["name"] for output in document["outputs"]] == ["z"]
    assert data == (-ROWS).tobytes()


@pytest.mark.parametrize("datatype", ELEMENTS)
def test_every_type_is_written_as_binary(datatype: str) -> None:
    array = sample(datatype)
    held = array.view(np.uint16) if datatype == "BF16" else array
    document, data = parts(
        writer(("y", datatype)).write(asked(Wish("y", binary=True)), {"y": held})
    )
    assert document["outputs"][0]["datatype"] == datatype
    assert document["outputs"][0]["parameters"] == {"binary_data_size": len(data)}
    if datatype != "BYTES":
        assert data == array.tobytes()
    assert wire.from_binary(memoryview(data), datatype, (2, 3), "x").tolist() == held.tolist()


@pytest.mark.parametrize("datatype", IN_JSON)
def test_every_type_that_has_a_json_form_is_written_as_json(datatype: str) -> None:
    array = sample(datatype)
    document, _ = parts(writer(("y", datatype)).write(asked(), {"y": array}))
    assert np.array(document["outputs"][0]["data"], array.dtype).tolist() == array.ravel().tolist()


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_a_half_asked_for_as_json_is_refused(datatype: str) -> None:
    half = np.zeros((1, 3), np.float16 if datatype == "FP16" else np.uint16)
    with pytest.raises(BadBody, match=f"output y: {datatype} has no JSON form"):
        writer(("y", datatype)).write(asked(), {"y": half})


@pytest.mark.parametrize("shape", [(), (0,), (1, 0), (2, 3, 0), (70_000,), (1, 1, 1, 1, 1)])
@pytest.mark.parametrize("binary", [False, True])
def test_any_shape_is_written(shape: tuple[int, ...], binary: bool) -> None:
    array = np.ones(shape, np.float64)
    source = writer(("y", "FP64"))
    document, data = parts(source.write(asked(Wish("y", binary=binary)), {"y": array}))
    assert document["outputs"][0]["shape"] == list(shape)
    assert data == (array.tobytes() if binary else b"")
    assert binary or document["outputs"][0]["data"] == [1] * array.size


ASKED = asked(Wish("y", binary=True), Wish("s", binary=True))
WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=3)


@given(answers=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), WORDS), max_size=8))
def test_a_header_kept_from_an_earlier_answer_never_stands_before_other_shapes(
    answers: list[tuple[int, int, list[str]]],
) -> None:
    plan, source = asked(*ASKED.wishes), writer(("y", "FP32"), ("s", "BYTES"))
    for rows, columns, words in answers:
        outputs: Tensors = {
            "y": np.full((rows, columns), rows, np.float32),
            "s": np.array(words, object),
        }
        fresh = writer(("y", "FP32"), ("s", "BYTES")).write(asked(*ASKED.wishes), outputs)
        for _ in range(2):
            assert parts(source.write(plan, outputs)) == parts(fresh)


def test_more_shapes_than_are_kept_are_all_written() -> None:
    plan, source = asked(Wish("y", binary=True)), writer()
    for size in range(200):
        array = np.ones((1, size), np.float32)
        document, data = parts(source.write(plan, {"y": array}))
        assert (document["outputs"][0]["shape"], len(data)) == ([1, size], 4 * size)


# --- classification ------------------------------------------------------------------------------


def classes_of(
    array: Array, count: int, datatype: str = "FP32", *, rows: bool = True,
    labels: Sequence[str] = (), binary: bool = False,
) -> tuple[list[int], list[str]]:  # fmt: skip
    """Shape and strings of an answer's classification."""
    source = writer(("y", datatype), labels=labels, rows=rows)
    plan = asked(Wish("y", binary=binary, classes=count))
    document, data = parts(source.write(plan, {"y": array}))
    (output,) = document["outputs"]
    assert output["datatype"] == "BYTES"
    if binary:
        assert output["parameters"] == {"binary_data_size": len(data)}
        found = wire.from_binary(memoryview(data), "BYTES", output["shape"], "y")
        return output["shape"], found.ravel().tolist()
    return output["shape"], output["data"]


SCORES = np.array([[0.25, 0.5, 0.125], [1, -2, 3]], np.float32)


@pytest.mark.parametrize("binary", [False, True])
def test_classes_are_value_index_and_label_largest_first(binary: bool) -> None:
    assert classes_of(SCORES, 2, labels=["a", "b", "c:d"], binary=binary) == (
        [2, 2],
        ["0.500000:1:b", "0.250000:0:a", "3.000000:2:c:d", "1.000000:0:a"],
    )


def test_without_labels_classes_are_value_and_index() -> None:
    assert classes_of(SCORES[:1], 1) == ([1, 1], ["0.500000:1"])


def test_labels_that_are_not_as_many_as_the_classes_are_left_out() -> None:
    assert classes_of(SCORES[:1], 1, labels=["a", "b"]) == ([1, 1], ["0.500000:1"])


def test_no_more_classes_come_than_there_are() -> None:
    assert classes_of(SCORES, 100)[0] == [2, 3]
    assert classes_of(np.ones((2, 0), np.float32), 5) == ([2, 0], [])


def test_of_equal_classes_the_first_comes_first_and_nan_last() -> None:
    tied = np.array([[0.5, np.nan, 0.5, np.inf, -np.inf]], np.float32)
    assert classes_of(tied, 5)[1] == ["inf:3", "0.500000:0", "0.500000:2", "-inf:4", "nan:1"]


def test_each_row_has_its_own_classes_whatever_its_shape() -> None:
    cube = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    assert classes_of(cube, 1) == ([2, 1], ["3.000000:3", "7.000000:3"])
    assert classes_of(np.array([5, 6], np.float32), 3) == ([2, 1], ["5.000000:0", "6.000000:0"])


def test_without_a_row_axis_the_whole_output_is_one_row() -> None:
    assert classes_of(SCORES, 2, rows=False) == ([2], ["3.000000:5", "1.000000:3"])
    assert classes_of(np.array(5, np.float32), 3, rows=False) == ([1], ["5.000000:0"])


@pytest.mark.parametrize("datatype", [name for name in ELEMENTS if "INT" in name])
def test_whole_numbers_are_ordered_and_written_exactly(datatype: str) -> None:
    ends = np.iinfo(wire.NUMPY[datatype])
    array = np.array([[ends.max - 1, ends.min, ends.max, ends.max - 1]], ends.dtype)
    assert classes_of(array, 4, datatype)[1] == [
        f"{ends.max}:2", f"{ends.max - 1}:0", f"{ends.max - 1}:3", f"{ends.min}:1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("datatype", "held"),
    [
        ("FP16", np.array([[0.5, 1.5]], np.float16)),
        ("FP64", np.array([[0.5, 1.5]])),
        ("BF16", np.array([[0.5, 1.5]], ml_dtypes.bfloat16).view(np.uint16)),
    ],
)
def test_floats_of_any_width_are_classified(datatype: str, held: Array) -> None:
    assert classes_of(held, 1, datatype) == ([1, 1], ["1.500000:1"])


def test_booleans_are_classified_as_0_and_1() -> None:
    assert classes_of(np.array([[False, True]]), 2, "BOOL")[1] == ["1:1", "0:0"]


def test_text_has_no_classes() -> None:
    with pytest.raises(BadBody, match="output y: classification: expected numbers; it is text"):
        classes_of(np.array([["a"]], object), 1, "BYTES")
