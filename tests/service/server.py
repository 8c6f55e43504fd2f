"""``modelhub serve`` as a person runs it: a process of its own, asked over a real socket."""

import atexit
import contextlib
import functools
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

PATIENCE_S = 60.0
"""Longer than any start or stop takes on a loaded machine; only a broken server waits for it."""
MODELHUB = Path(sys.executable).parent / "modelhub"


@functools.cache
def cache() -> Path:
    """What servers measure of a graph: once for this session of tests, never in the user's own."""
    folder = Path(tempfile.mkdtemp(prefix="modelhub-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Server:
    """A running server. Its settings come by environment, as in a container."""

    def __init__(self, store: Path, folder: Path, *flags: str, **settings: object) -> None:
        self.store = store
        self._lines, self._log = folder / "stdout", folder / "stderr"
        kept = {key: value for key, value in os.environ.items() if "MODELHUB_" not in key}
        given = {
            "store": store, "port": 0, "threads": 1, "log_format": "json", "cache": cache(),
            "access_log_per_s": 1_000_000, **settings,
        }  # fmt: skip
        names = {f"MODELHUB_{key.upper()}": str(value) for key, value in given.items()}
        with self._lines.open("w") as out, self._log.open("w") as err:
            self.process = subprocess.Popen(
                [MODELHUB, "serve", *flags], stdout=out, stderr=err, env={**kept, **names}
            )
        self.url = self._await_url()
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE_S)

    def _await_url(self) -> str:
        words = "modelhub serves on "
        for _ in patience():
            if lines := self.lines():
                assert lines[0].startswith(words)
                return lines[0].removeprefix(words)
            assert self.process.poll() is None, self._log.read_text()
        raise AssertionError("the server does not come up")

    @property
    def address(self) -> tuple[str, int]:
        url = httpx.URL(self.url)
        assert url.port is not None
        return url.host, url.port

    def await_ready(self) -> None:
        for _ in patience():
            if self.client.get("/readyz").status_code == 200:
                return
        raise AssertionError(self.client.get("/readyz").text)

    def predict(self, verb: str, ref: str, *items: object, **parameters: object) -> httpx.Response:
        body = {"inputs": items, "parameters": parameters}
        return self.client.post(f"/v1/models/{ref}/{verb}", json=body)

    def raw(self, request: bytes) -> httpx.Response:
        """Bytes as they stand on a connection of their own: what no client library would send."""
        with socket.create_connection(self.address, PATIENCE_S) as connection:
            connection.sendall(request)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())

    def lines(self) -> list[str]:
        """What it printed."""
        return self._lines.read_text().splitlines()

    def log(self) -> list[dict[str, Any]]:
        """Every line of the log; each of them is JSON."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def logged(self, request_id: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line.get("request_id") == request_id]

    def metric(self, name: str, **labels: str) -> float:
        """One sample's value; 0 where there is none yet."""
        for line in self.client.get("/metrics").text.splitlines():
            sample, _, value = line.rpartition(" ")
            found, _, rest = sample.partition("{")
            if found == name and all(f'{key}="{value}"' in rest for key, value in labels.items()):
                return float(value)
        return 0.0

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """End it as a container runtime does; its exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.signal()
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextlib.contextmanager
def serving(
    store: Path, folder: Path, *flags: str, await_ready: bool = True, **settings: object
) -> Iterator[Server]:
    """A server for the length of a ``with`` block."""
    server = Server(store, folder, *flags, **settings)
    try:
        if await_ready:
            server.await_ready()
        yield server
    finally:
        server.stop()


def patience(seconds: float = PATIENCE_S, pause_s: float = 0.02) -> Iterator[None]:
    """Turns of a loop that waits for another process."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(pause_s)
