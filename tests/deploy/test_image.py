"""The image, really run: ``make image-test`` builds it and calls these with its name."""

# ruff: noqa: T201 - times and sizes are half of what it is for

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.deploy.container import Container, engine, inspect
from tests.service.bundles import publish, sensor, snail
from tests.service.callers import Caller, plain

pytestmark = [pytest.mark.slow, pytest.mark.image]

Start: TypeAlias = Callable[..., Container]
MB = 1_000_000
MAX_CPU_MB = 450
CALLERS = 4


@pytest.fixture(scope="module")
def image(pytestconfig: pytest.Config) -> str:
    return str(pytestconfig.getoption("--image"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that another user may read, as the image's user is."""
    root = tmp_path_factory.mktemp("models")
    publish(root, sensor)
    publish(root, snail)
    plain(root, "adder", 1, adds=1)
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return root


@pytest.fixture
def start(image: str, models: Path) -> Iterator[Start]:
    made: list[Container] = []

    def start(*flags: str, **settings: object) -> Container:
        made.append(Container(image, models, *flags, **settings))
        return made[-1]

    yield start
    for container in made:
        container.remove()


def test_the_image_is_small_and_says_what_it_is(image: str) -> None:
    facts = inspect(image)
    print(f"\n{image}: {facts['Size'] / MB:.0f} MB")
    labels = facts["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "modelhub"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.revision"]
    assert facts["Config"]["User"] == "10001:10001"
    assert labels["modelhub.extra"] != "serve" or facts["Size"] < MAX_CPU_MB * MB


@pytest.mark.parametrize("module", ["torch", "pip", "onnx", "matplotlib"])
def test_the_image_holds_nothing_that_serving_does_not_need(image: str, module: str) -> None:
    inside = engine("run", "--rm", "--no-healthcheck", "--network=host", "--entrypoint=python",
                    image, "-c", f"import {module}", check=False)  # fmt: skip
    assert inside.returncode == 1
    assert f"No module named '{module}'" in inside.stderr


def test_it_predicts_without_rights_on_a_read_only_root(start: Start) -> None:
    container = start()
    print(f"\nready {container.await_ready():.1f} s after the container was asked for")
    body = {"inputs": [{"a": 0.25, "b": -0.5, "code": 0}]}
    response = container.client.post("/v1/models/sensor/score", json=body)
    assert response.status_code == 200, response.text
    assert response.json()["outputs"][0]["anomalous"] is False
    status = container.run("cat", "/proc/self/status").stdout
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert container.run("id", "-u").stdout.strip() == "10001"
    assert "Read-only file system" in container.run("touch", "/opt/x").stderr


def test_its_log_is_json_with_the_request_in_it(start: Start) -> None:
    container = start()
    container.await_ready()
    container.client.get("/v1/models", headers={"X-Request-Id": "seen-in-the-log"})
    lines = [line for line in container.logs().splitlines() if "seen-in-the-log" in line]
    assert [json.loads(line)["request_id"] for line in lines] == ["seen-in-the-log"]


def test_the_health_check_tells_alive_from_gone(start: Start, image: str) -> None:
    container = start()
    container.await_ready()
    facts = inspect(image)
    check = (facts.get("Healthcheck") or facts["Config"]["Healthcheck"])["Test"]
    assert check[0] == "CMD"
    assert container.run(*check[1:]).returncode == 0
    port = "MODELHUB_PORT=1"  # where nothing listens
    assert container.run("env", port, *check[1:]).returncode != 0


def test_a_memory_limit_stops_the_greedy_and_leaves_the_server(start: Start) -> None:
    container = start("--memory=256m")
    container.await_ready()
    resident = container.python(
        "import glob; print(max(int(open(p).read().split()[1])"
        " for p in glob.glob('/proc/[0-9]*/statm')) * 4096)"
    )
    print(f"\nresident with three small models: {int(resident) / MB:.0f} MB")
    greedy = container.run("python", "-c", "held = b'x' * 500_000_000; print(len(held))")
    assert greedy.returncode == 137
    assert greedy.stdout == ""
    assert container.ready()


@pytest.mark.parametrize("cores", [1, 2])
def test_threads_follow_the_cpu_quota(start: Start, cores: int) -> None:
    if cores > (os.cpu_count() or 1):
        pytest.skip(f"this machine has fewer than {cores} cores")
    container = start(f"--cpus={cores}")
    container.await_ready()
    code = "from service.runner import cpu_budget; print(cpu_budget())"
    assert container.python(code) == str(cores)


def test_sigterm_drains_loses_nothing_and_ends_with_zero(start: Start) -> None:
    container = start(drain_s=3)
    container.await_ready()
    callers = [Caller(container.address, seed, keep_alive=seed % 2 == 0) for seed in range(CALLERS)]
    slow: list[int] = []
    body = {"inputs": [{"rounds": 1000, "value": 1}]}
    patient = threading.Thread(
        target=lambda: slow.append(
            container.client.post("/v1/models/snail/score", json=body).status_code
        )
    )
    for thread in (*callers, patient):
        thread.start()
    time.sleep(0.5)
    container.terminate()
    signalled = time.monotonic()
    while container.ready():
        time.sleep(0.02)
    unready_s = time.monotonic() - signalled
    time.sleep(1)  # a load balancer takes a moment to hear of it, and sends on meanwhile
    for caller in callers:
        caller.stop.set()
    for thread in (*callers, patient):
        thread.join()
    outcomes = sum((caller.outcomes for caller in callers), Counter())
    assert container.exit_code() == 0, container.logs()
    print(f"\nnot ready {unready_s * 1000:.0f} ms after SIGTERM, gone after"
          f" {time.monotonic() - signalled:.1f} s; {dict(outcomes)}")  # fmt: skip
    assert set(outcomes) == {"right, version 1"}
    assert slow == [200]


def test_sigterm_in_the_middle_of_its_start_is_not_lost(start: Start) -> None:
    container = start()
    time.sleep(0.3)
    container.terminate()
    began = time.monotonic()
    assert container.exit_code() in {0, 143}
    assert time.monotonic() - began < 5
