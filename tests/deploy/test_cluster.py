"""The chart and the image on a real Kubernetes 1.20.2: ``make cluster-test``."""

# ruff: noqa: T201 - the figures are half of what it is for

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
import yaml

from tests.deploy.kube import (
    REPOSITORY,
    TAGS,
    WORTH_S,
    Kube,
    Persistent,
    definition,
    readable,
    trace_of,
)
from tests.deploy.manifests import Object
from tests.deploy.release import CLAIM, REPLICAS, SHARED, Hub, running
from tests.deploy.tools import CRDS, DEPLOY
from tests.service.callers import Caller, plain
from tests.service.server import patience

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

CallerT = TypeVar("CallerT", bound=Caller)
CALLERS = 4
LEAST_REQUESTS = 10_000


@contextlib.contextmanager
def asked(kube: Kube, kind: type[CallerT], *, keep_alive: bool) -> Iterator[list[CallerT]]:
    """Callers at work through the service, stopped at the end."""
    address = kube.service("hub")
    callers = [kind(address, seed, keep_alive=keep_alive) for seed in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        yield callers
    finally:
        for caller in callers:
            caller.stop.set()
        for caller in callers:
            caller.join()


def outcomes(callers: list[CallerT]) -> Counter[str]:
    return sum((caller.outcomes for caller in callers), Counter())


# --- the node itself ------------------------------------------------------------------------------


def test_nothing_is_left_of_a_cluster_whose_test_fails(
    kubernetes: Path, images: Path, tmp_path: Path
) -> None:
    started: list[str] = []
    with (  # noqa: PT012 - it is raised in the middle of what a test does
        pytest.raises(ZeroDivisionError),
        running(kubernetes, tmp_path / "node", images) as kube,
    ):
        server = ("--image-pull-policy=Never", f"--image={REPOSITORY}:{TAGS[0]}")
        kube.kubectl("run", "left-running", *server, "--", "serve", "--store", "/models")
        kube.kubectl("wait", "--for=condition=Initialized", "pod/left-running", "--timeout=60s")
        for _ in patience():
            started = trace_of(os.getpid())["processes"]
            if len(started) >= 5:
                break
        raise ZeroDivisionError
    assert len(started) >= 5


# --- the release ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("hub")
def test_release_answers_through_its_service_from_its_own_claim(kube: Kube) -> None:
    (claim,) = (one for one in kube.get("pvc") if one["metadata"]["name"] == CLAIM)
    assert claim["status"]["phase"] == "Bound"
    body = {"inputs": [{"a": 0.25, "b": -0.5, "code": 0}]}
    with kube.client("hub") as client:
        response = client.post("/v1/models/sensor/score", json=body)
        assert response.status_code == 200, response.text
        assert response.json()["outputs"][0]["anomalous"] is False
        listed = {model["id"] for model in client.get("/v1/models").json()["data"]}
    assert listed == {"adder", "sensor", "snail"}
    (pod, _) = kube.pods("hub")
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == CLAIM
    inside = kube.kubectl("exec", pod["metadata"]["name"], "--", "touch", "/models/x", check=False)
    assert "Read-only file system" in inside


@pytest.mark.parametrize("keep_alive", [True, False], ids=["keep-alive", "new connections"])
def test_rolls_to_a_new_version_lose_and_mix_up_nothing(
    kube: Kube, hub: Hub, keep_alive: bool
) -> None:
    first, rolls = hub.version, 0
    began = time.monotonic()
    with asked(kube, Caller, keep_alive=keep_alive) as callers:
        time.sleep(2)
        while not rolls or outcomes(callers).total() < LEAST_REQUESTS:
            hub.roll()
            rolls += 1
        time.sleep(2)
    seconds, found = time.monotonic() - began, outcomes(callers)
    wrong = sum(n for what, n in found.items() if what.startswith("wrong"))
    lost = sum(n for what, n in found.items() if what.startswith("lost"))
    print(f"\n{rolls} rolls under load, {found.total()} requests in {seconds:.0f} s,"
          f" lost {lost}, wrong {wrong}: {dict(found)}")  # fmt: skip
    assert set(found) == {f"right, version {v}" for v in range(first, hub.version + 1)}
    assert found.total() >= LEAST_REQUESTS
    (tag,) = {pod["spec"]["containers"][0]["image"] for pod in kube.pods("hub")}
    assert tag == f"{REPOSITORY}:{TAGS[hub.version % 2]}"


@pytest.mark.parametrize("keep_alive", [True, False], ids=["keep-alive", "new connections"])
def test_pod_killed_under_load_comes_back_and_costs_only_what_it_held(
    kube: Kube, hub: Hub, keep_alive: bool
) -> None:
    pod = kube.pods("hub")[0]
    name, status = pod["metadata"]["name"], pod["status"]["containerStatuses"][0]
    with asked(kube, Persistent, keep_alive=keep_alive) as callers:
        time.sleep(2)
        processes = kube.cluster.processes(status["containerID"].removeprefix("containerd://"))
        assert processes
        for process in processes:
            os.kill(process, signal.SIGKILL)
        killed = time.monotonic()
        for _ in patience(WORTH_S, pause_s=0.2):
            if _restarts(kube, name) > status["restartCount"] and name in kube.ready("hub"):
                break
        seconds = time.monotonic() - killed
        time.sleep(2)
    broken = sum((caller.broken for caller in callers), Counter())
    refused = sum((caller.refused for caller in callers), Counter())
    found = outcomes(callers)
    print(f"\nkilled, ready again after {seconds:.1f} s: {found.total()} requests; asked again:"
          f" broken {dict(broken)}, refused {dict(refused)}; {dict(found)}")  # fmt: skip
    assert _restarts(kube, name) == status["restartCount"] + 1
    assert set(found) == {f"right, version {hub.version}"}
    # The dead pod held at most one connection of each caller; who comes before the cluster has
    # noticed is refused, and has sent nothing.
    assert broken.total() <= CALLERS
    assert len(kube.ready("hub")) == REPLICAS


def _restarts(kube: Kube, name: str) -> int:
    (pod,) = (pod for pod in kube.pods("hub") if pod["metadata"]["name"] == name)
    return int(pod["status"]["containerStatuses"][0]["restartCount"])


@pytest.mark.usefixtures("hub")
def test_budget_lets_one_pod_go_and_holds_the_next(kube: Kube) -> None:
    kube.await_pods("hub", REPLICAS)
    for _ in patience():
        if kube.get("poddisruptionbudgets")[0]["status"].get("disruptionsAllowed") == 1:
            break
    answers = [_evict(kube, name) for name in kube.ready("hub")]
    print(f"\nevictions: {[answer.status_code for answer in answers]}")
    assert [answer.status_code for answer in answers] == [201, 429]
    assert "disruption budget" in answers[1].json()["message"]
    kube.await_pods("hub", REPLICAS)


def _evict(kube: Kube, pod: str) -> httpx.Response:
    body = {"apiVersion": "policy/v1beta1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": "default"}}  # fmt: skip
    return kube.api.post(f"/api/v1/namespaces/default/pods/{pod}/eviction", json=body)


# --- what comes with the chart --------------------------------------------------------------------


@pytest.mark.usefixtures("hub")
def test_custom_objects_are_taken_and_wrong_ones_refused(kube: Kube) -> None:
    """Admission alone: no operator and no KServe is there to act on them."""
    paths = sorted(CRDS.glob("*.yaml"))
    if not paths:
        pytest.skip(f"{CRDS} is not here: custom objects NOT CHECKED (MODELHUB_CRDS names it)")
    for path in paths:
        kube.create(*definition(path))
    kube.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
    flags = ("--set", "metrics.serviceMonitor.enabled=true", "--set", f"image.tag={TAGS[0]}")
    kube.install("watched", *SHARED, *flags, wait=False)
    taken: list[Object] = kube.get("servicemonitors")
    kube.uninstall("watched")
    kserve = [
        DEPLOY / "kserve" / f"{name}.yaml" for name in ("serving-runtime", "inference-service")
    ]
    for path in kserve:
        kube.kubectl("apply", "--filename", path)
    taken += kube.get("servingruntimes") + kube.get("inferenceservices")
    print(f"\ntaken: {[one['kind'] for one in taken]}")
    assert len(taken) == 3
    wrong = yaml.safe_load(kserve[0].read_text())
    wrong["spec"]["multiModel"] = "perhaps"
    said = kube.kubectl("apply", "--validate=false", "--filename=-", stdin=yaml.safe_dump(wrong),
                        check=False)  # fmt: skip
    assert "spec.multiModel" in said
    assert "boolean" in said


def test_uninstall_leaves_the_models_and_nothing_else(kube: Kube, tmp_path: Path) -> None:
    kinds = ("all,configmaps,secrets,serviceaccounts,networkpolicies,poddisruptionbudgets,"
             "horizontalpodautoscalers,persistentvolumeclaims")  # fmt: skip
    before = _named(kube, kinds)
    plain(tmp_path, "adder", 1, adds=1)
    kube.claim("gone-modelhub", readable(tmp_path))
    kube.install("gone", "--set", "replicas=1", "--set", "keys.api={let-me-in}", "--set",
                 f"image.tag={TAGS[0]}", "--set", "autoscaling.enabled=true", "--set",
                 "stop.drainSeconds=3", "--set", "autoscaling.minReplicas=1")  # fmt: skip
    during = _named(kube, kinds)
    with kube.client("gone") as client:
        assert client.get("/v1/models").status_code == 401
    kube.uninstall("gone")
    kube.await_pods("gone", 0)
    for _ in patience():
        left = _named(kube, kinds) - before
        if len(left) == 1:
            break
    print(f"\n{len(during - before)} objects installed; left: {left}")
    assert left == {"persistentvolumeclaim/gone-modelhub"}
    kube.kubectl("delete", "pvc/gone-modelhub", "pv/gone-modelhub")


def _named(kube: Kube, kinds: str) -> set[str]:
    return set(kube.kubectl("get", kinds, "--output=name").split())
