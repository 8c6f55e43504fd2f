"""Every kind of error as the OpenAI client raises it, and as its body says it."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest

from tests.service.bundles import publish
from tests.service.conftest import MAX_BODY_BYTES, Start
from tests.service.protocols.conftest import LONG, Client, client_of
from tests.service.server import Server, patience, serving
from tests.service.talkers import alphabet

PATHS = ("/v1/completions", "/v1/embeddings", "/v1/images/generations")


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a key, one row and one place to wait."""
    root = tmp_path_factory.mktemp("narrow")
    publish(root, alphabet)
    folder, keys = tmp_path_factory.mktemp("narrow-server"), json.dumps(["secret"])
    with serving(root, folder, api_keys=keys, max_sequences=1, max_waiting=1) as server:
        yield server


def error(response: httpx.Response) -> dict[str, str | None]:
    found: dict[str, str | None] = response.json()["error"]
    assert set(response.json()) == {"error"}
    assert list(found) == ["message", "type", "param", "code"]
    return found


def say(client: Client, **fields: object) -> None:
    given = {"model": "alphabet", "prompt": "a", "temperature": 0, "max_tokens": 2, **fields}
    client.completions.create(**given)  # type: ignore[call-overload]


@pytest.mark.parametrize("path", PATHS)
def test_body_that_cannot_be_read_is_400_or_415(talk: Server, path: str) -> None:
    typed = {"Content-Type": "application/json"}
    for content in (b"", b"{", b"[1]", b'"x"', b'{"model": NaN}', b'{"model": "\xff"}'):
        refused = talk.client.post(path, content=content, headers=typed)
        assert refused.status_code == 400
        assert error(refused)["code"] == "invalid_body"
    for headers in ({}, {"Content-Type": "text/plain"}):
        refused = talk.client.post(path, content=b"{}", headers=headers)
        assert refused.status_code == 415
        assert error(refused)["code"] == "unsupported_media_type"
    packed = {**typed, "Content-Encoding": "gzip"}
    assert talk.client.post(path, content=b"{}", headers=packed).status_code == 415


@pytest.mark.parametrize("path", PATHS)
def test_call_without_a_model_says_so(talk: Server, path: str) -> None:
    refused = talk.client.post(path, json={"prompt": "a"} if "embed" not in path else {})
    assert (refused.status_code, error(refused)["param"]) == (422, "model")


def test_unknown_model_is_404(client: Client) -> None:
    for ref in ("nobody", "alphabet@9", "alphabet@stable", "No Name"):
        with pytest.raises(openai.NotFoundError) as caught:
            say(client, model=ref)
        assert caught.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            say(client, model=ref, stream=True)


def test_what_is_not_offered_has_openais_shape_too(talk: Server, client: Client) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="alphabet", messages=[])
    assert caught.value.code == "unknown_url"
    refused = talk.client.get("/v1/completions")
    assert (refused.status_code, error(refused)["code"]) == (405, "method_not_allowed")
    # The native protocol's own paths keep its own shape.
    assert talk.client.get("/v1/nothing").json()["status"] == 404


def test_model_without_the_verb_is_409(client: Client) -> None:
    with pytest.raises(openai.ConflictError, match="letters cannot generate; it can embed"):
        say(client, model="letters")
    with pytest.raises(openai.ConflictError, match="its answer is image, not text"):
        say(client, model="stamps")
    with pytest.raises(openai.ConflictError):
        say(client, model="stamps", stream=True)


def test_body_over_the_limit_is_413(talk: Server, client: Client) -> None:
    refused = talk.client.post("/v1/completions", content=b" " * (MAX_BODY_BYTES + 1),
                               headers={"Content-Type": "application/json"})  # fmt: skip
    assert (refused.status_code, error(refused)["code"]) == (413, "too_large")
    with pytest.raises(openai.APIStatusError, match=r"prompt\[0\]: expected at most 100,000"):
        say(client, prompt="a" * 100_001)
    with pytest.raises(openai.APIStatusError, match="at most 10,000 texts; got 10,240") as caught:
        say(client, prompt=["a"] * 80, n=128)
    assert caught.value.status_code == 413


def test_passed_deadline_is_504(client: Client) -> None:
    with pytest.raises(openai.InternalServerError, match="deadline passed") as caught:
        say(client, max_tokens=LONG, extra_headers={"X-Timeout-Ms": "200"})
    assert (caught.value.status_code, caught.value.code) == (504, "deadline_exceeded")
    with pytest.raises(openai.BadRequestError, match="X-Timeout-Ms"):
        say(client, extra_headers={"X-Timeout-Ms": "soon"})


def test_wrong_key_is_401_before_anything_is_read(narrow: Server) -> None:
    with client_of(narrow, "wrong") as wrong, pytest.raises(openai.AuthenticationError) as caught:
        say(wrong)
    assert caught.value.code == "invalid_api_key"
    assert caught.value.type == "authentication_error"
    with client_of(narrow, "secret") as right:
        say(right)
        assert [model.id for model in right.models.list()] == ["alphabet"]


def test_full_queue_is_503_and_says_when_to_come_again(narrow: Server) -> None:
    with client_of(narrow, "secret") as client, ThreadPoolExecutor(1) as pool:
        fields = {"model": "alphabet", "prompt": "a", "max_tokens": LONG, "temperature": 0}
        talking = client.completions.create(stream=True, **fields)  # type: ignore[call-overload]
        next(talking)
        waiting = pool.submit(say, client)
        for _ in patience():
            headers = {"Authorization": "Bearer secret"}
            page = narrow.client.get("/metrics", headers=headers).text
            if 'modelhub_sequences_waiting{model="alphabet",version="1"} 1.0' in page:
                break
        with pytest.raises(openai.InternalServerError, match="1 sequences are waiting") as caught:
            say(client)
        assert (caught.value.status_code, caught.value.code) == (503, "unavailable")
        assert caught.value.response.headers["retry-after"] == "1"
        talking.close()
        waiting.result()  # whoever waited gets the row of the one that left


def test_model_that_is_unloaded_is_503(start: Start, root: Path) -> None:
    publish(root, alphabet)
    server = start(root)
    assert server.client.post("/v2/repository/models/alphabet/unload").status_code == 200
    with client_of(server) as client, pytest.raises(openai.InternalServerError) as caught:
        say(client)
    assert (caught.value.status_code, caught.value.code) == (503, "unavailable")
    assert caught.value.response.headers["retry-after"] == "1"
