"""Triton's generate extension over a real socket: plain HTTP, as Triton's own pages show it."""

import json
from typing import Any

import httpx
import pytest
import tritonclient.http as triton  # type: ignore[import-untyped]
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

from tests.service.protocols.conftest import LONG, await_silence
from tests.service.server import Server
from tests.service.talkers import after

GENERATE = "/v2/models/alphabet/generate"
STREAM = "/v2/models/alphabet/generate_stream"


def ask(server: Server, path: str = GENERATE, **fields: object) -> httpx.Response:
    body = {"text_input": "abc", "temperature": 0, "max_tokens": 4, **fields}
    return server.client.post(path, json=body)


def events(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    *parts, end = response.text.split("\n\n")
    assert end == ""
    return [json.loads(part.removeprefix("data: ")) for part in parts]


def test_text_goes_in_and_a_text_comes_out(talk: Server) -> None:
    answer = ask(talk)
    assert answer.json() == {"model_name": "alphabet", "model_version": "1", "text_output": "defg"}
    assert answer.headers["x-model-version"] == "1"


def test_parameters_may_stand_in_a_mapping_or_at_the_top(talk: Server) -> None:
    parameters = {"temperature": 0, "max_tokens": 9, "stop": ["gh"]}
    body = {"text_input": "abc", "parameters": parameters, "id": "q7"}
    nested = talk.client.post(GENERATE, json=body).json()
    assert nested == {"id": "q7", "model_name": "alphabet", "model_version": "1",
                      "text_output": "def"}  # fmt: skip
    for nothing in ({}, {"stream": False}, {"stream": None, "parameters": None}):
        flat = ask(talk, max_tokens=9, stop=["gh"], id="q7", **nothing)
        assert flat.json() == nested


def test_input_may_be_part_of_the_output_as_with_tritons_own_models(talk: Server) -> None:
    assert ask(talk, exclude_input_in_output=False).json()["text_output"] == "abcdefg"
    streamed = events(ask(talk, STREAM, exclude_input_in_output=False))
    assert [one["text_output"] for one in streamed] == ["abcd", "e", "f", "g"]


def test_stream_is_an_event_a_token(talk: Server) -> None:
    found = events(ask(talk, STREAM, max_tokens=30, id="q8"))
    assert "".join(one["text_output"] for one in found) == after("abc", 30)
    assert len(found) == 30
    assert {one["id"] for one in found} == {"q8"}
    assert {one["model_version"] for one in found} == {"1"}


@pytest.mark.parametrize("path", ["versions/1/generate", "versions/1/generate_stream"])
def test_version_may_stand_in_the_path(talk: Server, path: str) -> None:
    answer = ask(talk, f"/v2/models/alphabet/{path}", max_tokens=1)
    assert '"text_output":"d"' in answer.text
    assert ask(talk, f"/v2/models/alphabet/{path.replace('1', '9')}").status_code == 404


def test_graph_may_be_named_where_it_is_the_one_that_says_it(talk: Server) -> None:
    answer = ask(talk, "/v2/models/alphabet~model/generate")
    assert answer.json()["model_name"] == "alphabet~model"
    assert ask(talk, "/v2/models/alphabet~other/generate").status_code == 404


@pytest.mark.parametrize("call", ["generate", "generate_stream"])
@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"{", 400, "expected JSON"),
        (b"[]", 400, 'expected {"text_input"'),
        (b'{"text_input": "a", "parameters": 5}', 400, "parameters: expected a mapping; got 5"),
        (b"{}", 422, "text_input: Field required"),
        (b'{"text_input": ["a"]}', 422, "text_input: Input should be a valid string"),
        (b'{"text_input": "a", "id": 5}', 422, "id: Input should be a valid string"),
        (b'{"text_input": "a", "seed": 1, "parameters": {"seed": 2}}', 422, "['seed'] stand"),
        (b'{"text_input": "a", "bad_words": []}', 422, "got ['bad_words']"),
    ],
)
def test_body_that_is_no_wish_is_refused(
    talk: Server, call: str, content: bytes, status: int, words: str
) -> None:
    refused = talk.client.post(f"/v2/models/alphabet/{call}", content=content)
    assert refused.status_code == status
    assert set(refused.json()) == {"error"}
    assert words in refused.json()["error"]


def test_model_that_says_no_text_is_refused(talk: Server) -> None:
    for name, words in (("stamps", "its answer is image"), ("letters", "it can embed")):
        for call in ("generate", "generate_stream"):
            refused = ask(talk, f"/v2/models/{name}/{call}")
            assert refused.status_code == 409
            assert words in refused.json()["error"]
    assert "nobody" in ask(talk, "/v2/models/nobody/generate").json()["error"]
    assert ask(talk, "/v2/models/nobody/generate_stream").status_code == 404


def test_stream_is_asked_for_by_its_own_call(talk: Server) -> None:
    refused = ask(talk, stream=True)
    assert (refused.status_code, "generate_stream" in refused.text) == (422, True)
    assert len(events(ask(talk, STREAM, stream=True))) == 4


def test_late_generation_is_504_or_a_last_event(talk: Server) -> None:
    headers = {"X-Timeout-Ms": "200"}
    body = {"text_input": "a", "max_tokens": LONG, "temperature": 0}
    assert talk.client.post(GENERATE, json=body, headers=headers).status_code == 504
    *said, last = events(talk.client.post(STREAM, json=body, headers=headers))
    assert said[0]["text_output"] == "b"
    assert "deadline passed" in last["error"]
    await_silence(talk)


def test_tritonclient_knows_a_model_that_is_run_token_by_token(talk: Server) -> None:
    with triton.InferenceServerClient(talk.url.removeprefix("http://")) as client:
        assert "generate" in client.get_server_metadata()["extensions"]
        assert client.is_model_ready("alphabet")
        metadata = client.get_model_metadata("alphabet")
        assert metadata["platform"] == "onnxruntime_onnx"
        assert [tensor["name"] for tensor in metadata["inputs"]] == ["tokens", "past"]
        assert client.get_model_config("alphabet")["max_batch_size"] == 0
        given = triton.InferInput("tokens", [1, 1], "INT64")
        with pytest.raises(InferenceServerException, match="POST /v2/models/alphabet/generate"):
            client.infer("alphabet", [given])
