"""What the chart and kustomize render, as objects; and the schemas they have to fit."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema_rs
import pytest
import yaml

from service.settings import Settings
from tests.deploy.tools import CHART, CRDS, run

Object: TypeAlias = dict[str, Any]

RUN_ON = "1.20.2"
CHECKED_FOR = ("1.25", "1.29", "1.33", "1.37")
"""Versions whose schemas kubernetes-validate brings; none has the old kinds."""
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
FULL, GPU, DOWNLOAD, BUCKET = (
    CHART / "ci" / f"{name}-values.yaml" for name in ("full", "gpu", "download", "bucket")
)
NOT_OF_KUBERNETES = ("monitoring.coreos.com/", "serving.kserve.io/")


def render(*flags: str | Path, version: str = CHECKED_FOR[-1]) -> str:
    """The chart as YAML for one version of Kubernetes."""
    return run("helm", "template", "hub", CHART, "--kube-version", version, *flags).stdout


def objects(text: str) -> list[Object]:
    return [one for one in yaml.safe_load_all(text) if one]


def only(found: list[Object], kind: str) -> Object:
    """The one object of a kind."""
    (one,) = (
        one for one in found if one["kind"] == kind and "helm.sh/hook" not in annotations(one)
    )
    return one


def annotations(one: Object) -> dict[str, str]:
    found: dict[str, str] = one["metadata"].get("annotations") or {}
    return found


def chart(*flags: str | Path, version: str = CHECKED_FOR[-1]) -> list[Object]:
    """The chart's objects."""
    return objects(render(*flags, version=version))


def settings_of(found: list[Object], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the server makes of the environment that the chart gives it."""
    (given,) = (one["data"] for one in found if "MODELHUB_STORE" in one.get("data", ()))
    for name in [name for name in os.environ if name.startswith("MODELHUB_")]:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return Settings()


def pod_specs(found: list[Object]) -> Iterator[Object]:
    for one in found:
        if one["kind"] == "Pod":
            yield one["spec"]
        elif "template" in one.get("spec", {}):
            yield one["spec"]["template"]["spec"]


def containers(spec: Object) -> list[Object]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def check(text: str, folder: Path, version: str) -> None:
    """Every object against Kubernetes' own schema, unknown fields refused; custom ones apart."""
    plain = [one for one in objects(text) if not one["apiVersion"].startswith(NOT_OF_KUBERNETES)]
    path = folder / "objects.yaml"
    path.write_text(yaml.safe_dump_all(plain))
    done = run("kubernetes-validate", "--strict", "--kubernetes-version", version, path)
    assert "Couldn't find schema" not in done.stdout + done.stderr


def check_custom(one: Object) -> None:
    """A custom object against its definition in ``CRDS``; skips where those are not there."""
    group, _, version = one["apiVersion"].partition("/")
    path = CRDS / f"{group}_{one['kind'].lower()}s.yaml"
    if not path.exists():
        pytest.skip(
            f"{path} is not here: {one['kind']} NOT CHECKED (MODELHUB_CRDS names the folder)"
        )
    versions = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]["versions"]
    (schema,) = (v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == version)
    errors = jsonschema_rs.Draft7Validator(_strict(schema)).iter_errors(one)
    mistakes = [f"{error.instance_path}: {error.message}" for error in errors]
    assert not mistakes, mistakes


def _strict(schema: Any) -> Any:
    """The same, but a field it does not know is a mistake: a server would drop it silently."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items() if key != "format"}
    if strict.pop("x-kubernetes-int-or-string", False):
        strict.pop("type", None)
    whole = "additionalProperties" in schema or "x-kubernetes-preserve-unknown-fields" in schema
    if isinstance(schema.get("properties"), dict) and not whole and schema.get("type") == "object":
        if "apiVersion" in schema["properties"] and schema["properties"].get("metadata") == {
            "type": "object"
        }:
            strict["properties"]["metadata"] = {"type": "object"}
        strict["additionalProperties"] = False
    return strict
