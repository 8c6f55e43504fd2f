"""Plain folders that cannot be served: each says why, harms nobody, and gives no file away."""
# One case a line reads as the table it is.
# ruff: noqa: E501

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.service.conftest import Start
from tests.service.protocols.open_inference.graphs import Value, echo, f32, model, put, tensors
from tests.service.protocols.open_inference.paths import WAYS, ask, in_json, infer
from tests.service.server import Server, patience, serving

SECRET = b"not a weight"
X: dict[str, Value] = {"x": ("FP32", ("N", 3))}
Y: dict[str, Value] = {"y": ("FP32", ("N", 3))}
GOOD = echo("FP32", "N", 3).SerializeToString()
ROW = in_json(f32([[1, 2, 3]]))


def node(operator: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, list(inputs), ["y"], **attributes)


def weights_in(location: str) -> onnx.ModelProto:
    """``x`` plus weights that lie in another file."""
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return model([node("Add", "x", "w")], X, Y, [tensor])


def matrix(rows: int) -> onnx.ModelProto:
    weights = numpy_helper.from_array(np.ones((rows, 3), np.float32), "w")
    return model([node("MatMul", "x", "w")], X, Y, [weights])


def sequence() -> onnx.ModelProto:
    output = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node("SequenceConstruct", "x")], "graph", tensors(X), [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def linked_weights(store: Path, name: str) -> None:
    folder = put(store, name, weights_in("weights.bin"))
    (folder / "weights.bin").symlink_to(store.parent / "secret")


def linked_graph(store: Path, name: str) -> None:
    (store.parent / "secret.onnx").write_bytes(GOOD)
    folder = put(store, name, b"")
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(store.parent / "secret.onnx")


BROKEN: dict[str, tuple[str, Callable[[Path, str], object]]] = {
    "truncated": ("model.onnx is cut off", lambda s, n: put(s, n, GOOD[: len(GOOD) // 2])),
    "empty": ("the file is empty", lambda s, n: put(s, n, b"")),
    "words": ("model.onnx is cut off or not ONNX", lambda s, n: put(s, n, b"hello, world\n")),
    "pointer": (
        "a Git LFS pointer, not the model: run git lfs pull",
        lambda s, n: put(s, n, b"version https://git-lfs.github.com/spec/v1\nsize 12345\n"),
    ),
    "operator": ("No Op registered for Nonesuch", lambda s, n: put(s, n, model([node("Nonesuch", "x")], X, Y))),
    "dims": ("Incompatible dimensions", lambda s, n: put(s, n, matrix(4))),
    "type": ("does not match expected type", lambda s, n: put(s, n, model([node("Identity", "x")], X, {"y": ("INT64", ("N", 3))}))),
    "unlinked": ("Invalid model", lambda s, n: put(s, n, model([node("Identity", "nothing")], X, Y))),
    "container": ("expected inputs and outputs that are tensors", lambda s, n: put(s, n, sequence())),
    "hollow": ("cannot be read", lambda s, n: (s / n / "1").mkdir(parents=True)),
    "upwards": ("'../../../secret', which lies outside its folder", lambda s, n: put(s, n, weights_in("../../../secret"))),
    "absolute": ("which lies outside its folder", lambda s, n: put(s, n, weights_in(str(s.parent / "secret")))),
    "link": ("'weights.bin', which points outside its folder", linked_weights),
    "graph-link": ("model.onnx points outside its bundle", linked_graph),
    "missing": ("'weights.bin', which is missing", lambda s, n: put(s, n, weights_in("weights.bin"))),
}  # fmt: skip
"""Name → words of the reason, and who makes the folder."""
every_broken = pytest.mark.parametrize("name", BROKEN)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over every broken folder and one that is well."""
    folder = tmp_path_factory.mktemp("ward")
    (folder / "secret").write_bytes(SECRET)
    store = folder / "store"
    put(store, "well", GOOD)
    for name, (_, make) in BROKEN.items():
        make(store, name)
    with serving(
        store, folder, strict_readiness=False, tune=False, cache=folder / "cache"
    ) as server:
        yield server


def index_of(server: Server) -> dict[str, dict[str, str]]:
    return {e["name"]: e for e in server.client.post("/v2/repository/index").json()}


@every_broken
def test_it_is_unavailable_with_its_reason_in_the_index(ward: Server, name: str) -> None:
    entry = index_of(ward)[name]
    words, _ = BROKEN[name]
    assert (entry["state"], entry["version"]) == ("UNAVAILABLE", "1")
    assert words in entry["reason"]
    assert len(entry["reason"]) > 20
    assert str(ward.store) not in entry["reason"] or name == "absolute"  # which names its own place
    assert SECRET.decode() not in entry["reason"]


@every_broken
def test_it_is_failed_with_the_same_reason_in_the_listing(ward: Server, name: str) -> None:
    listing = {entry["id"]: entry for entry in ward.client.get("/v1/models").json()["data"]}
    assert (listing[name]["state"], listing[name]["reason"]) == (
        "failed",
        index_of(ward)[name]["reason"],
    )


@every_broken
@pytest.mark.parametrize("way", WAYS)
def test_asked_for_an_answer_it_says_why_there_is_none(ward: Server, name: str, way: str) -> None:
    response = ask(ward, infer(name), ROW, way)
    words, _ = BROKEN[name]
    assert response.status_code == 503
    assert list(response.json()) == ["error"]
    assert words in response.json()["error"]
    assert ward.client.get(f"/v2/models/{name}/ready").json() == {"name": name, "ready": False}
    well = ask(ward, infer("well"), ROW, way)
    assert well.json()["outputs"][0]["data"] == [1, 2, 3]


def test_the_rest_of_the_hub_answers(ward: Server) -> None:
    index = index_of(ward)
    assert set(index) == {"well", *BROKEN}
    assert index["well"] == {"name": "well", "version": "1", "state": "READY", "reason": ""}
    assert [e["name"] for e in ward.client.post("/v2/repository/index", content=b'{"ready":true}').json()] == ["well"]  # fmt: skip
    for path in ("/readyz", "/v2/health/ready", "/metrics", "/docs", "/v2/models/stats"):
        assert ward.client.get(path).status_code == 200


@every_broken
def test_it_is_loaded_by_call_once_it_is_mended(ward: Server, name: str) -> None:
    load = f"/v2/repository/models/{name}/load"
    response = ward.client.post(load)
    assert response.status_code == 503
    assert BROKEN[name][0] in response.json()["error"]
    put(ward.store, name, GOOD, version=2)
    assert ward.client.post(load).status_code == 200
    answer = ask(ward, infer(name), ROW).json()
    assert (answer["model_version"], answer["outputs"][0]["data"]) == ("2", [1, 2, 3])


def test_with_strict_readiness_the_server_is_not_ready_and_names_it(
    start: Start, root: Path
) -> None:
    put(root, "well", GOOD)
    put(root, "ill", GOOD[:30])
    server = start(root, await_ready=False, tune=False, cache=root.parent / "cache")
    for _ in patience():
        reason = server.client.get("/v2/health/ready").json().get("reason", "")
        if "ill" in reason:
            break
    response = server.client.get("/v2/health/ready")
    assert response.status_code == 503
    assert response.json() == {"live": True, "ready": False, "reason": "not loaded: ill"}
    assert server.client.get("/v2/health/live").json() == {"live": True}
    assert ask(server, infer("well"), ROW).status_code == 200


def reshaped(*declared: int | str) -> onnx.ModelProto:
    """Four numbers a row come in, and leave two by two: not as they are declared."""
    shape = numpy_helper.from_array(np.array([-1, 2]), "shape")
    nodes = [helper.make_node("Identity", ["shape"], ["late"]), node("Reshape", "x", "late")]
    return model(nodes, {"x": ("FP32", ("N", 4))}, {"y": ("FP32", declared)}, [shape])


def test_outputs_that_are_not_as_declared_make_it_unavailable(start: Start, root: Path) -> None:
    put(root, "well", GOOD)
    put(root, "columns", model([node("Identity", "x")], X, {"y": ("FP32", ("N", 5))}))
    put(root, "rank", model([node("Identity", "x")], X, {"y": ("FP32", ("N",))}))
    put(root, "rows", reshaped("N", 4))
    server = start(root, tune=False, strict_readiness=False, cache=root.parent / "cache")
    states = {name: entry["state"] for name, entry in index_of(server).items()}
    assert states == {
        "well": "READY", "columns": "UNAVAILABLE", "rank": "UNAVAILABLE", "rows": "UNAVAILABLE",
    }  # fmt: skip
