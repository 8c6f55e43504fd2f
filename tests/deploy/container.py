"""The image, run as a cluster would run it: read-only, without rights, with limits."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.deploy.tools import ROOT
from tests.service.server import PATIENCE_S, patience

ENGINE = os.environ.get("ENGINE") or ("podman" if shutil.which("podman") else "docker")
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
            "--pids-limit=200")  # fmt: skip


def engine(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """One command of podman or docker, told what ``deploy/engine.sh`` tells it. Not run in the
    repository: podman notes there that a container ran out of memory.
    """
    environment = dict(os.environ)
    if not Path("/run/systemd/system").is_dir():
        environment.setdefault("CONTAINERS_CONF", str(ROOT / "deploy" / "containers.conf"))
    done = subprocess.run([ENGINE, *arguments], capture_output=True, text=True, check=False,
                          env=environment, cwd=tempfile.gettempdir())  # fmt: skip
    assert not check or done.returncode == 0, done.stderr
    return done


def inspect(image: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(engine("image", "inspect", image).stdout)[0]
    return facts


class Container:
    """A running container over a store. Settings come by environment, flags are the engine's."""

    def __init__(self, image: str, store: Path, *flags: str, **settings: object) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        given = {"host": "127.0.0.1", "port": port, **settings}
        names = [f"--env=MODELHUB_{key.upper()}={value}" for key, value in given.items()]
        # The checks' timer is systemd's, which may not be there: its command is run by hand.
        health = ["--no-healthcheck", "--network=host", f"--volume={store}:/models:ro"]
        self.started = time.monotonic()
        self.id = engine(
            "run", "--detach", *HARDENED, *health, *flags, *names, image
        ).stdout.strip()
        self.address = ("127.0.0.1", port)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S)

    def ready(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def await_ready(self) -> float:
        """Seconds since the container was asked for."""
        for _ in patience():
            if self.ready():
                return time.monotonic() - self.started
            assert self.running, self.logs()
        raise AssertionError(self.logs())

    @property
    def running(self) -> bool:
        return self.state["Running"] is True

    @property
    def state(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(engine("inspect", self.id).stdout)[0]["State"]
        return facts

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command inside."""
        return engine("exec", self.id, *command, check=False)

    def python(self, code: str) -> str:
        done = self.run("python", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def logs(self) -> str:
        done = engine("logs", self.id)
        return done.stdout + done.stderr

    def terminate(self) -> None:
        """What a kubelet does first."""
        engine("kill", "--signal=TERM", self.id)

    def exit_code(self) -> int:
        return int(engine("wait", self.id).stdout)

    def remove(self) -> None:
        self.client.close()
        engine("rm", "--force", "--time=0", self.id, check=False)
