"""Infer calls below the app, in a process of its own and on the event loop of production: under
load, and while it is stopped.
"""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest

from tests.service.bundles import publish, snail
from tests.service.protocols.open_inference.graphs import echo, f32, put
from tests.service.protocols.open_inference.paths import TRACE, in_json, infer
from tests.service.server import PATIENCE_S, Server, patience, serving

ECHO = infer("echo")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two models: one that runs on the event loop, and a slow one."""
    root = tmp_path_factory.mktemp("few") / "store"
    put(root, "echo", echo("FP32", "N", 3))
    publish(root, snail)
    return root


def numbers_in(response: httpx.Response) -> list[float]:
    assert response.status_code == 200, response.text
    numbers: list[float] = response.json()["outputs"][0]["data"]
    return numbers


def request_for(number: float, more: dict[str, str]) -> bytes:
    body = in_json(f32([[number, 0, 0]]))
    lines = [f"POST {ECHO} HTTP/1.1", "Host: hub", *(f"{k}: {v}" for k, v in more.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


@pytest.fixture
def served(few: Path, tmp_path: Path) -> Iterator[Server]:
    """A process of its own, with the event loop that it has in production."""
    with serving(few, tmp_path, cache=few.parent / "cache", access_log_per_s=1_000_000) as server:
        yield server


class Cut(Exception):
    """The server closed a connection between two requests."""


def read_answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of one whole answer; half of one fails the test."""
    data, size = b"", -1
    while size < 0 or len(data) < size:
        piece = connection.recv(65536)
        if not piece:
            assert data == b"", "half an answer"
            raise Cut
        data += piece
        if size < 0 and b"\r\n\r\n" in data:
            found = re.search(rb"content-length: (\d+)\r\n", data)
            assert found
            size = data.index(b"\r\n\r\n") + 4 + int(found[1])
    head, _, body = data.partition(b"\r\n\r\n")
    return head, body


def hammer(server: Server, number: int, end: threading.Event) -> int:
    """Ask on kept connections until the server is gone; how many answers came, all right."""
    answered = 0
    request = request_for(number, TRACE if number % 2 else {})
    with contextlib.suppress(ConnectionError):
        while not end.is_set():
            with (
                contextlib.suppress(Cut),
                socket.create_connection(server.address, PATIENCE_S) as connection,
            ):
                while True:
                    connection.sendall(request)
                    head, body = read_answer(connection)
                    assert head.startswith(b"HTTP/1.1 200 OK"), head
                    assert orjson.loads(body)["outputs"][0]["data"] == [number, 0, 0]
                    answered += 1
    return answered


def test_sigterm_under_load_loses_nothing_that_was_accepted(served: Server) -> None:
    """Slow requests in hand are answered, and of the quick ones that never stop coming each is
    answered whole or not taken at all: as many as the server counts as answered have their answer.
    """
    signalled = threading.Event()

    def slow(number: int) -> httpx.Response:
        body = in_json(f32([[4000, number]]), "table")
        headers = TRACE if number % 2 else {}
        return httpx.post(served.url + infer("snail"), content=body, headers=headers, timeout=60)

    with ThreadPoolExecutor(12) as pool:
        hammers = [pool.submit(hammer, served, n, signalled) for n in range(6)]
        for _ in patience():
            if served.metric("nv_inference_request_success", model="echo") > 200:
                break
        slows = [pool.submit(slow, n) for n in range(4)]
        for _ in patience():  # until one runs and three wait
            if served.metric("nv_inference_pending_request_count", model="snail") == 3:
                break
        served.signal()
        signalled.set()
        answers = [ask.result() for ask in slows]
        counted = sum(ask.result() for ask in hammers)
    assert [numbers_in(answer) for answer in answers] == [[0], [1], [2], [3]]
    assert served.process.wait(PATIENCE_S) == 0
    lines = [line for line in served.log() if line.get("path") == ECHO]
    assert {line["status"] for line in lines} == {200}
    assert len(lines) == counted > 200


@pytest.mark.parametrize("more", [{}, TRACE], ids=["below", "through the app"])
def test_what_takes_longer_than_the_stop_may_is_told_so(
    few: Path, tmp_path: Path, more: dict[str, str]
) -> None:
    with serving(few, tmp_path, cache=few.parent / "cache", shutdown_s=1) as server:
        with ThreadPoolExecutor(1) as pool:
            body = in_json(f32([[20_000, 1]]), "table")
            ask = pool.submit(
                httpx.post, server.url + infer("snail"), content=body, headers=more, timeout=60
            )
            for _ in patience():
                if server.metric("modelhub_requests_in_flight") == 2:  # it and the scrape
                    break
            server.signal()
            response = ask.result()
        assert response.status_code == 503
        assert "the server is stopping" in response.json()["error"]
        assert response.headers["retry-after"]
        assert server.process.wait(PATIENCE_S) == 0


def test_many_clients_at_once_each_get_their_own_answer(served: Server) -> None:
    """Over the production event loop, by both paths, with connections kept and thrown away."""

    def client(number: int) -> None:
        rng = np.random.default_rng(number)
        with httpx.Client(base_url=served.url, timeout=PATIENCE_S) as kept:
            for _ in range(40):
                numbers = rng.integers(-1000, 1000, (1 + int(rng.integers(4)), 3)).astype(
                    np.float32
                )
                headers = TRACE if rng.integers(2) else {}
                response = kept.post(ECHO, content=in_json(numbers), headers=headers)
                assert numbers_in(response) == numbers.ravel().tolist()
                if rng.integers(5) == 0:
                    with socket.create_connection(served.address) as other:
                        other.sendall(request_for(1, headers)[: int(rng.integers(1, 150))])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client, range(8)))
    for _ in patience():
        if served.metric("modelhub_requests_in_flight") == 1:  # the scrape
            break
    assert served.metric("modelhub_requests_in_flight") == 1
    assert served.metric("nv_inference_request_success", model="echo") >= 320
    assert served.client.post("/v2/repository/models/echo/unload").status_code == 200
    for _ in patience():
        index = {e["name"]: e for e in served.client.post("/v2/repository/index").json()}
        if index["echo"]["state"] == "UNAVAILABLE":
            break
    assert index["echo"]["reason"] == "unloaded"
