"""Three replicas behind haproxy, restarted one by one under load: ``make roll-test``."""

# ruff: noqa: T201 - the figures are half of what it is for

import contextlib
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.deploy.tools import tool
from tests.service.callers import Caller, plain
from tests.service.server import Server, patience

pytestmark = [pytest.mark.slow, pytest.mark.soak]

REPLICAS = 3
CALLERS = 4
LEAST_REQUESTS = 10_000
DRAIN_S = 1.5
"""Several of haproxy's checks, as a drain in a cluster is several of its probes."""

# A request is sent again only where no connection came about: what may have been computed is not.
HAPROXY = """
global
  stats socket {socket} mode 600 level admin
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  retries 3
  option redispatch
frontend hub
  bind 127.0.0.1:{port}
  default_backend replicas
backend replicas
  balance roundrobin
  option httpchk GET /readyz
  default-server check inter 200ms fall 1 rise 1
{servers}
"""


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)
        ]
        return [probe.getsockname()[1] for probe in probes]


class Fleet:
    """Replicas on fixed ports, and haproxy before them."""

    def __init__(self, store: Path, folder: Path) -> None:
        self.store, self.folder = store, folder
        port, *self.ports = free_ports(1 + REPLICAS)
        self.address = ("127.0.0.1", port)
        self.starts = 0
        self.replicas = [self.start(place) for place in range(REPLICAS)]
        self._socket = folder / "haproxy.sock"
        servers = [f"  server r{place} 127.0.0.1:{p}" for place, p in enumerate(self.ports)]
        config = folder / "haproxy.cfg"
        config.write_text(
            HAPROXY.format(socket=self._socket, port=port, servers="\n".join(servers))
        )
        with (folder / "haproxy.log").open("w") as log:
            command = [tool("haproxy"), "-db", "-f", str(config)]
            self.proxy = subprocess.Popen(command, stdout=log, stderr=log)
        for place in range(REPLICAS):
            self.await_up(place)

    def start(self, place: int) -> Server:
        """A replica, ready."""
        folder = self.folder / f"start-{self.starts}"
        folder.mkdir()
        self.starts += 1
        server = Server(self.store, folder, port=self.ports[place], repository="all",
                        drain_s=DRAIN_S, access_log_per_s=0)  # fmt: skip
        server.await_ready()
        return server

    def restart(self, place: int) -> int:
        """Exit code of the old one; the new one is up for haproxy too."""
        code = self.replicas[place].stop()
        self.replicas[place] = self.start(place)
        self.await_up(place)
        return code

    def await_up(self, place: int) -> None:
        for _ in patience():
            with socket.socket(socket.AF_UNIX) as control, contextlib.suppress(OSError):
                control.connect(str(self._socket))
                control.sendall(b"show stat\n")
                lines = b"".join(iter(lambda: control.recv(65536), b"")).decode().splitlines()
                states = {line.split(",")[1]: line.split(",")[17] for line in lines if "," in line}
                if states[f"r{place}"] == "UP":
                    return
        raise AssertionError((self.folder / "haproxy.log").read_text())

    def stop(self) -> None:
        for replica in self.replicas:
            replica.stop()
        self.proxy.terminate()
        self.proxy.wait()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    tool("haproxy")  # skips before anything is started
    plain(tmp_path / "store", "adder", 1, adds=1)
    fleet = Fleet(tmp_path / "store", tmp_path)
    yield fleet
    fleet.stop()


@pytest.mark.parametrize("keep_alive", [True, False], ids=["keep-alive", "new connections"])
def test_rolling_restarts_to_a_new_version_lose_and_mix_up_nothing(
    fleet: Fleet, keep_alive: bool
) -> None:
    callers = [Caller(fleet.address, seed, keep_alive=keep_alive) for seed in range(CALLERS)]
    for caller in callers:
        caller.start()
    time.sleep(1)
    plain(fleet.store, "adder", 2, adds=2)
    began = time.monotonic()
    codes: list[int] = []
    while len(codes) < REPLICAS or sum(sum(c.outcomes.values()) for c in callers) < LEAST_REQUESTS:
        codes.append(fleet.restart(len(codes) % REPLICAS))
    seconds = time.monotonic() - began
    for caller in callers:
        caller.stop.set()
    for caller in callers:
        caller.join()
    outcomes = sum((caller.outcomes for caller in callers), Counter())
    print(f"\n{len(codes)} restarts in {seconds:.0f} s: {dict(outcomes)}")
    assert set(outcomes) == {"right, version 1", "right, version 2"}
    assert sum(outcomes.values()) >= LEAST_REQUESTS
    assert set(codes) == {0}


def test_a_replica_with_a_bad_version_is_sent_nothing(fleet: Fleet) -> None:
    """The roll stops at it: not ready, alive, the reason told, the others answer."""
    bad = fleet.store / "broken" / "1"
    bad.mkdir(parents=True)
    (bad / "model.onnx").write_bytes(b"no graph")
    fleet.replicas[0].stop()
    folder = fleet.folder / "bad"
    folder.mkdir()
    fleet.replicas[0] = Server(fleet.store, folder, port=fleet.ports[0], drain_s=DRAIN_S)
    client = fleet.replicas[0].client
    for _ in patience():
        response = client.get("/readyz")
        if "not loaded" in response.json().get("reason", ""):
            break
    assert response.status_code == 503
    assert client.get("/livez").status_code == 200
    (listed,) = (m for m in client.get("/v1/models").json()["data"] if m["id"] == "broken")
    assert listed["state"] == "failed"
    assert listed["reason"]
    shutil.rmtree(bad.parent)
    proxy = httpx.Client(base_url=f"http://127.0.0.1:{fleet.address[1]}")
    with proxy:
        for _ in range(20):
            assert proxy.get("/v1/models/adder").status_code == 200
