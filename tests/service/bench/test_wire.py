import json

import numpy as np
import pytest

from service.bench.errors import BenchError
from service.bench.tensors import Input, Inputs, Tensors
from service.bench.wire import HEADER_LENGTH, decode, encode

INPUTS = Inputs("model", (Input("a", "FP32", (2, 2)), Input("b", "INT64", (2, 1))), 2, batches=True)
TENSORS: Tensors = {
    "a": np.array([[0.1, 2], [-3, 4e-7]], np.float32),
    "b": np.array([[7], [-9]], np.int64),
}


def test_a_binary_request_is_a_json_head_and_the_bytes_of_each_tensor() -> None:
    headers, body = encode("binary", INPUTS, TENSORS)
    head_bytes = int(headers[HEADER_LENGTH])
    head = json.loads(body[:head_bytes])
    assert head["parameters"] == {"binary_data_output": True}
    assert [(entry["name"], entry["datatype"], entry["shape"]) for entry in head["inputs"]] == [
        ("a", "FP32", [2, 2]),
        ("b", "INT64", [2, 1]),
    ]
    sizes = [entry["parameters"]["binary_data_size"] for entry in head["inputs"]]
    assert sizes == [16, 16]
    assert body[head_bytes:] == TENSORS["a"].tobytes() + TENSORS["b"].tobytes()


def test_a_json_request_has_the_shortest_numbers_that_mean_the_same() -> None:
    headers, body = encode("json", INPUTS, TENSORS)
    assert headers == {"content-type": "application/json"}
    first, second = json.loads(body)["inputs"]
    assert (first["data"], second["data"]) == ([0.1, 2.0, -3.0, 4e-7], [7, -9])
    assert b"0.1," in body


def test_half_floats_have_no_json_form() -> None:
    half = Inputs("model", (Input("a", "FP16", (1,)),), 1, batches=False)
    with pytest.raises(BenchError, match="FP16 has no JSON form; --body binary"):
        encode("json", half, {"a": np.zeros(1, np.float16)})


def test_an_answer_is_read_from_both_forms() -> None:
    entry = {"name": "y", "datatype": "FP32", "shape": [2, 1]}
    inline = json.dumps({"outputs": [entry | {"data": [1.5, None]}]}).encode()
    binary = json.dumps({"outputs": [entry | {"parameters": {"binary_data_size": 8}}]}).encode()
    values = np.array([[1.5], [np.nan]], np.float32)
    headers = {HEADER_LENGTH: str(len(binary))}
    for got in (decode({}, inline), decode(headers, binary + values.tobytes())):
        np.testing.assert_array_equal(got["y"], values)
        assert got["y"].dtype == np.float32


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"error": "no"}',
        b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [3], "data": [1]}]}',
        b'{"outputs": [{"name": "y", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}',
    ],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode({}, body)
