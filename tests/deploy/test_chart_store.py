"""Where the chart's pods get their models from, and what is proved before they serve."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from model_store.bucket import Bucket
from model_store.places import open_store
from tests.buckets import S3
from tests.deploy.manifests import (
    BUCKET,
    DOWNLOAD,
    VALUES,
    Object,
    chart,
    containers,
    only,
    settings_of,
)
from tests.service.bundles import publish, sensor
from tests.service.server import MODELHUB, serving


def pod(*flags: str | Path) -> Object:
    found: Object = only(chart(*flags), "Deployment")["spec"]["template"]["spec"]
    return found


def called_ports(*flags: str) -> set[int]:
    """Those that the pods may call, besides names."""
    egress = only(chart(*flags), "NetworkPolicy")["spec"]["egress"]
    return {port["port"] for rule in egress for port in rule["ports"]} - {53}


def test_claim_of_the_chart_outlives_the_release() -> None:
    claim = only(chart(), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert pod()["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_server_never_writes_its_models() -> None:
    for values in VALUES:
        (container,) = pod("--values", values)["containers"]
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert {"cache", "tmp"} <= set(mounts)
        assert ("models" in mounts) is (values != BUCKET)
        assert "models" not in mounts or mounts["models"]["readOnly"] is True


# --- a download -----------------------------------------------------------------------------------


def test_download_is_verified_before_anything_is_served(tmp_path: Path) -> None:
    spec = pod("--values", DOWNLOAD)
    download, verify = spec["initContainers"]
    assert download["command"] == ["rclone", "copy", "hub:models", "/models"]
    assert verify["image"] == spec["containers"][0]["image"]
    publish(tmp_path, sensor)
    command = [MODELHUB, *(str(tmp_path) if part == "/models" else part for part in verify["args"])]
    assert subprocess.run(command, check=False).returncode == 0
    with (tmp_path / "sensor" / "1" / "model.onnx").open("ab") as file:
        file.write(b"!")
    assert subprocess.run(command, check=False).returncode != 0


# --- a bucket -------------------------------------------------------------------------------------


def test_bucket_is_told_to_whoever_reads_it_and_its_keys_come_from_the_secret() -> None:
    found = chart("--values", BUCKET)
    spec = only(found, "Deployment")["spec"]["template"]["spec"]
    settings = only(found, "ConfigMap")
    assert settings["data"]["MODELHUB_STORE"] == "s3://hub/models"
    assert settings["data"]["AWS_ENDPOINT_URL"] == "http://minio.storage:9000"
    assert settings["data"]["AWS_DEFAULT_REGION"] == "eu-central-1"
    read = [
        {"configMapRef": {"name": settings["metadata"]["name"]}},
        {"secretRef": {"name": "bucket-keys"}},
    ]
    assert [container["envFrom"] for container in containers(spec)] == [read, read]
    assert [one for one in found if one["kind"] in ("PersistentVolumeClaim", "Secret")] == []
    cache = next(volume for volume in spec["volumes"] if volume["name"] == "cache")
    assert cache["emptyDir"] == {"sizeLimit": "50Gi"}


ROLE = (
    "--set", "store.source=bucket", "--set", "store.bucket.url=s3://hub",
    "--set", "serviceAccount.annotations.eks\\.amazonaws\\.com/role-arn=arn:aws:iam::1:role/hub",
)  # fmt: skip


def test_role_of_the_service_account_takes_the_place_of_keys() -> None:
    found = chart(*ROLE)
    account = only(found, "ServiceAccount")["metadata"]
    assert account["annotations"] == {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/hub"}
    spec = pod(*ROLE)
    assert spec["serviceAccountName"] == account["name"]
    assert "initContainers" not in spec
    (container,) = spec["containers"]
    assert [set(source) for source in container["envFrom"]] == [{"configMapRef"}]


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("", 443),
        ("https://storage.example.com", 443),
        ("http://minio", 80),
        ("http://minio.storage:9000", 9000),
        ("https://minio.storage:9443", 9443),
    ],
)
def test_pods_may_call_the_port_of_their_bucket(endpoint: str, port: int) -> None:
    assert called_ports(*ROLE, "--set", f"store.bucket.endpoint={endpoint}") == {port}


@pytest.mark.parametrize(("source", "ports"), [("claim", set()), ("download", {443})])
def test_pods_call_no_bucket_that_is_not_their_store(source: str, ports: set[int]) -> None:
    flags = ["--set", f"store.source={source}", "--set", "store.bucket.endpoint=http://minio:9000"]
    if source == "download":
        flags += ["--set", "store.download.image=rclone", "--set", "store.download.command={copy}"]
    assert called_ports(*flags) == ports


def test_pod_in_front_of_a_bucket_fetches_proves_and_serves(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = s3.bucket()
    store = open_store(url, tmp_path / "mine")
    with store.stage("sensor") as staged:
        store.publish("sensor", staged, sensor(staged))
    endpoint = s3.environment["AWS_ENDPOINT_URL"]
    flags = ("--values", BUCKET, "--set", f"store.bucket.url={url}")
    found = chart(*flags, "--set", f"store.bucket.endpoint={endpoint}")
    (fetch,), (serve,) = (
        only(found, "Deployment")["spec"]["template"]["spec"][kind]
        for kind in ("initContainers", "containers")
    )
    given = {**only(found, "ConfigMap")["data"], "MODELHUB_CACHE": str(tmp_path / "cache")}
    assert given["AWS_ENDPOINT_URL"] == endpoint
    environment = {**os.environ, **given}

    def fetched() -> int:
        command = [MODELHUB, *fetch["args"]]
        return subprocess.run(command, env=environment, check=False).returncode

    assert fetched() == 0
    settings = settings_of(found, monkeypatch)
    told: dict[str, Any] = {"cache": tmp_path / "cache", "shutdown_s": settings.shutdown_s}
    where: Any = settings.store
    assert serve["args"] == ["serve"]
    with serving(where, tmp_path, **told) as server:
        assert server.predict("score", "sensor", [1, 2, 3]).status_code == 200
    Bucket(url).write("sensor/1/model.onnx", b"another graph")
    assert fetched() == 1
