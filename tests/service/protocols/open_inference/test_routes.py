"""Every route of the protocol over a real socket, in its own bytes: paths, bodies, statuses."""

from typing import Any

import numpy as np
import orjson
import pytest

from service.app import create_app
from service.settings import Settings
from tests.service.conftest import Start
from tests.service.protocols.open_inference.graphs import echo, f32, put, sample
from tests.service.protocols.open_inference.paths import WAYS, ask, in_binary, in_json, infer
from tests.service.server import Server, patience

ROW = f32([[1, 2.5, -3]])


def got(server: Server, path: str, status: int = 200) -> Any:
    response = server.client.get(path)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def posted(server: Server, path: str, body: bytes = b"", status: int = 200) -> Any:
    response = server.client.post(path, content=body)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


# --- health and metadata -------------------------------------------------------------------------


def test_live_is_said_in_the_specifications_words(server: Server) -> None:
    assert got(server, "/v2/health/live") == {"live": True}


def test_ready_is_said_under_the_key_of_each_reader(server: Server) -> None:
    """The specification's page shows ``live`` where KServe's client reads ``ready``."""
    assert got(server, "/v2/health/ready") == {"live": True, "ready": True}


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_server_metadata_have_what_the_specification_requires(server: Server, path: str) -> None:
    found = got(server, path)
    assert set(found) == {"name", "version", "extensions"}
    assert found["extensions"] == sorted(found["extensions"])


@pytest.mark.parametrize("suffix", ["", "/versions/1"])
def test_model_ready_has_name_and_answer(server: Server, suffix: str) -> None:
    assert got(server, f"/v2/models/pair{suffix}/ready") == {"name": "pair", "ready": True}


@pytest.mark.parametrize("suffix", ["", "/versions/1"])
def test_model_metadata_have_names_types_and_shapes(server: Server, suffix: str) -> None:
    found = got(server, f"/v2/models/words{suffix}")
    tokens = {"datatype": "INT64", "shape": [-1, -1]}
    assert found == {
        "name": "words",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "tokens", **tokens}, {"name": "mask", **tokens}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}],
    }


def test_a_version_or_alias_may_stand_in_the_name(server: Server) -> None:
    assert got(server, "/v2/models/pair@1")["name"] == "pair@1"
    answer = posted(server, infer("echo_fp32@1"), in_json(ROW))
    assert (answer["model_name"], answer["model_version"]) == ("echo_fp32@1", "1")


def test_a_model_without_a_batch_axis_has_its_own_shape(server: Server) -> None:
    assert got(server, "/v2/models/fixed")["inputs"][0]["shape"] == [2, 3]
    assert got(server, "/v2/models/scalar")["inputs"][0]["shape"] == []


@pytest.mark.parametrize("what", ["", "/ready", "/config", "/stats"])
@pytest.mark.parametrize(
    "name", ["nothing", "pair/versions/9", "pair/versions/x", "pair@9", "codec~x", "Pair", "a%2Fb"]
)
def test_what_is_unknown_is_404_in_every_call(server: Server, name: str, what: str) -> None:
    found = got(server, f"/v2/models/{name}{what}", 404)
    assert list(found) == ["error"]


@pytest.mark.parametrize(
    "path", ["/v2/nothing", "/v2/models", "/v2/models/pair/nothing", "/v2/health", "/v2/repository"]
)
def test_unknown_paths_are_404_in_the_protocols_shape(server: Server, path: str) -> None:
    assert "Not Found" in got(server, path, 404)["error"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2", "GET"),
        ("DELETE", "/v2/models/pair", "GET"),
        ("POST", "/v2/models/pair/ready", "GET"),
        ("POST", "/v2/models/pair/stats", "GET"),
        ("PUT", "/v2/models/pair/config", "GET"),
        ("GET", "/v2/repository/index", "POST"),
        ("GET", "/v2/repository/models/pair/load", "POST"),
        ("GET", "/v2/models/pair/infer", "POST"),
        ("PUT", "/v2/models/pair/versions/1/infer", "POST"),
        ("DELETE", "/v2/logging", "GET"),
    ],
)
def test_a_wrong_method_is_405_and_says_which_is_right(
    server: Server, method: str, path: str, allowed: str
) -> None:
    response = server.client.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allowed
    assert "Method Not Allowed" in response.json()["error"]


# --- infer ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_infer_answers_in_the_specifications_words(server: Server, way: str) -> None:
    response = ask(server, infer("echo_fp32"), in_json(ROW, id="a"), way)
    assert response.json() == {
        "model_name": "echo_fp32",
        "model_version": "1",
        "id": "a",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [1, 2.5, -3]}],
    }
    assert "inference-header-content-length" not in response.headers


@pytest.mark.parametrize("way", WAYS)
def test_binary_tensors_stand_behind_the_header_whose_length_is_told(
    server: Server, way: str
) -> None:
    body, headers = in_binary(ROW)
    response = ask(server, infer("echo_fp32"), body, way, headers)
    cut = int(response.headers["inference-header-content-length"])
    assert response.headers["content-type"] == "application/octet-stream"
    assert orjson.loads(response.content[:cut])["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}
    ]
    assert response.content[cut:] == ROW.tobytes()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("blanks", range(8))
def test_data_may_begin_at_any_address(server: Server, way: str, blanks: int) -> None:
    numbers = sample("FP64")
    body, headers = in_binary(numbers, datatype="FP64")
    headers = {name: str(int(size) + blanks) for name, size in headers.items()}
    response = ask(server, infer("echo_fp64"), b" " * blanks + body, way, headers)
    cut = int(response.headers["inference-header-content-length"])
    assert response.content[cut:] == numbers.tobytes()


@pytest.mark.parametrize("way", WAYS)
def test_a_raw_body_is_the_tensor_and_so_is_the_answer(server: Server, way: str) -> None:
    raw = {"Inference-Header-Content-Length": "0"}
    for name, body in (
        ("echo_fp32", ROW.tobytes()), ("long", ROW.tobytes() * 3), ("fixed", ROW.tobytes() * 2),
        ("scalar", b"\0" * 8),
    ):  # fmt: skip
        response = ask(server, infer(name), body, way, raw)
        cut = int(response.headers["inference-header-content-length"])
        assert response.content[cut:] == body
    response = ask(server, infer("text"), "héllo".encode(), way, raw)
    cut = int(response.headers["inference-header-content-length"])
    assert response.content[cut:] == b"\x06\0\0\0" + "héllo".encode()


@pytest.mark.parametrize("way", WAYS)
def test_strings_with_a_zero_or_a_line_end_come_back_whole(server: Server, way: str) -> None:
    words = np.array([["a\0b\n", "\r\n\r\n", "é\t😀\0"]], object)
    answer = ask(server, infer("echo_bytes"), in_json(words, datatype="BYTES"), way).json()
    assert answer["outputs"][0]["data"] == words.ravel().tolist()


@pytest.mark.parametrize("way", WAYS)
def test_numbers_that_json_does_not_know_are_null(server: Server, way: str) -> None:
    numbers = f32([[np.nan, np.inf, -np.inf]])
    body, headers = in_binary(numbers, parameters={})
    head = orjson.dumps({**orjson.loads(body[: int(next(iter(headers.values())))])})
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = ask(server, infer("echo_fp32"), head + numbers.tobytes(), way, headers).json()
    assert answer["outputs"][0]["data"] == [None, None, None]


def test_padding_is_cut_off_again_and_changes_no_answer(server: Server) -> None:
    def words(tokens: list[list[int]]) -> bytes:
        shape = [len(tokens), len(tokens[0])]
        ones = [[1] * len(row) for row in tokens]
        return orjson.dumps({"inputs": [
            {"name": name, "shape": shape, "datatype": "INT64", "data": data}
            for name, data in (("tokens", tokens), ("mask", ones))
        ]})  # fmt: skip

    for tokens in ([[1]], [[1, 3, 2], [2, 2, 4]], [[1] * 8]):
        (output,) = posted(server, infer("words"), words(tokens))["outputs"]
        weights = np.array([9.0, 2, -2, 1, -1])
        positive = 1 / (1 + np.exp(-weights[tokens].mean(axis=1)))
        assert output["shape"] == [len(tokens), 2]
        expected = np.stack([1 - positive, positive], axis=1).ravel()
        np.testing.assert_allclose(output["data"], expected, rtol=1e-5)


# --- repository, statistics, logging --------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"{}", b'{"ready": false}'])
def test_index_lists_every_version_with_state_and_reason(server: Server, body: bytes) -> None:
    index = posted(server, "/v2/repository/index", body)
    assert {"name": "pair", "version": "1", "state": "READY", "reason": ""} in index
    assert [entry["name"] for entry in index] == sorted(entry["name"] for entry in index)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"x", "expected JSON"),
        (b"[]", "expected a JSON mapping; got a list of 0"),
        (b'{"ready": 1}', "ready: expected true or false; got 1"),
        (b'{"ready": "yes"}', "ready: expected true or false"),
    ],
)
def test_index_refuses_what_it_cannot_read(server: Server, body: bytes, words: str) -> None:
    assert words in posted(server, "/v2/repository/index", body, 400)["error"]


@pytest.mark.parametrize("call", ["load", "unload"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"x", "expected JSON"),
        (b"[]", "expected a JSON mapping"),
        (b'{"parameters": []}', "parameters: expected a mapping"),
    ],
)
def test_load_and_unload_refuse_what_they_cannot_read(
    server: Server, call: str, body: bytes, words: str
) -> None:
    path = f"/v2/repository/models/pair/{call}"
    assert words in posted(server, path, body, 400)["error"]
    assert posted(server, "/v2/repository/models/Pair/" + call, b"", 404)["error"]
    assert got(server, "/v2/models/pair/ready")["ready"] is True


def test_a_load_with_files_is_refused_as_not_offered(server: Server) -> None:
    body = orjson.dumps({"parameters": {"config": "{}", "file:1/model.onnx": "AAAA"}})
    path = "/v2/repository/models/pair/load"
    assert "file:1/model.onnx" in posted(server, path, body, 501)["error"]
    body = orjson.dumps({"parameters": {"unload_dependents": True}})
    assert posted(server, path, body) == {"name": "pair", "load": True}


def test_loading_what_is_loaded_changes_nothing(server: Server) -> None:
    before = got(server, "/v2/models/pair/stats")
    assert posted(server, "/v2/repository/models/pair/load") == {"name": "pair", "load": True}
    assert got(server, "/v2/models/pair/stats") == before


def test_index_shows_what_is_ready_where_only_that_is_asked_for(start: Start, root: Any) -> None:
    put(root, "one", echo("FP32", "N", 3))
    put(root, "other", echo("FP32", "N", 3))
    server = start(root, cache=root.parent / "cache", tune=False)
    assert posted(server, "/v2/repository/models/other/unload") == {"name": "other", "unload": True}
    for _ in patience():
        index = posted(server, "/v2/repository/index", b"{}")
        if index[1]["state"] != "UNLOADING":
            break
    assert [entry["state"] for entry in index] == ["READY", "UNAVAILABLE"]
    (ready,) = posted(server, "/v2/repository/index", b'{"ready": true}')
    assert ready["name"] == "one"
    assert got(server, "/v2/models/other/ready", 503) == {"name": "other", "ready": False}
    assert got(server, "/v2/models/other")["inputs"]  # its tensors are known all the same
    assert "is not loaded" in got(server, "/v2/models/other/config", 503)["error"]


@pytest.mark.parametrize("suffix", ["", "/versions/1"])
def test_statistics_of_one_model(server: Server, suffix: str) -> None:
    (found,) = got(server, f"/v2/models/shades{suffix}/stats")["model_stats"]
    assert set(found) == {
        "name", "version", "last_inference", "inference_count", "execution_count",
        "inference_stats", "response_stats", "batch_stats", "memory_usage",
    }  # fmt: skip
    assert set(found["inference_stats"]) == {
        "success", "fail", "queue", "compute_input", "compute_infer", "compute_output",
        "cache_hit", "cache_miss",
    }  # fmt: skip
    assert (found["name"], found["version"]) == ("shades", "1")


def test_statistics_of_all_models_are_one_entry_for_each_version(server: Server) -> None:
    found = got(server, "/v2/models/stats")["model_stats"]
    names = [entry["name"] for entry in found]
    assert names == sorted(names)
    assert {"pair", "sensor", "echo_fp32"} <= set(names)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"x", 400, "expected JSON"),
        (b'{"log_warnings": false}', 400, "expected one of"),
        (b'{"log_info": 1}', 400, "log_info: expected a value like True; got 1"),
        (b'{"log_info": null}', 400, "log_info"),
        (b'{"log_verbose_level": -1}', 400, "log_verbose_level"),
        (b'{"log_verbose_level": true}', 400, "log_verbose_level"),
        (b'{"log_file": "/tmp/x"}', 501, "log_file is set at start"),
        (b'{"log_format": "default"}', 501, "log_format is set at start"),
    ],
)
def test_log_settings_that_cannot_be_are_refused_and_nothing_changes(
    server: Server, body: bytes, status: int, words: str
) -> None:
    before = got(server, "/v2/logging")
    assert words in posted(server, "/v2/logging", body, status)["error"]
    assert got(server, "/v2/logging") == before


def test_log_settings_have_the_names_that_triton_sends(server: Server) -> None:
    """Its documentation prints ``log_warnings`` and ``log_errors``; its server does not."""
    assert set(got(server, "/v2/logging")) == {
        "log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format",
    }  # fmt: skip
    unchanged = got(server, "/v2/logging")
    assert posted(server, "/v2/logging", orjson.dumps(unchanged)) == unchanged


# --- documentation -------------------------------------------------------------------------------


def test_every_route_is_in_the_openapi_document_once(tmp_path: Any) -> None:
    paths = create_app(Settings(store=tmp_path)).openapi()["paths"]
    ours = {path: set(calls) for path, calls in paths.items() if path.startswith("/v2")}
    assert ours == {
        "/v2": {"get"},
        "/v2/models/stats": {"get"},
        "/v2/logging": {"get", "post"},
        "/v2/models/{name}": {"get"},
        "/v2/models/{name}/ready": {"get"},
        "/v2/models/{name}/config": {"get"},
        "/v2/models/{name}/stats": {"get"},
        "/v2/models/{name}/infer": {"post"},
        "/v2/models/{name}/generate": {"post"},
        "/v2/models/{name}/generate_stream": {"post"},
        "/v2/repository/index": {"post"},
        "/v2/repository/models/{name}/load": {"post"},
        "/v2/repository/models/{name}/unload": {"post"},
    }
