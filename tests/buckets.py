"""A server that speaks S3, on loopback: moto's, in a process of its own."""

import http.client
import itertools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.service.server import patience

MOTO = Path(sys.executable).parent / "moto_server"
PREFIX = "models"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class S3:
    """The server; ``start`` again after ``stop``, on the same port, finds it empty."""

    def __init__(self, log: Path, **environment: str) -> None:
        self.port, self._log, self._environment = free_port(), log, environment
        self._numbers = itertools.count()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What its clients need."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "a-key",
            "AWS_SECRET_ACCESS_KEY": "a-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self) -> None:
        words = [str(MOTO), "-H", "127.0.0.1", "-p", str(self.port)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                words, stdout=log, stderr=log, env={**os.environ, **self._environment}
            )
        for _ in patience():
            assert self.process.poll() is None, self._log.read_text()
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", self.port)):
                    return
        raise AssertionError("the S3 server does not come up")

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def bucket(self, name: str = "") -> str:
        """Make an empty bucket; the URL of a store in it."""
        name = name or f"bucket-{next(self._numbers)}"
        self.call("PUT", name)
        return f"s3://{name}/{PREFIX}"

    def call(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Plain HTTP, past every library under test."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, f"/{path}", body)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status < 300, (answer.status, content)
            return content
        finally:
            connection.close()
