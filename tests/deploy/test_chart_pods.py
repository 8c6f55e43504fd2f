"""What the chart tells its pods: settings, probes, rights, keys, GPUs."""

import re
from pathlib import Path

import pytest
import yaml

from service.protocols.ops import OPEN
from tests.deploy.manifests import (
    DOWNLOAD,
    FULL,
    GPU,
    VALUES,
    chart,
    containers,
    objects,
    only,
    pod_specs,
    render,
    settings_of,
)


def test_server_reads_each_setting_as_it_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    found = chart("--values", FULL)
    given = yaml.safe_load(FULL.read_text())["settings"]
    assert given["max_body_bytes"] > 10**6  # from there on Helm likes to write an exponent
    settings = settings_of(found, monkeypatch)
    read = {name: getattr(settings, name) for name in given}
    assert read == {k: frozenset(v) if isinstance(v, list) else v for k, v in given.items()}
    assert settings.store == Path("/models")


@pytest.mark.parametrize("values", [None, *VALUES], ids=lambda path: path.stem if path else "none")
def test_grace_period_fits_the_drain_and_what_follows(
    values: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = chart(*(("--values", values) if values else ()), "--set", "stop.drainSeconds=20")
    settings = settings_of(found, monkeypatch)
    grace_s = only(found, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert settings.drain_s == 20
    assert grace_s > settings.drain_s + settings.shutdown_s


def test_drain_lasts_longer_than_a_failing_readiness_takes_to_be_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = chart()
    (container,) = only(found, "Deployment")["spec"]["template"]["spec"]["containers"]
    probe = container["readinessProbe"]
    seen_s = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    assert settings_of(found, monkeypatch).drain_s > seen_s


def test_probes_ask_what_the_server_answers_without_a_key() -> None:
    (container,) = only(chart(), "Deployment")["spec"]["template"]["spec"]["containers"]
    asked = {name: container[name]["httpGet"]["path"] for name in container if "Probe" in name}
    # A pod whose model cannot be loaded is alive: it is not restarted, it is not sent anything.
    assert asked == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    assert set(asked.values()) <= OPEN


@pytest.mark.parametrize("values", [None, *VALUES], ids=lambda path: path.stem if path else "none")
def test_no_container_has_rights(values: Path | None) -> None:
    specs = list(pod_specs(chart(*(("--values", values) if values else ()))))
    assert len(specs) == 2  # the server's and the test's
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in containers(spec):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"memory", "cpu"} <= set(container["resources"]["limits"])


def test_keys_lie_in_a_secret_and_nowhere_else() -> None:
    text = render("--values", FULL)
    found = objects(text)
    assert only(found, "Secret")["stringData"] == {
        "api-keys": '["let-me-in"]',
        "admin-keys": '["let-me-change"]',
    }
    assert len(re.findall("let-me-in", text)) == 1
    (container,) = only(found, "Deployment")["spec"]["template"]["spec"]["containers"]
    names = {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in container["env"]}
    assert names["MODELHUB_API_KEYS"] == {"name": "hub-modelhub", "key": "api-keys"}
    assert names["MODELHUB_ADMIN_KEYS"] == {"name": "hub-modelhub", "key": "admin-keys"}


def test_secret_of_the_users_own_is_needed_not_made() -> None:
    found = chart("--values", DOWNLOAD)
    assert [one for one in found if one["kind"] == "Secret"] == []
    container = only(found, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    sources = [entry["valueFrom"]["secretKeyRef"] for entry in container["env"]]
    assert [source["name"] for source in sources] == ["hub-keys", "hub-keys"]
    assert not any(source.get("optional") for source in sources)


@pytest.mark.parametrize("changed", ["settings.max_batch_rows=8", "keys.api={b}"])
def test_other_settings_or_keys_make_other_pods(changed: str) -> None:
    before, after = (
        only(chart("--set", "keys.api={a}", *more), "Deployment")["spec"]["template"]
        for more in ((), ("--set", changed))
    )
    assert before["metadata"]["annotations"] != after["metadata"]["annotations"]
    assert before["spec"] == after["spec"]


def test_gpu_is_asked_for_and_not_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    found = chart("--values", GPU)
    spec = only(found, "Deployment")["spec"]["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"] == {
        "cpu": "2",
        "memory": "2Gi",
        "nvidia.com/gpu": "2",
    }
    assert spec["nodeSelector"] == {
        "kubernetes.io/arch": "amd64",
        "nvidia.com/gpu.present": "true",
    }
    assert spec["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert spec["runtimeClassName"] == "nvidia"
    assert settings_of(found, monkeypatch).device == "cuda:0,cuda:1"


def test_gpu_may_be_done_without_where_the_settings_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = chart("--set", "gpu.enabled=true", "--set-string", "settings.device=cuda\\,cpu")
    assert settings_of(found, monkeypatch).device == "cuda,cpu"
