"""Where the chart's pods go on a real Kubernetes, and how many there are: ``make cluster-test``."""

# ruff: noqa: T201 - the figures are half of what it is for

import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.deploy.kube import TAGS, WORTH_S, Kube
from tests.deploy.metrics_api import MetricsApi
from tests.deploy.release import SHARED
from tests.deploy.tools import tool
from tests.service.server import patience

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.mark.usefixtures("hub")
def test_pods_that_want_a_gpu_run_where_one_is_advertised(kube: Kube) -> None:
    _advertise(kube, gpus=1)
    flags = ("--set", "gpu.enabled=true", "--set-string", "settings.device=cuda:0\\,cpu")
    kube.install("gpu", *SHARED, *flags, "--set", f"image.tag={TAGS[0]}", wait=False)
    try:
        phases = _await_phases(kube, ["Pending", "Running"])
        (waiting,) = (pod for pod in kube.pods("gpu") if pod["status"]["phase"] == "Pending")
        reason = waiting["status"]["conditions"][0]["message"]
        assert "Insufficient nvidia.com/gpu" in reason
        _advertise(kube, gpus=2)
        after = _await_phases(kube, ["Running", "Running"])
        print(f"\none GPU advertised: {phases} ({reason}); two: {after}")
        kube.await_pods("gpu", 2)  # there is none: the settings allow the CPU
    finally:
        kube.uninstall("gpu")


def _advertise(kube: Kube, gpus: int) -> None:
    """As a device plugin would: by the node's status."""
    patch = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(gpus)}]
    kube.api.patch(
        "/api/v1/nodes/node/status", json=patch,
        headers={"Content-Type": "application/json-patch+json"},
    ).raise_for_status()  # fmt: skip


def _await_phases(kube: Kube, wanted: list[str]) -> list[str]:
    for _ in patience(pause_s=0.5):
        phases = sorted(pod["status"]["phase"] for pod in kube.pods("gpu"))
        if phases == wanted:
            return phases
    raise AssertionError(kube.kubectl("describe", "pods"))


@pytest.mark.usefixtures("hub")
def test_scaler_follows_the_queue_up_and_down(kube: Kube, tmp_path: Path) -> None:
    tool("prometheus")
    flags = ("autoscaling.enabled=true", "autoscaling.minReplicas=1", "autoscaling.maxReplicas=3",
             "autoscaling.cpuPercent=0", "autoscaling.scaleDownSeconds=5",
             f"image.tag={TAGS[0]}")  # fmt: skip
    api = MetricsApi(kube, tmp_path)
    kube.install("scaled", *SHARED, *(part for flag in flags for part in ("--set", flag)))
    stop, answers, began = threading.Event(), Counter[int](), time.monotonic()
    askers = [
        threading.Thread(target=_keep_busy, args=(kube.service("scaled"), stop, answers))
        for _ in range(8)
    ]
    try:
        assert _await_scale(kube, 1) == 1
        for asker in askers:
            asker.start()
        _await_scale(kube, 3)
        up_s, stopped = time.monotonic() - began, time.monotonic()
        stop.set()
        _await_scale(kube, 1)
        highest = max(int(value.removesuffix("m")) for told in api.told for value in told.values())
        print(f"\n{dict(answers)} answers, up to {highest} ms in a pod's queue: 1 → 3 pods in"
              f" {up_s:.0f} s; idle, {api.told[-1]}: 3 → 1 pods in"
              f" {time.monotonic() - stopped:.0f} s")  # fmt: skip
        assert set(answers) == {200}
        assert highest > 50
        assert set(api.told[-1].values()) == {"0m"}
    finally:
        stop.set()
        for asker in askers:
            if asker.ident:
                asker.join()
        kube.uninstall("scaled")
        api.stop()


def _keep_busy(address: tuple[str, int], stop: threading.Event, answers: Counter[int]) -> None:
    """Runs of some tenths of a second, so that who comes meanwhile waits."""
    body = {"inputs": [{"rounds": 1000, "value": 1}]}
    url = f"http://{address[0]}:{address[1]}/v1/models/snail/score"
    while not stop.is_set():
        # A connection each: a new pod gets its share.
        answers[httpx.post(url, json=body, timeout=60).status_code] += 1


def _await_scale(kube: Kube, pods: int) -> int:
    for _ in patience(WORTH_S, pause_s=1):
        (scaler,) = kube.get("hpa")
        if scaler["status"]["currentReplicas"] == len(kube.ready("scaled")) == pods:
            return pods
    raise AssertionError(kube.kubectl("describe", "hpa"))
