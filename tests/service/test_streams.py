"""Many streams that are opened and dropped at random, over a real socket."""

import json
import random
import socket
import time
from pathlib import Path

import pytest

from tests.service.bundles import publish
from tests.service.conftest import Start
from tests.service.protocols.conftest import await_silence
from tests.service.server import PATIENCE_S, Server
from tests.service.talkers import after, alphabet

LONG = 40_000
"""Tokens of a text that is still being said when its reader leaves."""
ROWS = 8
"""Texts said at a time: most streams wait, and some are dropped while they do."""
PATH = "/v1/models/alphabet/generate"


def open_stream(server: Server) -> socket.socket:
    body = {"inputs": ["a"], "parameters": {"temperature": 0, "max_tokens": LONG, "stream": True}}
    content = json.dumps(body).encode()
    connection = socket.create_connection(server.address, PATIENCE_S)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    return connection


def come_and_go(server: Server, streams: int) -> int:
    """Opens so many and drops all of them; → how many had been answered when they left."""
    dice, held, answered = random.Random(0), list[socket.socket](), 0
    for _ in range(streams):
        held.append(open_stream(server))
        if dice.random() < 0.6:
            answered += drop(held.pop(dice.randrange(len(held))), dice.random() * 0.1)
    for connection in held:
        answered += drop(connection, 0.0)
    return answered


def drop(connection: socket.socket, wait_s: float) -> bool:
    """Close it, after a look at what has come so far; → whether anything had."""
    with connection:
        time.sleep(wait_s)
        connection.setblocking(False)
        try:
            return bool(connection.recv(4096))
        except BlockingIOError:
            return False


def say(server: Server) -> object:
    response = server.predict("generate", "alphabet", "xyz", temperature=0, max_tokens=40)
    assert response.status_code == 200, response.text
    return response.json()["outputs"]


@pytest.mark.parametrize(
    "streams",
    [60, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.soak])],
)
def test_streams_that_come_and_go_leave_nothing_behind(
    root: Path, start: Start, streams: int
) -> None:
    publish(root, alphabet)
    server = start(root, max_sequences=ROWS)
    before = say(server)
    assert before[0]["text"] == after("xyz", 40)  # type: ignore[index]
    answered = come_and_go(server, streams)
    assert 0 < answered <= streams
    await_silence(server)
    assert server.metric("modelhub_sequences_running", model="alphabet") == 0
    assert server.metric("modelhub_sequences_waiting", model="alphabet") == 0
    assert server.metric("modelhub_kv_cache_usage_ratio", model="alphabet") == 0
    # A few that were held for long may have been said to their end; the others were given up.
    finished = server.metric("modelhub_sequences_finished_total", model="alphabet", reason="length")
    assert 1 <= finished < streams / 10
    assert say(server) == before
