"""Triton's own HTTP client, unmodified, over a real socket: every call that it has."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import gevent  # type: ignore[import-untyped]
import httpx
import numpy as np
import pytest
import tritonclient.http as triton  # type: ignore[import-untyped]
from tritonclient.utils import (  # type: ignore[import-untyped]
    InferenceServerException,
    np_to_triton_dtype,
)

from tests.service.bundles import publish, sensor
from tests.service.conftest import Start
from tests.service.protocols.open_inference.graphs import (
    ELEMENTS,
    IN_JSON,
    NUMPY,
    Array,
    echo,
    f32,
    put,
    sample,
)
from tests.service.server import Server, patience

Client: TypeAlias = Any
"""Of the client library, which has no types."""


def client_of(server: Server, **options: Any) -> Client:
    return triton.InferenceServerClient(httpx.URL(server.url).netloc.decode(), **options)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with client_of(server, concurrency=4) as client:
        yield client


def given(name: str, array: Array, *, binary: bool = True, datatype: str = "") -> triton.InferInput:
    datatype = datatype or np_to_triton_dtype(array.dtype)
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def asked(name: str, **wishes: Any) -> triton.InferRequestedOutput:
    return triton.InferRequestedOutput(name, **wishes)


def same(found: Array, sent: Array) -> bool:
    """Equal to the bit; strings come back as bytes in binary answers and as text in JSON."""
    if sent.dtype == object:
        plain = [item.decode() if isinstance(item, bytes) else item for item in found.ravel()]
        return found.shape == sent.shape and plain == sent.ravel().tolist()
    return found.shape == sent.shape and found.tobytes() == sent.tobytes()


# --- server and models ---------------------------------------------------------------------------


def test_server_is_live_and_ready(client: Client) -> None:
    assert client.is_server_live() is True
    assert client.is_server_ready() is True


def test_a_model_is_ready_and_one_that_is_unknown_is_not(client: Client) -> None:
    assert client.is_model_ready("echo_fp32") is True
    assert client.is_model_ready("echo_fp32", "1") is True
    assert client.is_model_ready("echo_fp32", "2") is False
    assert client.is_model_ready("nothing") is False


def test_server_metadata_name_what_it_offers(client: Client) -> None:
    metadata = client.get_server_metadata()
    assert metadata["name"] == "modelhub"
    assert metadata["version"]
    assert set(metadata["extensions"]) >= {
        "binary_tensor_data", "classification", "generate", "logging", "model_configuration",
        "model_repository", "parameters", "schedule_policy", "statistics",
    }  # fmt: skip


def test_model_metadata_are_the_graphs_own_tensors(client: Client) -> None:
    for version in ("", "1"):
        assert client.get_model_metadata("long", version) == {
            "name": "long",
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, -1]}],
        }


def test_every_datatype_has_its_name_in_metadata_and_config(client: Client) -> None:
    for datatype in ELEMENTS:
        name = f"echo_{datatype.lower()}"
        (tensor,) = client.get_model_metadata(name)["inputs"]
        assert tensor["datatype"] == datatype
        (tensor,) = client.get_model_config(name)["input"]
        assert tensor["data_type"] == ("TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}")


def test_config_says_how_a_model_batches(client: Client) -> None:
    config = client.get_model_config("pair", "1")
    assert config["name"] == "pair"
    assert config["platform"] == "onnxruntime_onnx"
    assert config["backend"] == "onnxruntime"
    assert config["max_batch_size"] >= 1
    assert config["dynamic_batching"]["preferred_batch_size"] == [config["max_batch_size"]]
    assert [tensor["name"] for tensor in config["output"]] == ["sum", "difference"]
    assert config["input"][0]["dims"] == [2]  # without the batch axis, as in Triton


def test_config_of_a_model_that_does_not_batch_says_why(client: Client) -> None:
    config = client.get_model_config("fixed")
    assert config["max_batch_size"] == 0
    assert "dynamic_batching" not in config
    assert config["input"][0]["dims"] == [2, 3]
    assert "fixed first axis" in config["parameters"]["why_not_batching"]["string_value"]


# --- infer ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("datatype", ELEMENTS)
def test_binary_in_binary_out(client: Client, datatype: str) -> None:
    array = sample(datatype)
    result = client.infer(f"echo_{datatype.lower()}", [given("x", array)])
    assert same(result.as_numpy("y"), array)
    assert result.get_output("y")["datatype"] == datatype
    assert "data" not in result.get_output("y")


@pytest.mark.parametrize("datatype", IN_JSON)
@pytest.mark.parametrize("binary_in", [False, True], ids=["JSON in", "binary in"])
@pytest.mark.parametrize("binary_out", [False, True], ids=["JSON out", "binary out"])
def test_json_and_binary_in_both_directions(
    client: Client, datatype: str, *, binary_in: bool, binary_out: bool
) -> None:
    array = sample(datatype)
    result = client.infer(
        f"echo_{datatype.lower()}", [given("x", array, binary=binary_in)],
        outputs=[asked("y", binary_data=binary_out)],
    )  # fmt: skip
    assert same(result.as_numpy("y"), array)
    assert ("data" in result.get_output("y")) is not binary_out


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "BF16"])
def test_numbers_that_are_not_finite_travel_as_binary(client: Client, datatype: str) -> None:
    array = np.array([[np.nan, np.inf, -np.inf]], NUMPY[datatype])
    result = client.infer(f"echo_{datatype.lower()}", [given("x", array)])
    assert same(result.as_numpy("y"), array)


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_halves_asked_for_as_json_are_refused_in_words(client: Client, datatype: str) -> None:
    with pytest.raises(InferenceServerException, match=f"{datatype} has no JSON form") as caught:
        client.infer(
            f"echo_{datatype.lower()}", [given("x", sample(datatype))],
            outputs=[asked("y", binary_data=False)],
        )  # fmt: skip
    assert caught.value.status() == "400"


def test_every_datatype_in_one_request(client: Client) -> None:
    arrays = {name.lower(): sample(name) for name in ELEMENTS if name != "BF16"}
    result = client.infer("zoo", [given(name, array) for name, array in arrays.items()])
    assert [output["name"] for output in result.get_response()["outputs"]] == [
        name.upper() for name in arrays
    ]
    for name, array in arrays.items():
        assert same(result.as_numpy(name.upper()), array), name


def test_inputs_and_outputs_of_one_request_may_differ_in_form(client: Client) -> None:
    arrays = {name.lower(): sample(name) for name in ELEMENTS if name != "BF16"}
    in_json = {name.lower() for name in IN_JSON[::2]}
    wishes = [asked(name.upper(), binary_data=name not in in_json) for name in reversed(arrays)]
    result = client.infer(
        "zoo", [given(n, array, binary=n not in in_json) for n, array in arrays.items()],
        outputs=wishes,
    )  # fmt: skip
    for name, array in arrays.items():
        assert same(result.as_numpy(name.upper()), array), name
        assert ("data" in result.get_output(name.upper())) is (name in in_json)


def test_several_inputs_and_outputs(client: Client) -> None:
    a, b = f32([[1, 2], [3, 4]]), f32([[10, 20], [30, 40]])
    result = client.infer("pair", [given("b", b), given("a", a, binary=False)])
    assert result.as_numpy("sum").tolist() == (a + b).tolist()
    assert result.as_numpy("difference").tolist() == (a - b).tolist()
    assert result.as_numpy("nothing") is None


def test_only_the_outputs_asked_for_come(client: Client) -> None:
    inputs = [given(name, f32([[1, 2]])) for name in "ab"]
    result = client.infer("pair", inputs, outputs=[asked("difference")])
    assert result.as_numpy("difference").tolist() == [[0, 0]]
    assert result.get_output("sum") is None
    result = client.infer("pair", inputs, outputs=[])
    assert len(result.get_response()["outputs"]) == 2


@pytest.mark.parametrize("name", ["fixed", "long"])
def test_models_with_and_without_a_batch_axis(client: Client, name: str) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert same(client.infer(name, [given("x", array)]).as_numpy("y"), array)


def test_a_scalar_has_an_empty_shape(client: Client) -> None:
    array = np.array(1.5)
    assert same(client.infer("scalar", [given("x", array)]).as_numpy("y"), array)
    assert same(client.infer("scalar", [given("x", array, binary=False)]).as_numpy("y"), array)


def test_shapes_may_change_from_one_request_to_the_next(client: Client) -> None:
    for length in (1, 7, 0, 1000, 7):
        for rows in (1, 3):
            array = np.full((rows, length), length, np.float32)
            result = client.infer("long", [given("x", array)])
            assert same(result.as_numpy("y"), array)


def test_large_tensors_pass_in_both_directions(client: Client) -> None:
    array = np.random.default_rng(0).random((2, 250_000), np.float32)
    assert same(client.infer("long", [given("x", array)]).as_numpy("y"), array)


def test_more_rows_than_one_batch_holds_come_back_whole(client: Client) -> None:
    array = np.arange(3 * 500, dtype=np.float32).reshape(500, 3)
    assert same(client.infer("echo_fp32", [given("x", array)]).as_numpy("y"), array)


def test_request_id_comes_back(client: Client) -> None:
    for binary in (True, False):
        result = client.infer(
            "echo_fp32", [given("x", sample("FP32"), binary=binary)], request_id="seven ü"
        )
        assert result.get_response()["id"] == "seven ü"
    result = client.infer("echo_fp32", [given("x", sample("FP32"))])
    assert "id" not in result.get_response()


def test_a_version_is_asked_for_by_number(client: Client) -> None:
    result = client.infer("echo_fp32", [given("x", sample("FP32"))], model_version="1")
    assert result.get_response()["model_version"] == "1"
    with pytest.raises(InferenceServerException, match="not found") as caught:
        client.infer("echo_fp32", [given("x", sample("FP32"))], model_version="9")
    assert caught.value.status() == "404"


def test_another_graph_of_a_bundle_is_asked_for_by_its_name(client: Client) -> None:
    assert client.is_model_ready("codec~decoder")
    metadata = client.get_model_metadata("codec~decoder")
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["noise", "label"]
    assert client.get_model_config("codec~decoder")["default_model_filename"] == "decoder.onnx"
    noise = np.zeros((1, 8), np.float32)
    result = client.infer("codec~decoder", [given("noise", noise), given("label", np.array([1]))])
    assert result.get_response()["model_name"] == "codec~decoder"
    assert result.as_numpy("image").tolist() == [[[[180] * 4] * 2]]
    table = f32([[1, 2]])
    assert client.infer("codec", [given("table", table)]).as_numpy("embedding").tolist() == [[2, 4]]


@pytest.mark.parametrize("binary", [True, False])
def test_classification_gives_value_index_and_label(client: Client, binary: bool) -> None:
    image = np.full((2, 1, 4, 4), 255, np.uint8)
    image[1] = 0
    wish = asked("probabilities", class_count=2, binary_data=binary)
    result = client.infer("shades", [given("image", image)], outputs=[wish])
    found = result.as_numpy("probabilities")
    assert [[bytes(v).decode() if binary else v for v in row] for row in found] == [
        ["1.000000:1:bright", "0.000000:0:dark"],
        ["1.000000:0:dark", "0.000000:1:bright"],
    ]


def test_classification_without_labels_has_value_and_index(client: Client) -> None:
    wish = asked("y", class_count=1)
    array = f32([[0.25, 2.5, -1]])
    result = client.infer("echo_fp32", [given("x", array)], outputs=[wish])
    assert result.as_numpy("y").tolist() == [[b"2.500000:1"]]


@pytest.mark.parametrize("priority", [0, 1, 2, 3, 2**32])
def test_a_priority_is_taken(client: Client, priority: int) -> None:
    array = sample("INT8")
    result = client.infer("echo_int8", [given("x", array)], priority=priority, timeout=30_000_000)
    assert same(result.as_numpy("y"), array)


def test_a_timeout_in_microseconds_ends_a_request_that_runs_on(client: Client) -> None:
    table = f32([[2000, 1]])
    with pytest.raises(InferenceServerException, match="deadline passed") as caught:
        client.infer("snail", [given("table", table)], timeout=20_000)
    assert caught.value.status() == "504"
    table[0, 0] = 1
    assert client.infer("snail", [given("table", table)]).as_numpy("score").tolist() == [1]


def test_own_parameters_are_taken(client: Client) -> None:
    array = sample("INT8")
    parameters = {"colour": "red", "size": 1.5, "on": True}
    result = client.infer("echo_int8", [given("x", array)], parameters=parameters)
    assert same(result.as_numpy("y"), array)


def test_sequences_are_not_offered_and_said_so(client: Client) -> None:
    with pytest.raises(InferenceServerException, match="keep no state"):
        client.infer("echo_int8", [given("x", sample("INT8"))], sequence_id=7)


def test_headers_and_query_are_taken(client: Client, server: Server) -> None:
    headers = {"X-Request-Id": "from-tritonclient", "X-Priority": "high"}
    array = sample("INT8")
    result = client.infer(
        "echo_int8", [given("x", array)], headers=headers, query_params={"a": 1, "b": ["x", "y"]}
    )
    assert same(result.as_numpy("y"), array)
    for _ in patience():
        if server.logged("from-tritonclient"):
            break
    (line,) = server.logged("from-tritonclient")
    assert (line["status"], line["model"]) == (200, "echo_int8")
    assert client.is_server_live(query_params={"a": "1"})
    assert client.get_model_metadata("long", query_params={"a": "1"})["name"] == "long"


def test_an_answer_is_asked_for_compressed_and_may_come_plain(client: Client) -> None:
    array = sample("INT8")
    for algorithm in ("gzip", "deflate"):
        result = client.infer(
            "echo_int8", [given("x", array)], response_compression_algorithm=algorithm
        )
        assert same(result.as_numpy("y"), array)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_compressed_request_is_refused_in_words(client: Client, algorithm: str) -> None:
    with pytest.raises(InferenceServerException, match="Content-Encoding identity") as caught:
        client.infer(
            "echo_int8", [given("x", sample("INT8"))], request_compression_algorithm=algorithm
        )
    assert caught.value.status() == "415"


def test_async_requests_are_answered_each_with_its_own(client: Client) -> None:
    asks = [
        client.async_infer("long", [given("x", np.full((1 + n % 3, 5), n, np.float32))],
                           request_id=str(n))
        for n in range(40)
    ]  # fmt: skip
    for n, ask in enumerate(asks):
        result = ask.get_result(timeout=60)
        assert same(result.as_numpy("y"), np.full((1 + n % 3, 5), n, np.float32))
        assert result.get_response()["id"] == str(n)


def test_async_errors_reach_the_one_who_asks(client: Client) -> None:
    good = client.async_infer("long", [given("x", np.ones((1, 2), np.float32))])
    bad = client.async_infer("nothing", [given("x", np.ones((1, 2), np.float32))])
    with pytest.raises(InferenceServerException, match="unknown model"):
        bad.get_result(timeout=60)
    assert good.get_result(timeout=60).as_numpy("y").tolist() == [[1, 1]]


@pytest.mark.parametrize("binary", [True, False])
def test_bodies_made_and_read_by_the_client_over_any_other_transport(
    server: Server, binary: bool
) -> None:
    array = sample("FP64")
    body, json_size = triton.InferenceServerClient.generate_request_body(
        [given("x", array, binary=binary)], outputs=[asked("y", binary_data=binary)],
        request_id="raw",
    )  # fmt: skip
    headers = {} if json_size is None else {"Inference-Header-Content-Length": str(json_size)}
    response = server.client.post("/v2/models/echo_fp64/infer", content=body, headers=headers)
    assert response.status_code == 200
    length = response.headers.get("Inference-Header-Content-Length")
    assert (length is not None) is binary
    result = triton.InferenceServerClient.parse_response_body(
        response.content, header_length=int(length) if length else None
    )
    assert same(result.as_numpy("y"), array)
    assert result.get_response()["id"] == "raw"


class Bearer(triton.InferenceServerClientPlugin):  # type: ignore[misc]
    """Adds a key to each request."""

    def __call__(self, request: Any) -> None:
        request.headers["Authorization"] = "Bearer sesame"


def test_a_key_is_sent_as_a_header_or_by_a_plugin(start: Start, root: Path) -> None:
    put(root, "echo", echo("FP32", "N", 3))
    keyed = start(root, cache=root.parent / "cache", tune=False, api_keys='["sesame"]')
    array = sample("FP32")
    with client_of(keyed) as client:
        assert client.is_server_live()
        with pytest.raises(InferenceServerException, match="Bearer KEY") as caught:
            client.get_model_metadata("echo")
        assert caught.value.status() == "401"
        headers = {"Authorization": "Bearer sesame"}
        result = client.infer("echo", [given("x", array)], headers=headers)
        assert same(result.as_numpy("y"), array)
        client.register_plugin(Bearer())
        result = client.infer("echo", [given("x", array)], headers={})
        assert same(result.as_numpy("y"), array)


# --- the repository ------------------------------------------------------------------------------


@pytest.fixture
def own(root: Path, start: Start) -> Iterator[tuple[Client, Server]]:
    """A server of the test's own, over a bundle and a plain folder."""
    publish(root, sensor)
    put(root, "echo", echo("FP32", "N", 3))
    server = start(root, cache=root.parent / "cache", tune=False)
    with client_of(server) as client:
        yield client, server


def states(client: Client) -> dict[str, str]:
    return {entry["name"]: entry["state"] for entry in client.get_model_repository_index()}


def until(condition: Callable[[], bool]) -> bool:
    return any(condition() for _ in patience())


def test_models_are_listed_unloaded_and_loaded(own: tuple[Client, Server]) -> None:
    client, _ = own
    assert client.get_model_repository_index() == [
        {"name": name, "version": "1", "state": "READY", "reason": ""}
        for name in ("echo", "sensor")
    ]
    array = sample("FP32")
    client.unload_model("echo")
    assert not client.is_model_ready("echo")
    assert client.is_server_ready()
    assert until(lambda: states(client)["echo"] == "UNAVAILABLE")
    (entry,) = (e for e in client.get_model_repository_index() if e["name"] == "echo")
    assert entry["reason"] == "unloaded"
    with pytest.raises(InferenceServerException, match="is not loaded") as caught:
        client.infer("echo", [given("x", array)])
    assert caught.value.status() == "503"
    client.load_model("echo")
    assert client.is_model_ready("echo")
    assert states(client)["echo"] == "READY"
    assert same(client.infer("echo", [given("x", array)]).as_numpy("y"), array)
    client.unload_model("sensor", unload_dependents=True)
    assert not client.is_model_ready("sensor")


def test_a_model_put_into_the_folder_is_loaded_by_call(own: tuple[Client, Server]) -> None:
    client, server = own
    put(server.store, "late", echo("INT64", "N", 3))
    client.load_model("late")
    assert same(client.infer("late", [given("x", sample("INT64"))]).as_numpy("y"), sample("INT64"))
    put(server.store, "late", echo("INT32", "N", 3), version=2)
    client.load_model("late")
    result = client.infer("late", [given("x", sample("INT32"))])
    assert result.get_response()["model_version"] == "2"
    index = [e for e in client.get_model_repository_index() if e["name"] == "late"]
    assert [entry["version"] for entry in index] == ["1", "2"]
    assert client.get_model_metadata("late")["versions"] == ["1", "2"]


def test_loads_that_cannot_be_are_refused_in_words(client: Client) -> None:
    with pytest.raises(InferenceServerException, match="no model 'nothing'") as caught:
        client.load_model("nothing")
    assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match="no model 'nothing'"):
        client.unload_model("nothing")
    with pytest.raises(InferenceServerException, match="a new version in the store") as caught:
        client.load_model("pair", config=json.dumps({"max_batch_size": 1}))
    assert caught.value.status() == "501"
    assert client.is_model_ready("pair")


def test_statistics_count_requests_rows_and_time(client: Client) -> None:
    for rows in (1, 4):
        client.infer("counted", [given("x", np.ones((rows, 3), np.float32))])
    with pytest.raises(InferenceServerException):
        client.infer("counted", [given("x", np.ones((1, 4), np.float32))])
    (found,) = client.get_inference_statistics("counted")["model_stats"]
    assert (found["name"], found["version"]) == ("counted", "1")
    assert (found["inference_count"], found["execution_count"]) == (5, 2)
    assert found["last_inference"] > 1_600_000_000_000
    assert {key: stat["count"] for key, stat in found["inference_stats"].items()} == {
        "success": 2, "fail": 1, "queue": 2, "compute_input": 2, "compute_infer": 2,
        "compute_output": 2, "cache_hit": 0, "cache_miss": 0,
    }  # fmt: skip
    spent = found["inference_stats"]
    assert spent["success"]["ns"] > spent["compute_infer"]["ns"] > 0
    assert [entry["batch_size"] for entry in found["batch_stats"]] == [1, 4]
    assert all(e["compute_infer"]["count"] == 1 for e in found["batch_stats"])
    assert found["memory_usage"][0]["byte_size"] > 0
    assert client.get_inference_statistics("counted", "1")["model_stats"] == [found]
    everything = client.get_inference_statistics()["model_stats"]
    assert found in everything
    assert {"sensor", "echo_fp32"} <= {entry["name"] for entry in everything}


# --- logging, and what is not offered -------------------------------------------------------------


def test_log_settings_are_shown_and_changed(client: Client, server: Server) -> None:
    now = client.get_log_settings()
    assert now == {
        "log_file": "", "log_info": True, "log_warning": True, "log_error": True,
        "log_verbose_level": 0, "log_format": "ISO8601",
    }  # fmt: skip
    quiet = client.update_log_settings({"log_info": False})
    assert quiet == {**now, "log_info": False} == client.get_log_settings()
    client.is_model_ready("pair", headers={"X-Request-Id": "unseen"})
    assert client.update_log_settings({"log_info": True}) == now
    client.is_model_ready("pair", headers={"X-Request-Id": "seen"})
    assert until(lambda: bool(server.logged("seen")))
    assert not server.logged("unseen")
    for wish, status in ({"log_file": "x.log"}, "501"), ({"log_info": 7}, "400"):
        with pytest.raises(InferenceServerException) as caught:
            client.update_log_settings(wish)
        assert caught.value.status() == status
    assert client.get_log_settings() == now


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get_trace_settings(),
        lambda client: client.update_trace_settings("echo_fp32", {"trace_rate": "1"}),
        lambda client: client.get_system_shared_memory_status(),
        lambda client: client.register_system_shared_memory("r", "/r", 8),
        lambda client: client.get_cuda_shared_memory_status(),
        lambda client: client.unregister_system_shared_memory("r"),
        lambda client: client.register_cuda_shared_memory("r", b"", 0, 8),
        lambda client: client.unregister_cuda_shared_memory("r"),
    ],
    ids=["trace", "set trace", "shm", "set shm", "cuda shm", "no shm", "set cuda", "no cuda"],
)
def test_what_is_not_offered_says_so(client: Client, call: Callable[[Client], object]) -> None:
    with pytest.raises(InferenceServerException, match="Not Found") as caught:
        call(client)
    assert caught.value.status() == "404"


def test_errors_carry_status_and_the_servers_words(client: Client) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("echo_fp32", [given("x", np.ones((1, 4), np.float32))])
    assert caught.value.status() == "400"
    assert caught.value.message() == "input x: expected shape [-1, 3]; got [1, 4]"
    with pytest.raises(InferenceServerException) as caught:
        client.get_model_metadata("nothing")
    assert caught.value.status() == "404"
    assert "nothing" in caught.value.message()


async def test_the_clients_greenlets_and_asyncio_live_in_one_process(
    client: Client, server: Server
) -> None:
    ask = client.async_infer("echo_int8", [given("x", sample("INT8"))])
    gevent.sleep(0)
    async with httpx.AsyncClient() as other:
        assert (await other.get(f"{server.url}/v2/health/live")).json() == {"live": True}
    assert same(ask.get_result(timeout=60).as_numpy("y"), sample("INT8"))
