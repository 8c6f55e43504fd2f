"""Manifests without Helm: kustomize, KServe, a training job; the last one really trains."""

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.plain import BASE, plain
from model_store.store import Store
from tests.deploy.manifests import (
    CHECKED_FOR,
    Object,
    annotations,
    check,
    check_custom,
    containers,
    objects,
    only,
    pod_specs,
)
from tests.deploy.tools import CHART, DEPLOY, ROOT, run
from tests.service.bundles import publish, sensor
from tests.service.server import MODELHUB, serving

OVERLAYS = [BASE.parent, *sorted((DEPLOY / "kustomize" / "overlays").iterdir())]
RUNTIME = DEPLOY / "kserve" / "serving-runtime.yaml"
INFERENCE = DEPLOY / "kserve" / "inference-service.yaml"
TRAINING_S = 180
JOB = DEPLOY / "training" / "job.yaml"


def environment(container: Object) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}


# --- kustomize ------------------------------------------------------------------------------------


def test_plain_manifests_are_the_charts() -> None:
    rendered = run("helm", "template", "modelhub", CHART, "--kube-version", "1.37.0").stdout
    assert BASE.read_text() == plain(rendered), "python -m deploy.plain writes them anew"


def test_plain_manifests_know_nothing_of_helm() -> None:
    for one in objects(BASE.read_text()):
        assert "app.kubernetes.io/managed-by" not in one["metadata"]["labels"]
        assert not any(name.startswith("helm.sh/") for name in annotations(one))


@pytest.mark.parametrize("version", CHECKED_FOR)
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_overlay_builds_and_fits_the_schemas(overlay: Path, version: str, tmp_path: Path) -> None:
    text = run("kubectl", "kustomize", overlay).stdout
    assert only(objects(text), "Deployment")
    check(text, tmp_path, version)


def test_gpu_overlay_asks_for_a_gpu() -> None:
    found = objects(run("kubectl", "kustomize", DEPLOY / "kustomize" / "overlays" / "gpu").stdout)
    assert only(found, "ConfigMap")["data"]["MODELHUB_DEVICE"] == "cuda"
    (spec,) = pod_specs(found)
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert spec["containers"][0]["image"].endswith("-gpu")


# --- KServe ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [RUNTIME, INFERENCE], ids=lambda path: path.stem)
def test_kserve_object_fits_its_definition(path: Path) -> None:
    check_custom(yaml.safe_load(path.read_text()))


def test_definition_of_kserve_would_find_a_mistake() -> None:
    runtime = yaml.safe_load(RUNTIME.read_text())
    runtime["spec"]["containers"][0]["argz"] = ["serve"]
    with pytest.raises(AssertionError, match="argz"):
        check_custom(runtime)


def test_inference_service_finds_its_runtime() -> None:
    runtime, service = (yaml.safe_load(path.read_text()) for path in (RUNTIME, INFERENCE))
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    formats = {one["name"] for one in runtime["spec"]["supportedModelFormats"]}
    assert model["modelFormat"]["name"] in formats
    (container,) = runtime["spec"]["containers"]
    assert container["name"] == "kserve-container"  # KServe looks for it by this name


def test_server_told_as_the_runtime_tells_it_speaks_v2_on_its_probes_paths(tmp_path: Path) -> None:
    (container,) = yaml.safe_load(RUNTIME.read_text())["spec"]["containers"]
    told: dict[str, Any] = {
        name.removeprefix("MODELHUB_").lower(): value
        for name, value in environment(container).items()
    }
    assert told.pop("store") == "/mnt/models"
    assert int(told.pop("port")) == container["ports"][0]["containerPort"]
    store = tmp_path / "store"
    store.mkdir()
    publish(store, sensor)
    told["drain_s"] = "0"
    with serving(store, tmp_path, *container["args"][1:], **told) as server:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert server.client.get(container[probe]["httpGet"]["path"]).status_code == 200
        assert server.client.get("/v2/models/sensor/ready").status_code == 200


def test_runtime_drains_within_the_grace_that_kubernetes_gives() -> None:
    (container,) = yaml.safe_load(RUNTIME.read_text())["spec"]["containers"]
    names = environment(container)
    assert float(names["MODELHUB_DRAIN_S"]) + int(names["MODELHUB_SHUTDOWN_S"]) < 30


# --- training -------------------------------------------------------------------------------------


def test_job_fits_the_schemas(tmp_path: Path) -> None:
    for version in CHECKED_FOR:
        check(JOB.read_text(), tmp_path, version)


def test_job_can_find_its_first_pod() -> None:
    found = objects(JOB.read_text())
    job, service = only(found, "Job"), only(found, "Service")
    spec = job["spec"]["template"]["spec"]
    names = environment(spec["containers"][0])
    # An indexed Job's pods are called NAME-INDEX, and found by name behind a headless service.
    assert names["MAIN_ADDRESS"] == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert spec["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert int(names["MAIN_PORT"]) == service["spec"]["ports"][0]["port"]
    assert int(names["MACHINES"]) == job["spec"]["completions"] == job["spec"]["parallelism"]


def machine(container: Object, rank: int, store: Path, port: int) -> "subprocess.Popen[str]":
    """One pod's command, as it stands in the manifest, on this machine."""
    given = {**environment(container), "JOB_COMPLETION_INDEX": str(rank),
             "MAIN_ADDRESS": "127.0.0.1", "MAIN_PORT": str(port)}  # fmt: skip
    arguments: list[Any] = [store if part == "/models" else part for part in container["args"]]
    arguments = ["quick" if part == "full" else part for part in arguments]
    path = f"{MODELHUB.parent}:{os.environ['PATH']}"
    return subprocess.Popen(
        [*container["command"], *arguments, "--epochs", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        env={**os.environ, **given, "PATH": path, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_job_trains_on_two_machines_and_publishes_once(tmp_path: Path) -> None:
    (spec,) = pod_specs(objects(JOB.read_text()))
    (container,) = containers(spec)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    machines = [machine(container, rank, tmp_path, port) for rank in (0, 1)]
    try:
        said = [process.communicate(timeout=TRAINING_S)[0] for process in machines]
    finally:
        for process in machines:
            process.kill()
    assert [process.returncode for process in machines] == [0, 0], said
    assert "published cnn_digits@1" in said[0]
    assert "published" not in said[1]
    assert Store(tmp_path).versions("cnn_digits") == [1]
