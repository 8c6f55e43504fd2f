"""What holds for text whichever protocol asks for it: what is refused, and what a leaver leaves."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.service.bundles import publish
from tests.service.conftest import Start
from tests.service.protocols.conftest import LONG, await_silence
from tests.service.server import PATIENCE_S, Server, patience
from tests.service.talkers import CONTEXT, after, alphabet


class Speaker(NamedTuple):
    """How one protocol asks."""

    path: str
    prompt: str
    """Its field for the prompt."""
    nested: bool
    """Sampling stands in ``parameters``."""
    streams: dict[str, Any]

    def body(self, prompt: object, **fields: object) -> dict[str, Any]:
        head: dict[str, Any] = {self.prompt: [prompt] if self.prompt == "inputs" else prompt}
        if self.prompt == "prompt":
            head["model"] = "alphabet"
        return head | ({"parameters": fields} if self.nested else fields)


SPEAKERS = {
    "native": Speaker("/v1/models/alphabet/generate", "inputs", True, {"stream": True}),
    "openai": Speaker("/v1/completions", "prompt", False, {"stream": True}),
    "open inference": Speaker("/v2/models/alphabet/generate_stream", "text_input", True, {}),
}
every_speaker = pytest.mark.parametrize("speaker", SPEAKERS.values(), ids=SPEAKERS)


def message(response: httpx.Response) -> str:
    body = response.json()
    found = body.get("detail") or body["error"]
    return found if isinstance(found, str) else str(found["message"])


# --- refusals ----------------------------------------------------------------------------------

BAD: dict[str, tuple[object, dict[str, object], int, str]] = {
    "empty prompt": ("", {}, 422, "expected text with a word in it; got ''"),
    "prompt over the context": (
        "a" * (CONTEXT + 1), {"max_tokens": 1}, 422, "context is 50,000 tokens); got 50,001 and 1"
    ),
    "prompt of too many characters": ("a" * 100_001, {}, 413, "at most 100,000 characters"),
    "prompt that is no text": (5, {}, 422, "got 5"),
    "half of a surrogate pair": ("\ud800", {}, 400, "JSON"),
    "max_tokens over the limit": (
        "abc", {"max_tokens": CONTEXT}, 422, "at most 50,000 with max_tokens … got 3 and 50,000"
    ),
    "no tokens": ("a", {"max_tokens": 0}, 422, "max_tokens … greater than or equal to 1; got 0"),
    "temperature below zero": ("a", {"temperature": -1}, 422, "temperature … equal to 0; got -1"),
    "top_p of zero": ("a", {"top_p": 0}, 422, "top_p … greater than 0; got 0"),
    "top_p above one": ("a", {"top_p": 1.5}, 422, "top_p … less than or equal to 1; got 1.5"),
    "a thousand stop strings": (
        "a", {"stop": [str(n) for n in range(1000)]}, 422, "stop … at most 16 … got a list of 1000"
    ),
    "empty stop string": ("a", {"stop": [""]}, 422, "stop.0 … at least 1 character; got ''"),
    "unknown parameter": ("a", {"tempereture": 1}, 422, "tempereture"),
    "seed of 64 bits": ("a", {"seed": 2**63}, 422, "seed … less than or equal to"),
    "seed beyond 64 bits": ("a", {"seed": 2**70}, 422, "seed … at most 64 bits"),
    "seed that is no number": ("a", {"seed": "x"}, 422, "seed … valid integer"),
    "beams beside logprobs": ("a", {"beams": 2, "logprobs": 1}, 422, "beams"),
    "too many runners-up": ("a", {"logprobs": 21}, 422, "logprobs … equal to 20; got 21"),
}  # fmt: skip


@every_speaker
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "stream"])
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_a_status_before_anything_is_said(
    talk: Server, speaker: Speaker, case: str, whole: bool
) -> None:
    prompt, fields, status, words = BAD[case]
    path = speaker.path.removesuffix("_stream") if whole else speaker.path
    body = speaker.body(prompt, **fields) | ({} if whole else speaker.streams)
    typed = {"Content-Type": "application/json"}
    refused = talk.client.post(path, content=json.dumps(body), headers=typed)
    assert refused.status_code == status, refused.text
    for part in words.split(" … "):
        assert part in message(refused)
    assert len(message(refused)) < 600


@every_speaker
def test_bytes_that_are_not_utf8_are_refused(talk: Server, speaker: Speaker) -> None:
    body = json.dumps(speaker.body("XYZ")).encode().replace(b"XYZ", b"\xff\xfe")
    typed = {"Content-Type": "application/json"}
    refused = talk.client.post(speaker.path, content=body, headers=typed)
    assert refused.status_code == 400
    assert "expected JSON" in message(refused)
    raw = talk.client.post(SPEAKERS["native"].path, content=b"\xff\xfe",
                           headers={"Content-Type": "text/plain"})  # fmt: skip
    assert raw.status_code == 422
    assert "expected UTF-8 text; got byte 0" in message(raw)


# --- leaving -----------------------------------------------------------------------------------


def connect(
    server: Server, speaker: Speaker, *, whole: bool = False, **fields: object
) -> socket.socket:
    """A request for a long text, nothing of which is read yet."""
    body = speaker.body("a", temperature=0, max_tokens=LONG, **fields)
    body |= {} if whole else speaker.streams
    path = speaker.path.removesuffix("_stream") if whole else speaker.path
    content = json.dumps(body).encode()
    connection = socket.socket()
    # As small as the kernel allows, so that it is the server who has to wait.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE_S)
    connection.connect(server.address)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    connection.sendall(head.encode() + content)
    return connection


def number(server: Server, state: str) -> float:
    return server.metric(f"modelhub_sequences_{state}", model="alphabet")


def said_to_the_end(server: Server) -> float:
    return server.metric("modelhub_sequences_finished_total", model="alphabet", reason="length")


@pytest.fixture
def single(start: Start, root: Path) -> Iterator[Server]:
    """A server that says one text at a time."""
    publish(root, alphabet)
    server = start(root, max_sequences=1)
    yield server
    await_silence(server)


@every_speaker
def test_client_that_leaves_its_stream_frees_its_row(talk: Server, speaker: Speaker) -> None:
    before = said_to_the_end(talk)
    with connect(talk, speaker) as connection:
        assert connection.recv(12) == b"HTTP/1.1 200"
        assert number(talk, "running") == 1
    await_silence(talk)
    assert said_to_the_end(talk) == before


@every_speaker
def test_client_that_leaves_while_it_waits_for_the_whole_frees_its_row(
    talk: Server, speaker: Speaker
) -> None:
    before = said_to_the_end(talk)
    with connect(talk, speaker, whole=True):
        for _ in patience():
            if number(talk, "running") == 1:
                break
    await_silence(talk)
    assert said_to_the_end(talk) == before


@every_speaker
def test_client_that_leaves_before_its_first_token_is_forgotten(
    single: Server, speaker: Speaker
) -> None:
    with connect(single, speaker) as talking:
        assert talking.recv(12) == b"HTTP/1.1 200"
        with connect(single, speaker):
            for _ in patience():
                if number(single, "waiting") == 1:
                    break
        for _ in patience():
            if number(single, "waiting") == 0:
                break
        assert (number(single, "waiting"), number(single, "running")) == (0, 1)
    await_silence(single)
    assert said_to_the_end(single) == 0
    canceled = {"model": "alphabet", "reason": "CANCELED"}
    assert single.metric("nv_inference_request_failure", **canceled) == 2
    # Its leases are given back too, or an unload would wait for ever.
    assert single.client.post("/v2/repository/models/alphabet/unload").status_code == 200
    for _ in patience():
        if single.client.get("/v1/models/alphabet").json()["state"] == "unloaded":
            return
    raise AssertionError("a lease is left")


def memory_bytes(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/statm").read_text(encoding="ascii")
    return int(status.split()[1]) * 4096


@every_speaker
def test_slow_readers_cost_neither_memory_nor_other_peoples_time(
    talk: Server, speaker: Speaker
) -> None:
    body = {"inputs": ["abc"], "parameters": {"temperature": 0, "max_tokens": 200}}
    before = memory_bytes(talk)
    slow = [connect(talk, speaker, seed=seed) for seed in range(8)]
    try:
        for connection in slow:
            assert connection.recv(1) == b"H"
        end = time.monotonic() + 2
        while time.monotonic() < end:
            for connection in slow:
                assert len(connection.recv(1)) == 1  # a byte at a time
            answer = talk.client.post(SPEAKERS["native"].path, json=body)
            assert answer.json()["outputs"][0]["text"] == after("abc", 200)
            assert answer.elapsed.total_seconds() < 5
            time.sleep(0.2)
        # 16 bytes were read of each; not 40,000 events of some 100 bytes are held for it.
        assert memory_bytes(talk) - before < 64 * 2**20
    finally:
        for connection in slow:
            connection.close()
    await_silence(talk)
