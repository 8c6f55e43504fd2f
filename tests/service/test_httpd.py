"""Infer calls below the app: the same answers, headers, metrics and log lines as through it, on
connections as clients really use and abuse them.
"""

import asyncio
import contextlib
import itertools
import logging
import random
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from service.app import create_app, encode_error
from service.httpd import HttpProtocol, protocol_over
from service.hub import ModelHub
from service.settings import Settings
from tests.service.bundles import publish, sensor, snail
from tests.service.protocols.open_inference.graphs import echo, f32, put
from tests.service.protocols.open_inference.paths import TRACE, in_binary, in_json, infer
from tests.service.server import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODELS = ("echo", "long", "snail", "sensor")
ECHO = infer("echo")
ROW = f32([[1, 2.5, -3]])


# --- a server in this process, and connections to it ---------------------------------------------


class Counted:
    """The app, and what reached it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.paths: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.paths.append(scope["path"])
        await self._app(scope, receive, send)


class Connection:
    """One of a client's: bytes go out as they stand, answers come back one by one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, head_only: bool = False) -> httpx.Response:
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            found = dict(line.split(": ", 1) for line in lines)
            size = int(found.get("content-length", 0))
            body = b"" if head_only else await self.reader.readexactly(size)
        assert first.startswith("HTTP/1.1 ")
        return httpx.Response(int(first.split(" ")[1]), headers=found, content=body)

    async def ask(self, data: bytes) -> httpx.Response:
        await self.send(data)
        return await self.answer()

    async def ended(self) -> bool:
        """The server closed it, and nothing more came."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read() == b""

    def abort(self) -> None:
        self.writer.transport.abort()


@dataclass
class House:
    """A server in this process. What it counts is counted from the last :meth:`forget`."""

    hub: ModelHub
    app: Counted
    server: uvicorn.Server
    port: int
    connections: list[Connection] = field(default_factory=list)
    _before: dict[str, float] = field(default_factory=dict)

    async def connect(self) -> Connection:
        connection = Connection(*await asyncio.open_connection("127.0.0.1", self.port))
        self.connections.append(connection)
        return connection

    async def leave(self) -> None:
        """As all clients do at last."""
        for connection in self.connections:
            connection.abort()
            with contextlib.suppress(ConnectionError):
                await connection.writer.wait_closed()
        self.connections.clear()
        await self.until(lambda: self.in_flight == 0)

    def forget(self) -> None:
        self.app.paths.clear()
        self._before = self._samples()

    async def ask(self, data: bytes) -> httpx.Response:
        """On a connection of its own."""
        connection = await self.connect()
        try:
            return await connection.ask(data)
        finally:
            connection.abort()

    def _samples(self) -> dict[str, float]:
        lines = self.hub.telemetry.exposition().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {sample: float(value) for sample, _, value in pairs}

    def counted(self, *names: str) -> dict[str, float]:
        """Samples that grew, by name and labels, of metrics whose names begin so."""
        grown = {key: n - self._before.get(key, 0) for key, n in self._samples().items()}
        return {key: n for key, n in grown.items() if n and key.startswith(names)}

    def requests(self) -> dict[str, int]:
        """Status → infer calls answered so, on any path and with any kind of address."""
        found = self.counted("modelhub_requests_total").items()
        statuses: Counter[str] = Counter()
        for key, n in found:
            if "/infer" in key:
                statuses[key.split('status="')[1][:3]] += int(n)
        return dict(statuses)

    def runs(self, model: str) -> float:
        return sum(self.counted(f'nv_inference_exec_count{{model="{model}"').values())

    @property
    def in_flight(self) -> int:
        return self.hub.telemetry.in_flight

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.002)

    async def settle(self) -> None:
        """Until no graph runs or has rows waiting."""
        models = self.hub.residency.loaded.values()
        lanes = [lane for model in models for lane in model.lanes.values()]
        await self.until(lambda: all(lane.batcher.idle for lane in lanes))

    async def unload(self, name: str) -> None:
        """Which ends once nobody has a lease on the model."""
        await self.hub.unload(name)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*self.hub.residency.leaving.values())
        assert not self.hub.residency.leaving


@contextlib.asynccontextmanager
async def living(store: Path, **settings: Any) -> AsyncIterator[House]:
    chosen = {"store": store, "threads": 1, "cache": store.parent / "cache", **settings}
    app = create_app(Settings(**chosen))
    counted = Counted(app)
    config = uvicorn.Config(
        counted, http=protocol_over(app, encode_error), log_config=None, access_log=False,
        server_header=False, timeout_keep_alive=app.state.hub.settings.keep_alive_s,
        timeout_graceful_shutdown=5,
    )  # fmt: skip
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    life = asyncio.create_task(server.serve(sockets=[listener]))
    house = House(app.state.hub, counted, server, listener.getsockname()[1])
    try:
        await house.until(lambda: life.done() or (server.started and not house.hub.not_ready))
        house.forget()
        yield house
    finally:
        await house.leave()
        server.should_exit = True
        await life


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three models: one that runs on the event loop, a slow one, and one that fails."""
    root = tmp_path_factory.mktemp("few") / "store"
    put(root, "echo", echo("FP32", "N", 3))
    put(root, "long", echo("FP32", "N", "L"))
    publish(root, snail)
    publish(root, sensor)
    return root


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing(few: Path) -> AsyncIterator[House]:
    async with living(few) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def house(standing: House) -> AsyncIterator[House]:
    """The same server for all tests that need no other; each finds its models loaded."""
    for name in MODELS:
        await standing.hub.load(name)
    await standing.settle()
    standing.forget()
    yield standing
    await standing.leave()


def http(
    path: str, body: bytes = b"", *more: str, method: str = "POST", version: str = "1.1"
) -> bytes:  # fmt: skip
    """A request in bytes; ``more`` are lines of its head."""
    lines = [f"{method} {path} HTTP/{version}", "Host: hub", *more]
    if not any(line.lower().startswith(("content-length", "transfer")) for line in more):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(path: str, body: bytes, *more: str) -> bytes:
    pieces = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return http(path, pieces, "Transfer-Encoding: chunked", *more)


def fields_of(headers: dict[str, str]) -> list[str]:
    return [f"{name}: {value}" for name, value in headers.items()]


def row(*numbers: float) -> bytes:
    return in_json(f32([numbers]))


def good(*more: str, numbers: Iterable[float] = (1, 2.5, -3)) -> bytes:
    return http(ECHO, row(*numbers), *more)


def numbers_in(response: httpx.Response) -> list[float]:
    assert response.status_code == 200, response.text
    numbers: list[float] = response.json()["outputs"][0]["data"]
    return numbers


THROUGH = fields_of(TRACE)
METADATA = http("/v2/models/echo", method="GET")


def snail_for(rounds: float, value: float, *more: str) -> bytes:
    """A request that runs for about so many milliseconds."""
    return http(infer("snail"), in_json(f32([[rounds, value]]), "table"), *more)


# --- which path ----------------------------------------------------------------------------------


async def test_a_call_in_order_never_reaches_the_app(house: House) -> None:
    body, binary = in_binary(ROW)
    connection = await house.connect()
    for request in (
        good(),
        good("X-Request-Id: a", "X-Timeout-Ms: 5000", "X-Priority: high"),
        http(ECHO, body, *fields_of(binary)),
        http(infer("echo", "/versions/1"), row(1, 2, 3)),
        http(infer("echo@1"), row(1, 2, 3)),
        http(infer("echo~model"), row(1, 2, 3)),
        http(infer("%65cho"), row(1, 2, 3)),
        http(ECHO, b"no JSON"),
        http(ECHO),
        snail_for(1, 1),
    ):
        for _ in range(3):
            assert (await connection.ask(request)).status_code in (200, 400)
    assert house.app.paths == []


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (good(*THROUGH), 200),
        (chunked(ECHO, row(1, 2, 3)), 200),
        (good("Content-Encoding: identity"), 200),
        (good("Content-Encoding: gzip"), 415),
        (good("X-Timeout-Ms: soon"), 400),
        (good("X-Priority: urgent"), 400),
        (good("X-Priority: low", "X-Priority: high"), 200),
        (http(ECHO, row(1, 2, 3), "Inference-Header-Content-Length: many"), 400),
        (http(ECHO + "?a=1", row(1, 2, 3)), 200),
        (http(ECHO + "?", row(1, 2, 3)), 200),
        (http(infer("echo", "/versions/%31"), row(1, 2, 3)), 200),
        (http(infer("nothing"), row(1, 2, 3)), 404),
        (http(infer("echo~x"), row(1, 2, 3)), 404),
        (http(infer("echo", "/versions/2"), row(1, 2, 3)), 404),
        (http("http://hub" + ECHO, row(1, 2, 3)), 200),
        (http(ECHO, method="GET"), 405),
        (http(ECHO, row(1, 2, 3), method="PUT"), 405),
        (http(ECHO, row(1, 2, 3), method="DELETE"), 405),
        (METADATA, 200),
    ],
)
async def test_whatever_is_out_of_the_ordinary_is_the_apps(
    house: House, request_bytes: bytes, status: int
) -> None:
    connection = await house.connect()
    for turn in range(1, 4):
        response = await connection.ask(request_bytes)
        assert response.status_code == status, response.text
        assert len(house.app.paths) == turn
        if status == 405:
            assert response.headers["allow"] == "POST"
        if status >= 400:
            assert list(response.json()) == ["error"]
        assert numbers_in(await connection.ask(good())) == [1, 2.5, -3]
    assert house.in_flight == 0


async def test_a_head_request_is_405_without_a_body(house: House) -> None:
    connection = await house.connect()
    await connection.send(http(ECHO, method="HEAD"))
    assert (await connection.answer(head_only=True)).status_code == 405
    assert numbers_in(await connection.ask(good())) == [1, 2.5, -3]


async def test_expect_100_is_answered_before_the_body_comes(house: House) -> None:
    connection = await house.connect()
    request = good("Expect: 100-continue")
    head, body = request.split(b"\r\n\r\n", 1)
    await connection.send(head + b"\r\n\r\n")
    assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert numbers_in(await connection.ask(body)) == [1, 2.5, -3]


async def test_a_body_over_the_limit_is_refused_and_the_next_request_answered(few: Path) -> None:
    async with living(few, max_body_bytes=1000) as house:
        for length in ("1001", "99999999999999"):
            response = await house.ask(http(ECHO, b"", f"Content-Length: {length}"))
            assert response.status_code == 413
        connection = await house.connect()
        assert (await connection.ask(http(ECHO, b" " * 1001))).status_code == 413
        assert numbers_in(await connection.ask(good())) == [1, 2.5, -3]
        assert (await connection.ask(http(ECHO, row(1, 2, 3).ljust(1000)))).status_code == 200


# --- the same by both paths ----------------------------------------------------------------------

BINARY, BINARY_HEADER = in_binary(ROW)
SAME = {
    "JSON": (ECHO, row(1, 2, 3), []),
    "binary": (ECHO, BINARY, fields_of(BINARY_HEADER)),
    "raw": (ECHO, ROW.tobytes(), ["Inference-Header-Content-Length: 0"]),
    "versioned": (infer("echo", "/versions/1"), row(1, 2, 3), []),
    "percent": (infer("%65cho"), row(1, 2, 3), []),
    "threaded": (infer("snail"), in_json(f32([[1, 7]]), "table"), []),
    "refused": (ECHO, b"{}", []),
    "poisoned": (infer("sensor"), in_json(f32([[1, 2, 12]]), "table"), []),
    "late": (infer("snail"), in_json(f32([[900, 7]]), "table"), ["X-Timeout-Ms: 20"]),
    "made id": (ECHO, row(1, 2, 3), ["X-Request-Id: two words"]),
}
MOVING = ("date", "server-timing")


def logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Fields of the access log's lines, but for the one that counts those left out."""
    records = [record for record in caplog.records if record.name == "modelhub.access"]
    return [vars(record)["fields"] for record in records if record.message == "request"]


@pytest.mark.parametrize("case", SAME)
async def test_answer_headers_metrics_and_log_line_are_the_same(
    house: House, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "modelhub.access")
    path, body, lines = SAME[case]
    found = []
    for more in ([], THROUGH):
        caplog.clear()
        await house.settle()
        house.forget()
        own = [] if case == "made id" else ["X-Request-Id: r-7"]
        response = await house.ask(http(path, body, *lines, *more, *own))
        await house.until(lambda: house.in_flight == 0)
        assert bool(house.app.paths) is bool(more)
        headers = {k: v for k, v in response.headers.items() if k not in MOVING}
        timing = re.sub(r"[0-9.]+", "0", response.headers["server-timing"])
        (fields,) = logged(caplog)
        assert fields["request_id"] == headers["x-request-id"]
        if case == "made id":
            assert re.fullmatch("[0-9a-f]{32}", fields.pop("request_id"))
            del headers["x-request-id"]
        names = ("ms", "queue_ms", "compute_ms")
        times: dict[str, float] = {key: fields.pop(key) for key in names if key in fields}
        assert all(spent >= 0 for spent in times.values())
        counts = house.counted("modelhub_requests", "nv_inference", "modelhub_padding")
        counts = {key: n for key, n in counts.items() if "_us{" not in key}
        counts |= {key: n for key, n in house.counted("modelhub_").items() if "_count{" in key}
        found.append((response, headers, timing, fields, list(times), counts))
    one, other = (parts[0] for parts in found)
    assert (one.status_code, one.content) == (other.status_code, other.content)
    assert found[0][1:] == found[1][1:]
    _, headers, timing, fields, measured, counts = found[0]
    plain = path.replace("%65", "e")
    name = plain.removeprefix("/v2/models/").split("/")[0]
    assert (fields["status"], fields["path"]) == (one.status_code, plain)
    assert (fields["model"], fields["version"]) == (name, 1)
    assert headers["content-length"] == str(len(one.content))
    assert sum(n for key, n in counts.items() if key.startswith("modelhub_requests_total")) == 1
    if one.status_code == 200:
        assert measured == ["ms", "queue_ms", "compute_ms"]
        assert headers["x-model-version"] == "1"
        assert timing == "queue;dur=0, compute;dur=0, total;dur=0"
        assert ("inference-header-content-length" in headers) is (case in ("binary", "raw"))


async def test_metrics_count_each_request_once_and_nothing_stays_in_flight(house: House) -> None:
    connection = await house.connect()
    for _ in range(5):
        await connection.ask(good())
    await connection.ask(http(ECHO, row(1, 2)))
    await connection.ask(http(infer("echo", "/versions/1"), row(1, 2, 3)))
    await connection.ask(good(*THROUGH))
    assert house.requests() == {"200": 7, "400": 1}
    assert house.in_flight == 0
    labels = 'model="echo",version="1"'
    route = 'modelhub_request_seconds_count{route="/v2/models/{name}%s"}'
    assert house.counted("modelhub_request_seconds_count") == {
        route % "/infer": 7,
        route % "/versions/{version}/infer": 1,
    }
    counts = house.counted("nv_inference_")
    counts = {key: n for key, n in counts.items() if 'model="echo"' in key}
    spent = {key: counts.pop(key) for key in list(counts) if "_us{" in key}
    assert counts == {
        f"nv_inference_request_success{{{labels}}}": 7,
        'nv_inference_request_failure{model="echo",reason="OTHER",version="1"}': 1,
        f"nv_inference_count{{{labels}}}": 7,
        f"nv_inference_exec_count{{{labels}}}": 7,
    }
    assert set(spent) == {
        f"nv_inference_{stage}_duration_us{{{labels}}}"
        for stage in ("request", "queue", "compute_input", "compute_infer", "compute_output")
    }
    assert min(spent.values()) > 0


async def test_ids_that_are_made_are_never_the_same(house: House) -> None:
    connection = await house.connect()
    ids = [(await connection.ask(good())).headers["x-request-id"] for _ in range(20)]
    ids += [(await connection.ask(good(*THROUGH))).headers["x-request-id"] for _ in range(20)]
    assert len(set(ids)) == 40


@pytest.mark.parametrize("more", [[], THROUGH], ids=["below", "through the app"])
@pytest.mark.parametrize("asked", ["a", "x" * 128, "!~"])
async def test_an_id_comes_back_as_it_was_sent(house: House, more: list[str], asked: str) -> None:
    for body in (row(1, 2, 3), b"{}"):
        response = await house.ask(http(ECHO, body, f"X-Request-Id: {asked}", *more))
        assert response.headers["x-request-id"] == asked


@pytest.mark.parametrize("more", [[], THROUGH], ids=["below", "through the app"])
@pytest.mark.parametrize("asked", ["", "two words", "x" * 129, "tab\there", "\xe9"])
async def test_what_is_no_id_is_replaced(house: House, more: list[str], asked: str) -> None:
    response = await house.ask(good(f"X-Request-Id: {asked}", *more))
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


# --- connections ---------------------------------------------------------------------------------


async def test_a_connection_is_kept_for_the_next_request(house: House) -> None:
    connection = await house.connect()
    for turn in range(30):
        response = await connection.ask(good(numbers=(turn, 0, 0)))
        assert numbers_in(response) == [turn, 0, 0]
        assert "connection" not in response.headers
        if turn % 3 == 0:
            assert (await connection.ask(METADATA)).json()["name"] == "echo"
        if turn % 5 == 0:
            assert numbers_in(await connection.ask(good(*THROUGH))) == [1, 2.5, -3]


@pytest.mark.parametrize("more", [[], THROUGH], ids=["below", "through the app"])
@pytest.mark.parametrize("body", [row(1, 2.5, -3), b"{}"], ids=["good", "bad"])
@pytest.mark.parametrize(
    ("version", "lines"),
    [("1.1", ["Connection: close"]), ("1.0", []), ("1.0", ["Connection: keep-alive"])],
)
async def test_a_connection_that_is_not_to_be_kept_is_closed_after_the_answer(
    house: House, version: str, lines: list[str], body: bytes, more: list[str]
) -> None:
    for _ in range(2):
        connection = await house.connect()
        response = await connection.ask(http(ECHO, body, *lines, *more, version=version))
        assert response.status_code == (400 if body == b"{}" else 200)
        assert response.headers["connection"] == "close"
        assert await connection.ended()
    assert house.in_flight == 0


async def test_an_idle_connection_is_closed_and_a_used_one_kept(few: Path) -> None:
    async with living(few, keep_alive_s=1) as house:
        idle, busy, waiting = [await house.connect() for _ in range(3)]
        await idle.ask(good())
        await waiting.ask(good())
        await waiting.send(snail_for(8000, 7))  # its answer takes longer than a connection may idle
        closed = asyncio.create_task(idle.ended())
        turns = 0
        while not closed.done():
            assert numbers_in(await busy.ask(good())) == [1, 2.5, -3]
            await asyncio.sleep(0.05)
            turns += 1
        assert await closed
        assert turns > 3
        assert numbers_in(await busy.ask(good())) == [1, 2.5, -3]
        assert numbers_in(await waiting.answer()) == [7]


KINDS: dict[str, tuple[Callable[[int], bytes], Callable[[httpx.Response, int], bool]]] = {
    "infer": (lambda n: good(numbers=(n, 0, 0)), lambda r, n: numbers_in(r) == [n, 0, 0]),
    "app": (lambda n: good(*THROUGH, numbers=(n, 0, 0)), lambda r, n: numbers_in(r) == [n, 0, 0]),
    "slow": (lambda n: snail_for(30, n), lambda r, n: numbers_in(r) == [n]),
    "bad": (lambda _: http(ECHO, b"{}"), lambda r, _: r.status_code == 400),
    "metadata": (lambda _: METADATA, lambda r, _: r.json()["name"] == "echo"),
    "unknown": (lambda _: http(infer("nothing"), b"{}"), lambda r, _: r.status_code == 404),
}


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
async def test_requests_sent_ahead_are_answered_in_order(
    house: House, first: str, second: str
) -> None:
    order = [first, second, second, first, "infer", first, second]
    data = b"".join(KINDS[kind][0](n) for n, kind in enumerate(order))
    for pieces in ([data], [data[: len(data) // 2], data[len(data) // 2 :]]):
        connection = await house.connect()
        for piece in pieces:
            await connection.send(piece)
        for n, kind in enumerate(order):
            assert KINDS[kind][1](await connection.answer(), n), (n, kind)
        assert numbers_in(await connection.ask(good())) == [1, 2.5, -3]
    await house.until(lambda: house.in_flight == 0)


async def test_many_requests_in_one_segment_are_all_answered(house: House) -> None:
    connection = await house.connect()
    await connection.send(b"".join(good(numbers=(n, n, n)) for n in range(200)))
    for n in range(200):
        assert numbers_in(await connection.answer()) == [n, n, n]
    assert house.in_flight == 0


@pytest.mark.parametrize("seed", range(12))
async def test_however_the_bytes_are_cut_the_answers_are_the_same(house: House, seed: int) -> None:
    """Whole heads with half a body, the end of one request with the start of the next, and so on,
    with heads that are known and heads that are not.
    """
    chance = random.Random(seed)
    names = [chance.choice([*KINDS, "infer", "infer"]) for _ in range(12)]
    data = b"".join(KINDS[kind][0](n) for n, kind in enumerate(names))
    for _ in range(2):
        connection = await house.connect()
        cuts = sorted(chance.sample(range(1, len(data)), chance.choice([2, 10, 60])))
        for start, end in itertools.pairwise([0, *cuts, len(data)]):
            await connection.send(data[start:end])
            for _ in range(3):
                await asyncio.sleep(0)  # so that the server reads it before there is more
        for n, kind in enumerate(names):
            assert KINDS[kind][1](await connection.answer(), n), (n, kind)
        assert numbers_in(await connection.ask(good())) == [1, 2.5, -3]
    await house.until(lambda: house.in_flight == 0)


async def test_a_body_may_come_in_pieces_behind_a_head_that_is_known(house: House) -> None:
    connection = await house.connect()
    request = good()
    head = request.index(b"\r\n\r\n") + 4
    assert numbers_in(await connection.ask(request)) == [1, 2.5, -3]
    for size in (1, 7, 40, len(request)):
        await connection.send(request[:head])
        for start in range(head, len(request), size):
            await connection.send(request[start : start + size])
            await asyncio.sleep(0.001)
        assert numbers_in(await connection.answer()) == [1, 2.5, -3]
    await connection.send(request[: head + 9])
    await house.until(lambda: house.in_flight == 1)
    connection.abort()
    await house.until(lambda: house.in_flight == 0)
    assert house.requests() == {"200": 5, "499": 1}
    assert house.app.paths == []
    await house.unload("echo")


@pytest.mark.parametrize("more", [[], THROUGH], ids=["below", "through the app"])
async def test_a_request_may_come_byte_by_byte(house: House, more: list[str]) -> None:
    connection = await house.connect()
    connection.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for numbers in ((1, 2, 3), (4, 5, 6)):
        for byte in good(*more, numbers=numbers):
            connection.writer.write(bytes([byte]))
            await asyncio.sleep(0)  # a segment of its own
        assert numbers_in(await connection.answer()) == list(numbers)
    assert bool(house.app.paths) is bool(more)


@pytest.mark.parametrize("more", [[], THROUGH], ids=["below", "through the app"])
async def test_a_large_body_comes_in_many_pieces_and_so_does_the_answer(
    house: House, more: list[str]
) -> None:
    numbers = np.random.default_rng(0).random((1, 500_000), np.float32)
    body, header = in_binary(numbers)
    connection = await house.connect()
    for _ in range(3):
        response = await connection.ask(http(infer("long"), body, *fields_of(header), *more))
        cut = int(response.headers["inference-header-content-length"])
        assert response.content[cut:] == numbers.tobytes()


async def test_a_length_that_is_announced_takes_no_memory_before_it_comes(house: House) -> None:
    """64 MiB each, of which one byte is there."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    before = resident()
    connections = [await house.connect() for _ in range(12)]
    for connection in connections:
        await connection.send(http(ECHO, b" ", f"Content-Length: {64 * 2**20}"))
    await house.until(lambda: house.in_flight == 12)
    await connections[0].send(b" ")
    assert numbers_in(await house.ask(good())) == [1, 2.5, -3]
    assert resident() - before < 256 * 2**20
    for connection in connections:
        connection.abort()
    await house.until(lambda: house.in_flight == 0)


async def test_what_a_head_meant_is_not_taken_for_what_another_means(house: House) -> None:
    """Heads are kept by their bytes; blank lines before one are no part of it."""
    body = row(1, 2, 3)
    live = http("/v2/health/live", b"", f"X-Own: {'x' * len(body)}", method="GET")
    padded = body.ljust(len(live))
    for start in (b"", b"\r\n", b"\r\n\r\n", b"\r\n\r\n\r\n"):
        connection = await house.connect()
        assert numbers_in(await connection.ask(start + http(ECHO, padded))) == [1, 2, 3]
        for _ in range(2):
            assert (await connection.ask(start + live)).json() == {"live": True}
            assert numbers_in(await connection.ask(start + http(ECHO, padded))) == [1, 2, 3]


async def test_a_kept_head_asks_for_whatever_version_serves_now(tmp_path: Path) -> None:
    root = tmp_path / "store"
    put(root, "echo", echo("FP32", "N", 3))
    async with living(root, repository="all") as house:
        connection = await house.connect()
        request = good()
        for version in range(1, 4):
            for _ in range(3):
                assert (await connection.ask(request)).json()["model_version"] == str(version)
            put(root, "echo", echo("FP32", "N", 3), version=version + 1)
            await house.hub.load("echo")
        assert house.app.paths == []
        await house.unload("echo")
        assert (await connection.ask(request)).status_code == 503
        await house.hub.load("echo")
        assert (await connection.ask(request)).json()["model_version"] == "4"


async def test_more_heads_and_addresses_than_are_kept_are_all_answered(house: House) -> None:
    connection = await house.connect()
    for n in range(1500):
        path = infer(f"echo@{'0' * (n % 40)}1")
        response = await connection.ask(http(path, row(n, 0, 0), f"X-Own: {n}"))
        assert numbers_in(response) == [n, 0, 0]


# --- bytes that are no HTTP ----------------------------------------------------------------------

NOISE = [
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"hello\r\n\r\n",
    b"BREW " + ECHO.encode() + b" HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST " + ECHO.encode() + b"\xff HTTP/1.1\r\n\r\n",
    http(ECHO, b"{}", "Content-Length: x"),
    http(ECHO, b"{}", "Content-Length: -2"),
    http(ECHO, b"{}", "Content-Length: 99999999999999999999999"),
    http(ECHO, b"{}", "Content-Length: 2", "Content-Length: 3"),
    http(ECHO, b"{}", "Content-Length: 2", "Transfer-Encoding: chunked"),
    http(ECHO, b"hello\r\n\r\n", "Transfer-Encoding: chunked"),
    http(ECHO, b"{}", "Bad header: x"),
    http(ECHO, b"{}", "X-Own: a\x00b"),
    good().replace(b"\r\n", b"\n"),
]


@pytest.mark.parametrize("noise", NOISE, ids=lambda noise: repr(noise[:24]))
@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
async def test_bytes_that_are_no_http_are_refused_and_the_connection_closed(
    house: House, noise: bytes, *, used: bool
) -> None:
    connection = await house.connect()
    if used:
        assert numbers_in(await connection.ask(good())) == [1, 2.5, -3]
    response = await connection.ask(noise)
    assert response.status_code == 400
    assert response.headers["connection"] == "close"
    body = response.json()
    assert body.get("error", body.get("detail")) == (
        "expected an HTTP/1.1 request; got something else"
    )
    assert await connection.ended()
    assert numbers_in(await house.ask(good())) == [1, 2.5, -3]
    assert house.in_flight == 0


@pytest.mark.parametrize("more", [[], THROUGH], ids=["below", "through the app"])
@pytest.mark.parametrize("noise", [NOISE[0], NOISE[5]], ids=["TLS", "length"])
async def test_noise_behind_a_request_ends_the_connection_and_leaves_nothing_behind(
    house: House, noise: bytes, more: list[str]
) -> None:
    """Also where the answer is ready in the very moment that the connection is lost."""
    for _ in range(4):
        connection = await house.connect()
        response = await connection.ask(good(*more) + noise)
        assert response.status_code in (200, 400)
        async with asyncio.timeout(PATIENCE_S):
            await connection.reader.read()
        await house.until(lambda: house.in_flight == 0)
    await house.unload("echo")


# --- clients that go away ------------------------------------------------------------------------

both_paths = pytest.mark.parametrize("more", [[], THROUGH], ids=["below", "through the app"])


@both_paths
@pytest.mark.parametrize("sent", [1, 100, -1], ids=["head", "half", "all but one"])
async def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing_behind(
    house: House, more: list[str], sent: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "modelhub.access")
    request = good(*more, "Content-Length: 200").ljust(400)
    head = request.index(b"\r\n\r\n") + 4
    connection = await house.connect()
    await connection.send(request[: head + (sent if sent > 0 else 199)])
    await house.until(lambda: house.in_flight == 1)
    connection.abort()
    await house.until(lambda: house.in_flight == 0)
    assert house.requests() == {"499": 1}
    (fields,) = logged(caplog)
    assert (fields["status"], fields["path"], fields["model"]) == (499, ECHO, "echo")
    assert "queue_ms" not in fields
    assert house.counted("nv_inference") == {}
    await house.unload("echo")


@both_paths
async def test_a_row_whose_client_left_while_it_waited_is_never_run(
    house: House, more: list[str]
) -> None:
    batcher = house.hub.residency.loaded["snail", 1].lanes["model"].batcher
    running, leaves, stays = [await house.connect() for _ in range(3)]
    await running.send(snail_for(1500, 1))
    await house.until(lambda: batcher.running_s and not batcher.queued_rows)
    await leaves.send(snail_for(2, 2, *more))
    await house.until(lambda: batcher.queued_rows == 1)
    await stays.send(snail_for(3, 3, *more))
    await house.until(lambda: batcher.queued_rows == 2)
    leaves.abort()
    await house.until(lambda: batcher.queued_rows == 1)
    assert batcher.running_s
    assert numbers_in(await running.answer()) == [1]
    assert numbers_in(await stays.answer()) == [3]
    assert house.runs("snail") == 2
    assert list(house.counted("nv_inference_request_failure").values()) == [1]
    assert house.requests() == {"200": 2, "499": 1}
    await house.unload("snail")


@both_paths
async def test_a_client_that_leaves_during_its_run_gives_the_model_back(
    house: House, more: list[str]
) -> None:
    batcher = house.hub.residency.loaded["snail", 1].lanes["model"].batcher
    connection = await house.connect()
    await connection.send(snail_for(600, 1, *more))
    await house.until(lambda: batcher.running_s and not batcher.queued_rows)
    connection.abort()
    await house.until(lambda: house.in_flight == 0)
    assert house.requests() == {"499": 1}
    assert numbers_in(await house.ask(snail_for(1, 5))) == [5]
    await house.unload("snail")


async def test_a_client_that_leaves_with_requests_sent_ahead_leaves_nothing_behind(
    house: House,
) -> None:
    batcher = house.hub.residency.loaded["snail", 1].lanes["model"].batcher
    running, leaves = await house.connect(), await house.connect()
    await running.send(snail_for(1500, 1))
    await house.until(lambda: batcher.running_s and not batcher.queued_rows)
    await leaves.send(snail_for(2, 2) + good() + METADATA + snail_for(3, 3))
    await house.until(lambda: batcher.queued_rows == 1)
    leaves.abort()  # which the server learns when it next reads or writes
    assert numbers_in(await running.answer()) == [1]
    await house.until(lambda: house.in_flight == 0)
    for name in ("snail", "echo"):
        await house.unload(name)


async def test_a_client_that_does_not_read_makes_the_server_wait_and_not_grow(
    house: House,
) -> None:
    """Two hundred answers of 400 kB are more than sockets hold; all come once they are read."""
    numbers = np.zeros((1, 100_000), np.float32)
    body, header = in_binary(numbers)
    request = http(infer("long"), body, *fields_of(header))
    connection = await house.connect()
    transport = connection.writer.transport
    transport.pause_reading()  # type: ignore[attr-defined]
    sender = asyncio.create_task(connection.send(request * 200))
    (served,) = (c for c in house.server.server_state.connections)
    assert isinstance(served, HttpProtocol)
    largest = answered = still = 0
    while still < 50:  # until nothing moves
        await asyncio.sleep(0.01)
        largest = max(largest, served.transport.get_write_buffer_size())
        now = house.requests().get("200", 0)
        still, answered = (still + 1, answered) if now == answered else (0, now)
    assert 0 < answered < 200
    assert not sender.done()
    assert largest < 3 * len(body)
    assert numbers_in(await house.ask(good())) == [1, 2.5, -3]  # others are not kept waiting
    transport.resume_reading()  # type: ignore[attr-defined]
    for _ in range(200):
        response = await connection.answer()
        cut = int(response.headers["inference-header-content-length"])
        assert len(response.content) - cut == numbers.nbytes
    await sender
    assert house.in_flight == 0


async def test_a_client_that_asks_again_and_again_and_never_reads_is_answered_no_more(
    house: House,
) -> None:
    """Each time when all before is answered, so that nothing but its reading holds it up."""
    body, header = in_binary(np.zeros((1, 100_000), np.float32))
    request = http(infer("long"), body, *fields_of(header))
    connection = await house.connect()
    connection.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def stuck() -> bool:
        """The last one was run, and waits for its reader."""
        (served,) = house.server.server_state.connections
        assert isinstance(served, HttpProtocol)
        assert served.transport.get_write_buffer_size() < 3 * len(body)
        return served.flow.write_paused and bool(house.in_flight)

    for turn in range(1, 50):
        await connection.send(request)
        await house.until(lambda turn=turn: house.runs("long") == turn)  # type: ignore[misc]
        await house.until(lambda: stuck() or not house.in_flight)
        if stuck():
            break
    assert stuck()
    connection.abort()
    await house.until(lambda: house.in_flight == 0)
    await house.unload("long")


async def test_a_client_that_never_reads_and_leaves_gives_the_model_back(house: House) -> None:
    numbers = np.zeros((1, 100_000), np.float32)
    body, header = in_binary(numbers)
    connection = await house.connect()
    connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
    sender = asyncio.create_task(
        connection.send(http(infer("long"), body, *fields_of(header)) * 50)
    )
    await house.until(lambda: house.requests().get("200", 0) > 1 and house.in_flight)
    connection.abort()
    with contextlib.suppress(ConnectionError):
        await sender
    await house.until(lambda: house.in_flight == 0)
    await house.unload("long")
