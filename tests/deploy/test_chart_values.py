"""The chart's values: wrong ones are refused, and by their path."""

import json
from typing import Any

import pytest
import yaml

from deploy.settings_schema import SCHEMA, THE_CHARTS_OWN, settings_schema
from service.settings import Settings
from tests.deploy.tools import CHART, run


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("replicas=two", "/replicas"),
        ("settings.max_batch_rows=many", "/settings/max_batch_rows"),
        ("settings.max_batch_rows=0", "/settings/max_batch_rows"),
        ("settings.device=tpu", "/settings/device"),
        ("settings.max_bach_rows=3", "/settings"),
        ("settings.port=9000", "/settings"),
        ("image.tagg=1", "/image"),
        ("image.digest=latest", "/image/digest"),
        ("store.source=s3", "/store/source"),
        ("store.claim.size=big", "/store/claim/size"),
        ("store.bucket.url=models", "/store/bucket/url"),
        ("store.bucket.url=http://minio/models", "/store/bucket/url"),
        ("store.bucket.endpoint=minio:9000", "/store/bucket/endpoint"),
        ("store.bucket.fetchFirst=digests", "/store/bucket/fetchFirst"),
        ("keys.api=secret", "/keys/api"),
        ("stop.shutdownSeconds=0", "/stop/shutdownSeconds"),
        ("probes.liveness.periodSeconds=0", "/probes/liveness/periodSeconds"),
        ("service.port=70000", "/service/port"),
        ("autoscaling.metric=latency", "/autoscaling/metric"),
        ("gpu.count=0", "/gpu/count"),
    ],
)
def test_wrong_value_is_refused_with_its_path(given: str, place: str) -> None:
    done = run("helm", "template", "hub", CHART, "--set", given, check=False)
    assert done.returncode != 0
    assert f"at '{place}'" in done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["store.source=existingClaim"], "store.existingClaim: which claim?"),
        (["store.source=download"], "store.download.image: which image holds the command?"),
        (["store.source=volume"], "store.volume: which volume source?"),
        (["store.source=bucket"], "store.bucket.url: which bucket?"),
        (["store.source=bucket", "store.bucket.url=gs://hub",
          "store.bucket.endpoint=http://minio:9000"], "store.bucket.endpoint is for s3:// alone"),
        (["autoscaling.enabled=true", "autoscaling.minReplicas=11"], "above maxReplicas"),
        (["autoscaling.enabled=true", "autoscaling.metric=none", "autoscaling.cpuPercent=0"],
         "nothing to scale on"),
    ],
)  # fmt: skip
def test_what_is_missing_is_asked_for(flags: list[str], words: str) -> None:
    given = [part for flag in flags for part in ("--set", flag)]
    done = run("helm", "template", "hub", CHART, *given, check=False)
    assert done.returncode != 0
    assert words in done.stderr


def test_schema_knows_every_setting_of_the_server() -> None:
    written = json.loads(SCHEMA.read_text())["properties"]["settings"]
    assert written == settings_schema(), "python -m deploy.settings_schema writes it anew"
    assert set(written["properties"]) | THE_CHARTS_OWN == set(Settings.model_fields)


def test_schema_and_values_have_the_same_keys() -> None:
    def keys(values: Any) -> Any:
        return {key: keys(value) for key, value in values.items()} if values else {}

    def properties(schema: Any, values: Any) -> Any:
        """The schema's keys, as deep as the values file goes."""
        inner = schema.get("properties", {})
        return {
            key: properties(inner[key], (values or {}).get(key))
            for key in inner
            if key in (values or {}) or key not in optional
        }

    optional = {"initialDelaySeconds", "successThreshold", "global"}
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads(SCHEMA.read_text())
    del schema["properties"]["settings"], values["settings"]
    assert set(properties(schema, values)) == set(values)
    for name, part in values.items():
        if isinstance(part, dict) and "properties" in schema["properties"][name]:
            assert set(properties(schema, values)[name]) == set(part), name
