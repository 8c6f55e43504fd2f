"""Bad requests over a real socket, by every path: the same status and the same words, and the next
good request is answered as if nothing had happened.
"""
# One case a line reads as the table it is.
# ruff: noqa: E501

import concurrent.futures
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest

from tests.service.protocols.open_inference.conftest import MAX_BODY_BYTES, MAX_ROWS
from tests.service.protocols.open_inference.graphs import f32
from tests.service.protocols.open_inference.paths import WAYS, ask, in_binary, in_json, infer
from tests.service.server import PATIENCE_S, Server, patience, serving

ROW = f32([[1, 2, 3]])
GOOD = in_json(ROW)
BINARY, BINARY_HEADER = in_binary(ROW)
HEADER_BYTES = int(BINARY_HEADER["Inference-Header-Content-Length"])
ECHO = infer("echo_fp32")


@dataclass(frozen=True)
class Bad:
    """A request and what must come of it."""

    status: int
    words: str
    body: bytes | Callable[[], bytes] = GOOD
    path: str = ECHO
    headers: Mapping[str, str] = field(default_factory=dict)


def length(raw: object) -> dict[str, str]:
    return {"Inference-Header-Content-Length": str(raw)}


def altered(**changes: object) -> bytes:
    """The good request with fields of its tensor changed."""
    document = json.loads(GOOD)
    document["inputs"][0].update(changes)
    return json.dumps(document).encode()


def beside(**more: object) -> bytes:
    """The good request with fields beside its inputs."""
    return json.dumps({**json.loads(GOOD), **more}).encode()


def half() -> bytes:
    return in_json(ROW.astype(np.float16), datatype="FP16")


def sized(size: object) -> bytes:
    """The binary request with another binary_data_size and its header's length."""
    document = json.loads(BINARY[:HEADER_BYTES])
    document["inputs"][0]["parameters"]["binary_data_size"] = size
    return json.dumps(document, separators=(",", ":")).encode()


def with_size(size: object, status: int, words: str) -> Bad:
    head = sized(size)
    return Bad(status, words, head + BINARY[HEADER_BYTES:], headers=length(len(head)))


LENGTHS = {
    "header length negative": Bad(400, "Inference-Header-Content-Length: expected a whole number; got '-1'", BINARY, headers=length(-1)),
    "header length no number": Bad(400, "got 'many'", BINARY, headers=length("many")),
    "header length fraction": Bad(400, "got '1.5'", BINARY, headers=length(1.5)),
    "header length signed": Bad(400, "got '+5'", BINARY, headers=length("+5")),
    "header length hexadecimal": Bad(400, "got '0x5'", BINARY, headers=length("0x5")),
    "header length empty": Bad(400, "got ''", BINARY, headers=length("")),
    "header length of a thousand digits": Bad(400, "Inference-Header-Content-Length", BINARY, headers=length("9" * 1000)),
    "header length beyond the body": Bad(400, f"at most the body's {len(BINARY)} bytes; got {len(BINARY) + 1}", BINARY, headers=length(len(BINARY) + 1)),
    "header length far beyond": Bad(400, "got 999,999,999,999", BINARY, headers=length(999_999_999_999)),
    "header length too short": Bad(400, f"expected JSON in the first {HEADER_BYTES - 1} bytes", BINARY, headers=length(HEADER_BYTES - 1)),
    "header length too long": Bad(400, f"expected JSON in the first {HEADER_BYTES + 1} bytes", BINARY, headers=length(HEADER_BYTES + 1)),
    "header length missing": Bad(400, "expected JSON", BINARY),
    "header length 0 and no raw tensor": Bad(400, "expected 12 bytes for x; got", BINARY, headers=length(0)),
    "header length 0 and two inputs": Bad(400, "needs a model with one input", b"\0" * 8, infer("pair"), length(0)),
    "header length 0 and two free axes": Bad(400, "whose shape follows from its size", b"\0" * 8, infer("wide"), length(0)),
    "header length 0 and empty": Bad(400, "expected 12 bytes for x; got 0", b"", headers=length(0)),
    "data too short": Bad(400, "expected 12 bytes of tensors behind the JSON header; got 11", BINARY[:-1], headers=BINARY_HEADER),
    "data too long": Bad(400, "expected 12 bytes of tensors behind the JSON header; got 13", BINARY + b"\0", headers=BINARY_HEADER),
    "data missing": Bad(400, "expected 12 bytes of tensors behind the JSON header; got 0", BINARY[:HEADER_BYTES], headers=BINARY_HEADER),
    "binary_data_size too small": with_size(11, 400, "expected binary_data_size 12 for shape [1, 3] of FP32; got 11"),
    "binary_data_size too large": with_size(13, 400, "expected binary_data_size 12"),
    "binary_data_size negative": with_size(-12, 400, "input x.binary_data_size: expected a whole number"),
    "binary_data_size a fraction": with_size(12.0, 400, "input x.binary_data_size"),
    "binary_data_size in words": with_size("12", 400, "input x.binary_data_size"),
    "binary_data_size without header length": Bad(400, "Inference-Header-Content-Length", sized(12)),
    "strings too short": Bad(400, "expected 6 elements for shape [2, 3]; got 2", in_json(np.array(["a", "b"], object), datatype="BYTES").replace(b"[2]", b"[2,3]"), infer("echo_bytes")),
}  # fmt: skip

UNREADABLE = {
    "empty": Bad(400, "expected JSON", b""),
    "blank": Bad(400, "expected JSON", b"   "),
    "not JSON": Bad(400, "expected JSON", b"hello"),
    "truncated": Bad(400, "expected JSON", GOOD[:-3]),
    "two documents": Bad(400, "expected JSON", GOOD + GOOD),
    "not UTF-8": Bad(400, "expected JSON", b'{"inputs": "\xff\xfe"}'),
    "UTF-16": Bad(400, "expected JSON", GOOD.decode().encode("utf-16")),
    "deep": Bad(400, "expected JSON", b"[" * 100_000),
    "deep and closed": Bad(400, "expected JSON", b"[" * 5000 + b"]" * 5000),
    "NaN": Bad(400, "expected JSON", GOOD.replace(b"1.0", b"NaN")),
    "too large for any float": Bad(400, "expected JSON", GOOD.replace(b"1.0", b"1e999")),
    "a list": Bad(400, "expected a JSON mapping", b"[1, 2]"),
    "null": Bad(400, "expected a JSON mapping", b"null"),
    "no inputs": Bad(400, "inputs: expected a list of tensors", b"{}"),
    "inputs no list": Bad(400, "inputs: expected a list of tensors", b'{"inputs": {}}'),
    "id a number": Bad(400, "id: expected a string; got 7", beside(id=7)),
    "parameters a list": Bad(400, "parameters: expected a mapping; got a list of 1", beside(parameters=[1])),
    "timeout negative": Bad(400, "parameters.timeout: expected a whole number", beside(parameters={"timeout": -1})),
    "priority in words": Bad(400, "parameters.priority: expected a whole number", beside(parameters={"priority": "high"})),
    "sequence": Bad(400, "models here keep no state between requests", beside(parameters={"sequence_id": 1})),
}  # fmt: skip

UNFIT = {
    "input unknown": Bad(400, "unexpected input 'w'; this model takes ['x']", altered(name="w")),
    "input unnamed": Bad(400, "unexpected input None", altered(name=None)),
    "input missing": Bad(400, "expected ['a', 'b']; ['b'] did not come", in_json(f32([[1, 2]]), "a"), infer("pair")),
    "inputs none": Bad(400, "['x'] did not come", b'{"inputs": []}'),
    "input twice": Bad(400, "inputs: x came twice", json.dumps({"inputs": json.loads(GOOD)["inputs"] * 2}).encode()),
    "datatype another": Bad(400, "expected datatype FP32; got 'FP64'", altered(datatype="FP64")),
    "datatype unknown": Bad(400, "expected datatype FP32; got 'FLOAT'", altered(datatype="FLOAT")),
    "datatype missing": Bad(400, "expected datatype FP32; got None", altered(datatype=None)),
    "FP16 as JSON": Bad(400, "FP16 has no JSON form; send it as binary data", half(), infer("echo_fp16")),
    "data too few": Bad(400, "expected 3 elements for shape [1, 3]; got 2", altered(data=[1, 2])),
    "data too many": Bad(400, "expected 3 elements for shape [1, 3]; got 4", altered(data=[1, 2, 3, 4])),
    "data of words": Bad(400, "expected only FP32 values", altered(data=["1", 2, 3])),
    "data of booleans": Bad(400, "expected only FP32 values", altered(data=[True, 2, 3])),
    "data of nulls": Bad(400, "expected only FP32 values", altered(data=[None, 2, 3])),
    "data ragged": Bad(400, "input x: ", altered(data=[[1, 2], [3]])),
    "data half nested": Bad(400, "input x: ", altered(data=[1, [2], 3])),
    "data no array": Bad(400, "data: expected an array; got int", altered(data=1)),
    "data missing": Bad(400, "got neither", altered(data=None)),
    "number too large": Bad(400, "numbers that FP32 can hold", altered(data=[1e39, 2, 3])),
    "integer too large": Bad(400, "numbers that INT8 can hold", in_json(np.array([[128, 0, 0]]), datatype="INT8"), infer("echo_int8")),
    "fraction for an integer": Bad(400, "only INT8 values", in_json(f32([[1.5, 0, 0]]), datatype="INT8"), infer("echo_int8")),
    "shape missing": Bad(400, "shape: expected whole numbers", altered(shape=None)),
    "shape negative": Bad(400, "shape: expected whole numbers", altered(shape=[-1, 3])),
    "shape of floats": Bad(400, "shape: expected whole numbers", altered(shape=[1.0, 3])),
    "shape of booleans": Bad(400, "shape: expected whole numbers", altered(shape=[True, 3])),
    "shape in words": Bad(400, "shape: expected whole numbers", altered(shape="13")),
    "shape beyond 31 bits": Bad(400, "shape: expected whole numbers", altered(shape=[1, 2**31])),
    "shape beyond 64 bits": Bad(400, "input x: ", altered(shape=[1, 10**30])),
    "shape of many axes": Bad(400, "expected shape [-1, 3]; got [1, 1, 1", altered(shape=[1] * 50_000)),
    "shape of none": Bad(400, "expected shape [-1, 3]; got []", altered(shape=[])),
    "shape another": Bad(400, "expected shape [-1, 3]; got [3, 1]", altered(shape=[3, 1])),
    "shape whose product overflows": Bad(400, "elements for shape", altered(shape=[1000, 2**31 - 1, 2**31 - 1, 2**31 - 1], data=[]), infer("wide")),
    "shape whose product overflows and is empty": Bad(400, "beyond any memory", altered(shape=[1000, 2**31 - 1, 2**31 - 1, 0], data=[]), infer("wide")),
    "rows none": Bad(400, f"expected 1 to {MAX_ROWS:,} rows; got 0", altered(shape=[0, 3], data=[])),
    "rows too many": Bad(400, f"expected 1 to {MAX_ROWS:,} rows; got {MAX_ROWS + 1:,}", lambda: in_json(np.zeros((MAX_ROWS + 1, 3)))),
    "rows that differ": Bad(400, "the first axis alike in all inputs; got [1, 2]", orjson.dumps({"inputs": [{"name": name, "shape": [rows, 2], "datatype": "FP32", "data": [0] * 2 * rows} for name, rows in (("a", 1), ("b", 2))]}), infer("pair")),
    "tokens too many": Bad(400, "at most 8", orjson.dumps({"inputs": [{"name": name, "shape": [1, 9], "datatype": "INT64", "data": [1] * 9} for name in ("tokens", "mask")]}), infer("words")),
    "output unknown": Bad(400, "unexpected output 'w'; this model gives ['y']", beside(outputs=[{"name": "w"}])),
    "output twice": Bad(400, "output y: asked for twice", beside(outputs=[{"name": "y"}] * 2)),
    "output no mapping": Bad(400, "outputs: expected mappings", beside(outputs=["y"])),
    "outputs no list": Bad(400, "outputs: expected a list", beside(outputs={"name": "y"})),
    "FP16 out as JSON": Bad(400, "FP16 has no JSON form; ask for it with", lambda: in_binary(ROW.astype(np.float16), datatype="FP16", parameters={})[0], infer("echo_fp16"), length(len(in_binary(ROW.astype(np.float16), datatype="FP16", parameters={})[0]) - 6)),
    "classes of text": Bad(400, "classification: expected numbers; it is text", in_json(np.array([["a", "b", "c"]], object), datatype="BYTES", outputs=[{"name": "y", "parameters": {"classification": 1}}]), infer("echo_bytes")),
}  # fmt: skip

ELSEWHERE = {
    "model unknown": Bad(404, "Request for unknown model: 'nothing' is not found", path=infer("nothing")),
    "model in capitals": Bad(404, "expected [a-z0-9]", path=infer("Echo_fp32")),
    "model with a line end": Bad(404, "expected [a-z0-9]", path=infer("echo%0Afp32")),
    "model of 200 letters": Bad(404, "expected [a-z0-9]", path=infer("e" * 200)),
    "version unknown": Bad(404, "echo_fp32 has no version 9; it has [1]", path=infer("echo_fp32", "/versions/9")),
    "version 0": Bad(404, "echo_fp32", path=infer("echo_fp32", "/versions/0")),
    "version in words": Bad(404, "no version 'one' of 'echo_fp32'", path=infer("echo_fp32", "/versions/one")),
    "version negative": Bad(404, "no version '-1'", path=infer("echo_fp32", "/versions/-1")),
    "version of 100 digits": Bad(404, "expected [a-z0-9]", path=infer("echo_fp32", f"/versions/{'9' * 100}")),
    "version twice": Bad(404, "no version '1' of 'echo_fp32@1'", path=infer("echo_fp32@1", "/versions/1")),
    "version by reference": Bad(404, "has no version 9", path=infer("echo_fp32@9")),
    "alias unknown": Bad(404, "has no alias 'best'", path=infer("echo_fp32@best")),
    "graph unknown": Bad(404, "no graph 'codec~x'; there are codec~model, codec~decoder", path=infer("codec~x")),
    "graph unknown of a version": Bad(404, "no graph 'codec~x'", path=infer("codec~x", "/versions/1")),
    "path unknown": Bad(404, "Not Found", path="/v2/models/echo_fp32/predict"),
    "name empty": Bad(404, "Not Found", path="/v2/models//infer"),
}  # fmt: skip

HEADERS = {
    "timeout 0": Bad(400, "X-Timeout-Ms: expected 1 to", headers={"X-Timeout-Ms": "0"}),
    "timeout empty": Bad(400, "X-Timeout-Ms: expected 1 to", headers={"X-Timeout-Ms": ""}),
    "timeout header negative": Bad(400, "got '-1'", headers={"X-Timeout-Ms": "-1"}),
    "timeout in words": Bad(400, "got 'soon'", headers={"X-Timeout-Ms": "soon"}),
    "timeout of 2 hours": Bad(400, "3600000", headers={"X-Timeout-Ms": "7200000"}),
    "priority unknown": Bad(400, "X-Priority: expected high, normal or low; got 'urgent'", headers={"X-Priority": "urgent"}),
    "body over the limit": Bad(413, f"at most {MAX_BODY_BYTES:,} bytes", lambda: b" " * (MAX_BODY_BYTES + 1)),
    "gzip": Bad(415, "expected Content-Encoding identity; got 'gzip'", headers={"Content-Encoding": "gzip"}),
    "gzip, binary": Bad(415, "got 'gzip'", BINARY, headers={**BINARY_HEADER, "Content-Encoding": "gzip"}),
}  # fmt: skip

TABLE = LENGTHS | {f"body {k}": v for k, v in UNREADABLE.items()} | UNFIT | ELSEWHERE | HEADERS
FAULTS = ("Traceback", 'File "', ".py", "0x7")
"""What never stands in an answer: our code's places and our memory's."""


def check_error(response: httpx.Response, status: int) -> str:
    """The protocol's one shape of error; its words."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["content-length"]) == len(response.content)
    assert response.headers["server-timing"].startswith("total;dur=")
    body = response.json()
    assert list(body) == ["error"]
    assert not any(fault in body["error"] for fault in FAULTS)
    assert len(body["error"]) < 1000
    assert (response.headers.get("retry-after") == "1") is (status == 503)
    words: str = body["error"]
    return words


def check_good(server: Server, way: str = "below") -> None:
    response = ask(server, ECHO, GOOD, way)
    assert response.status_code == 200, response.text
    assert response.json()["outputs"][0]["data"] == [1, 2, 3]


@pytest.mark.parametrize("bad", TABLE.values(), ids=TABLE)
def test_bad_request_is_refused_in_the_same_words_by_every_path(server: Server, bad: Bad) -> None:
    body = bad.body() if callable(bad.body) else bad.body
    found = set()
    for way in WAYS:
        for turn in range(2):  # the second may be answered from what was kept of the first
            headers = {**bad.headers, **({"X-Request-Id": f"{way[:3]}-{turn}"} if turn else {})}
            response = ask(server, bad.path, body, way, headers)
            found.add(check_error(response, bad.status))
            if turn:
                assert response.headers["x-request-id"] == f"{way[:3]}-{turn}"
            assert response.headers["x-request-id"]
        check_good(server, way)
    sizes = {words.replace("; got more", f"; got {len(body):,}") for words in found}
    assert len(sizes) == 1, found  # a body without a length is only known to be more than allowed
    assert bad.words in sizes.pop()


def test_refusals_are_no_faults_in_the_log(server: Server) -> None:
    """Runs behind those above, which this server's log is of."""
    ids = {f"{way[:3]}-1" for way in WAYS}
    lines = [line for line in server.log() if line.get("request_id") in ids]
    assert {line["level"] for line in lines} <= {"info"}
    assert {line["message"] for line in lines} <= {"request"}


# --- keys ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keyed(mixed_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks for keys, and has no measured graphs."""
    folder = tmp_path_factory.mktemp("keyed")
    with serving(
        mixed_store, folder, api_keys='["user"]', admin_keys='["boss"]', tune=False,
        cache=folder / "cache",
    ) as server:  # fmt: skip
        yield server


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "sent", ["", "user", "Bearer", "Bearer wrong", "Basic user", "Bearer user2", "Bearer userboss"]
)
def test_no_key_or_a_wrong_one_is_401(keyed: Server, way: str, sent: str) -> None:
    headers = {"Authorization": sent, "X-Request-Id": "k"} if sent else {"X-Request-Id": "k"}
    for _ in range(2):
        response = ask(keyed, ECHO, GOOD, way, headers)
        assert "Bearer KEY" in check_error(response, 401)
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.headers["x-request-id"] == "k"
        # A good key that was seen on the connection before does not help the next request.
        response = ask(keyed, ECHO, GOOD, way, {"Authorization": "Bearer user"})
        assert response.status_code == 200


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sent", ["Bearer user", "bearer user", "Bearer boss"])
def test_a_known_key_may_infer(keyed: Server, way: str, sent: str) -> None:
    for _ in range(2):
        assert ask(keyed, ECHO, GOOD, way, {"Authorization": sent}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/v2/repository/models/long/load", "/v2/repository/models/long/unload", "/v2/logging"]
)
def test_what_changes_the_hub_takes_the_admin_key(keyed: Server, path: str) -> None:
    assert "Bearer KEY" in check_error(ask(keyed, path, b"{}"), 401)
    response = ask(keyed, path, b"{}", headers={"Authorization": "Bearer user"})
    assert "not change the hub" in check_error(response, 403)
    assert ask(keyed, path, b"{}", headers={"Authorization": "Bearer boss"}).status_code == 200


@pytest.mark.parametrize("path", ["/v2", "/v2/models/long", "/v2/models/stats", "/v2/logging"])
def test_what_tells_of_models_takes_a_key_and_probes_take_none(keyed: Server, path: str) -> None:
    check_error(ask(keyed, path, b"", method="GET"), 401)
    response = ask(keyed, path, b"", headers={"Authorization": "Bearer user"}, method="GET")
    assert response.status_code == 200
    for probe in ("/v2/health/live", "/v2/health/ready"):
        assert ask(keyed, probe, b"", method="GET").status_code == 200


# --- busy, late, poisoned, gone ------------------------------------------------------------------


@pytest.fixture(scope="module")
def narrow(mixed_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with room for eight waiting rows, and one thread that all graphs take turns on."""
    folder = tmp_path_factory.mktemp("narrow")
    with serving(
        mixed_store, folder, max_queue_rows=8, tune=False, cache=folder / "cache"
    ) as server:
        yield server


SENSOR, SNAIL = infer("sensor"), infer("snail")


def table(*rows: tuple[float, ...]) -> bytes:
    return in_json(f32(rows), "table")


class Busy:
    """One long run that all others wait for, until ``done``."""

    def __init__(self, server: Server) -> None:
        self._server, self._pool = server, concurrent.futures.ThreadPoolExecutor(16)

    def __enter__(self) -> "Busy":
        self._runs = self._server.metric("nv_inference_exec_count", model="snail")
        self.long = self.post(SNAIL, table((4000, 7)))
        for _ in patience():
            queued = self._server.metric("nv_inference_pending_request_count", model="snail")
            flying = self._server.metric("modelhub_requests_in_flight")
            if flying >= 2 and not queued:  # it and the scrape
                return self
        raise AssertionError("the long run does not begin")

    def post(
        self, path: str, body: bytes, **headers: str
    ) -> "concurrent.futures.Future[httpx.Response]":
        names = {name.replace("_", "-"): text for name, text in headers.items()}
        return self._pool.submit(
            httpx.post, self._server.url + path, content=body, headers=names, timeout=PATIENCE_S
        )

    def await_rows(self, rows: int, model: str) -> None:
        """Until so many wait for a run."""
        for _ in patience():
            if self._server.metric("nv_inference_pending_request_count", model=model) == rows:
                return
        raise AssertionError("the rows do not come to wait")

    def __exit__(self, *_: object) -> None:
        assert self.long.result().json()["outputs"][0]["data"] == [7]
        self._pool.shutdown()


@pytest.mark.parametrize("way", WAYS)
def test_poison_row_fails_alone_and_its_batchmates_are_untouched(narrow: Server, way: str) -> None:
    headers = {"traceparent": "00-1"} if way == "through the app" else {}
    tables = [[(n, -n, 0)] for n in range(3)] + [[(3, 4, 12)]] + [[(5, 6, 1), (7, 8, 2)]]
    failed = narrow.metric("nv_inference_request_failure", model="sensor", reason="BACKEND")
    sizes = narrow.metric("modelhub_batch_rows_sum", model="sensor")
    with Busy(narrow) as busy:
        asked = [busy.post(SENSOR, table(*rows), **headers) for rows in tables]
        busy.await_rows(6, "sensor")
        assert not busy.long.done()
        answers = [ask.result() for ask in asked]
    assert "the model failed on this input" in check_error(answers[3], 500)
    for rows, answer in zip(tables, answers, strict=True):
        if answer is not answers[3]:
            assert answer.status_code == 200
            score, contributions = answer.json()["outputs"]
            assert score["data"] == [abs(a) + abs(b) for a, b, _ in rows]
            assert contributions["data"] == [x for a, b, _ in rows for x in (abs(a), abs(b), 0)]
    assert (
        narrow.metric("nv_inference_request_failure", model="sensor", reason="BACKEND")
        == failed + 1
    )
    # They did share a run: six rows, then halves of it until one stood alone.
    assert narrow.metric("modelhub_batch_rows_sum", model="sensor") - sizes > 6 + 3 + 3
    assert narrow.metric("modelhub_requests_in_flight") == 1  # the scrape


@pytest.mark.parametrize("way", ["below", "through the app"])
def test_full_queue_is_503_with_retry_after_and_what_waits_is_answered(
    narrow: Server, way: str
) -> None:
    headers = {"traceparent": "00-1"} if way == "through the app" else {}
    rejected = narrow.metric("nv_inference_request_failure", model="sensor", reason="REJECTED")
    with Busy(narrow) as busy:
        waits = [busy.post(SENSOR, table(*[(n, 0, 0)] * 4)) for n in (1, 2)]
        busy.await_rows(8, "sensor")
        refused = busy.post(SENSOR, table((3, 0, 0)), **headers).result()
        assert "8 rows are waiting; 1 more would exceed 8" in check_error(refused, 503)
        other = busy.post(infer("pair"), orjson.dumps({"inputs": [{"name": n, "shape": [1, 2], "datatype": "FP32", "data": [1, 1]} for n in "ab"]}))  # fmt: skip
        assert not busy.long.done()
        assert [wait.result().json()["outputs"][0]["data"] for wait in waits] == [[1] * 4, [2] * 4]
        assert other.result().status_code == 200  # another model's queue is its own
    assert (
        narrow.metric("nv_inference_request_failure", model="sensor", reason="REJECTED")
        == rejected + 1
    )
    check_good(narrow, way)


@pytest.mark.parametrize("way", WAYS)
def test_deadline_is_504_in_the_queue_and_in_a_run(narrow: Server, way: str) -> None:
    late = {"X-Timeout-Ms": "30"}
    response = ask(narrow, SNAIL, table((1500, 1)), way, late)  # it runs at once, and too long
    assert "deadline passed" in check_error(response, 504)
    in_body = in_json(f32([[1, 2, 0]]), "table", parameters={"timeout": 20_000})
    with Busy(narrow) as busy:
        assert "deadline passed" in check_error(
            ask(narrow, SENSOR, table((1, 2, 0)), way, late), 504
        )
        assert "deadline passed" in check_error(ask(narrow, SENSOR, in_body, way), 504)
        assert not busy.long.done()
        busy.await_rows(0, "sensor")
    assert (
        ask(narrow, SENSOR, table((1, 2, 0)), way, late | {"X-Timeout-Ms": "60000"}).status_code
        == 200
    )


@pytest.mark.parametrize("way", WAYS)
def test_high_priority_overtakes_what_waits(narrow: Server, way: str) -> None:
    trace = {"traceparent": "00-1"} if way == "through the app" else {}
    with Busy(narrow) as busy:
        slow = busy.post(SNAIL, table((300, 1), (300, 1), (300, 1), (300, 1)))
        busy.await_rows(4, "snail")
        low = busy.post(SNAIL, in_json(f32([[1, 2]]), "table", parameters={"priority": 3}), **trace)
        busy.await_rows(5, "snail")
        high = busy.post(SNAIL, table((1, 3)), X_Priority="high", **trace)
        busy.await_rows(6, "snail")
        queued = [dict(part.split(";dur=") for part in ask.result().headers["server-timing"].split(", "))["queue"] for ask in (slow, low, high)]  # fmt: skip
    assert float(queued[2]) < float(queued[1])
    assert high.result().json()["outputs"][0]["data"] == [3]


@pytest.mark.parametrize("way", WAYS)
def test_an_unloaded_model_is_503_until_it_is_loaded_again(narrow: Server, way: str) -> None:
    path = infer("flat")
    body = in_json(f32([1, 2]))
    assert ask(narrow, path, body, way).status_code == 200
    assert ask(narrow, "/v2/repository/models/flat/unload", b"").status_code == 200
    for _ in range(2):
        words = check_error(ask(narrow, path, body, way), 503)
        assert words == "flat is not loaded; POST /v2/repository/models/flat/load loads it"
    assert ask(narrow, "/v2/repository/models/flat/load", b"").status_code == 200
    assert ask(narrow, path, body, way).json()["outputs"][0]["data"] == [1, 2]
