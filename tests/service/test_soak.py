"""Slow proofs over a real server: ``make soak``. Counts and memory are asserted, times are told."""

# ruff: noqa: T201 - the figures are half of what it is for

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.service.bundles import publish, sensor
from tests.service.callers import Caller, plain, save
from tests.service.conftest import Start
from tests.service.server import Server, patience

pytestmark = [pytest.mark.slow, pytest.mark.soak]

SWAPS = 100
LEAST_REQUESTS = 10_000
CALLERS = 4
CYCLES = 200
EARLY_CYCLES = 20
WEIGHTS = 4_000_000
"""Float32 numbers in the model that comes and goes: 16 MB."""


def heavy(root: Path, name: str) -> None:
    """A plain graph with 16 MB of weights."""
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(2000, WEIGHTS // 2000)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2000])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", WEIGHTS // 2000])],
        [numpy_helper.from_array(weights, "weights")],
    )
    save(root, name, 1, graph)


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_a_hundred_swaps_under_load_lose_and_mix_up_nothing(tmp_path: Path, start: Start) -> None:
    for version in (1, 2):
        plain(tmp_path / "store", "adder", version, adds=version)
    server = start(tmp_path / "store")
    callers = [Caller(server.address, seed, keep_alive=seed % 2 == 0) for seed in range(CALLERS)]
    for caller in callers:
        caller.start()
    began = time.monotonic()
    swaps = 0
    while swaps < SWAPS or sum(sum(c.outcomes.values()) for c in callers) < LEAST_REQUESTS:
        version = 1 + swaps % 2
        body = {"version": version}
        response = server.client.put("/v1/models/adder/aliases/stable", json=body)
        assert response.status_code == 200, response.text
        swaps += 1
    for caller in callers:
        caller.stop.set()
    for caller in callers:
        caller.join()
    outcomes = sum((caller.outcomes for caller in callers), Counter())
    print(f"\n{swaps} swaps in {time.monotonic() - began:.0f} s: {dict(outcomes)}")
    assert set(outcomes) == {"right, version 1", "right, version 2"}
    assert sum(outcomes.values()) >= LEAST_REQUESTS


def test_two_hundred_loads_and_unloads_leave_no_memory_behind(tmp_path: Path, start: Start) -> None:
    heavy(tmp_path / "store", "heavy")
    plain(tmp_path / "store", "adder", 1, adds=1)
    server = start(tmp_path / "store")
    taken = {}
    for cycle in range(1, CYCLES + 1):
        assert server.client.post("/v2/repository/models/heavy/unload").status_code == 200
        for _ in patience():
            states = server.client.post("/v2/repository/index").json()
            if [one["state"] for one in states if one["name"] == "heavy"] == ["UNAVAILABLE"]:
                break
        taken[cycle] = resident_bytes(server.process.pid)
        assert server.client.post("/v2/repository/models/heavy/load").status_code == 200
    # The median of ten: malloc keeps a few megabytes more or less from one cycle to the next.
    early, late = (median(taken[end - n] for n in range(10)) for end in (EARLY_CYCLES, CYCLES))
    print(f"\nresident after {EARLY_CYCLES} cycles {early / 1e6:.1f} MB,"
          f" after {CYCLES} {late / 1e6:.1f} MB ({late / early - 1:+.1%})")  # fmt: skip
    assert late <= 1.05 * early


def test_a_thousand_models_are_there_at_once_and_a_hundred_are_scraped(
    tmp_path: Path, start: Start
) -> None:
    store = tmp_path / "store"
    for number in range(1000):
        publish(store, sensor, f"sensor-{number:03}")
    began = time.monotonic()
    server = start(store, lazy=True, repository="all")
    ready_s = time.monotonic() - began
    listed_s = timed(server, "/v1/models", lambda text: len(json.loads(text)["data"]) == 1000)
    for number in range(100):
        body = {"inputs": [{"a": 0.25, "b": -0.5, "code": 0}]}
        response = server.client.post(f"/v1/models/sensor-{number:03}/score", json=body)
        assert response.status_code == 200, response.text
    scraped_s = timed(server, "/metrics", lambda text: text.count("modelhub_model_memory_b") > 99)
    print(f"\n1,000 models: ready in {ready_s:.1f} s, listed in {listed_s * 1e3:.0f} ms;"
          f" 100 of them loaded: scraped in {scraped_s * 1e3:.0f} ms")  # fmt: skip


def timed(server: Server, path: str, right: Callable[[str], bool]) -> float:
    """Median seconds of a call whose answer is right."""
    taken = []
    for _ in range(11):
        began = time.monotonic()
        response = server.client.get(path)
        taken.append(time.monotonic() - began)
        assert right(response.text)
    return median(taken)
