"""Servers of other clouds' buckets on loopback, in memory: Google's by fake-gcs-server, Azure's by
Microsoft's Azurite. ``make deploy-tools`` brings both.
"""

import contextlib
import itertools
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.buckets import PREFIX, free_port
from tests.deploy.tools import tool
from tests.service.server import patience

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Those of every Azurite."""


class Emulator:
    """A running server, and what its clients' environment has to hold."""

    def __init__(self, kind: str, environment: dict[str, str]) -> None:
        self.kind, self.environment = kind, environment
        self._numbers = itertools.count()

    def bucket(self) -> str:
        """Make an empty bucket; the URL of a store in it. Needs the environment."""
        import fsspec

        name = f"bucket-{next(self._numbers)}"
        fsspec.filesystem(self.kind, skip_instance_cache=True).mkdir(name)
        return f"{self.kind}://{name}/{PREFIX}"


@contextlib.contextmanager
def google(folder: Path) -> Iterator[Emulator]:
    """Skips the test where something of it is missing."""
    pytest.importorskip("gcsfs", reason="gcsfs is not installed: gs:// NOT CHECKED")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    words = ["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    external = ["-public-host", f"127.0.0.1:{port}", "-external-url", url]
    environment = {
        "STORAGE_EMULATOR_HOST": url,
        "NO_GCE_CHECK": "true",  # this is no machine of Google's
        # gcsfs asks by gRPC what kind of bucket it is, and waits a minute for the answer.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }
    with _running([tool("fake-gcs-server"), *words, *external], port, folder / "gs.log"):
        yield Emulator("gs", environment)


@contextlib.contextmanager
def azure(folder: Path) -> Iterator[Emulator]:
    """Skips the test where something of it is missing."""
    pytest.importorskip("adlfs", reason="adlfs is not installed: az:// NOT CHECKED")
    port = free_port()
    words = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    where = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    with _running([tool("azurite-blob"), *words, *where], port, folder / "az.log"):
        yield Emulator("az", dict([azure_address(port)]))


def azure_address(port: int) -> tuple[str, str]:
    """The variable that tells clients of Azurite where it is, and its value."""
    place = f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT}"
    account = f"AccountName={ACCOUNT};AccountKey={KEY}"
    return "AZURE_STORAGE_CONNECTION_STRING", f"DefaultEndpointsProtocol=http;{account};{place};"


@contextlib.contextmanager
def _running(command: list[str], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        for _ in patience():
            assert process.poll() is None, log.read_text()
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
        yield
    finally:
        process.kill()
        process.wait()
