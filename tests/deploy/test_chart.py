"""The Helm chart: rendered, checked, and its settings read by the server that they are for."""

import json
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import (
    CHECKED_FOR,
    FULL,
    RUN_ON,
    VALUES,
    chart,
    check,
    check_custom,
    objects,
    only,
    render,
)
from tests.deploy.tools import CHART, ROOT, run


def test_there_are_values_files_to_check() -> None:
    assert len(VALUES) == 5


@pytest.mark.parametrize("version", [RUN_ON, *CHECKED_FOR])
@pytest.mark.parametrize("values", [None, *VALUES], ids=lambda path: path.stem if path else "none")
def test_chart_lints_and_fits_the_schemas_of_kubernetes(
    values: Path | None, version: str, tmp_path: Path
) -> None:
    flags = ("--values", values) if values else ()
    run("helm", "lint", "--strict", "--quiet", "--kube-version", version, CHART, *flags)
    text = render(*flags, version=version)
    assert len(objects(text)) >= 3
    if version != RUN_ON:  # nobody ships a schema for it; a real server of that version is used
        check(text, tmp_path, version)


def test_schemas_would_find_a_mistake(tmp_path: Path) -> None:
    text = render().replace("maxUnavailable: 0", "maxUnavailabel: 0")
    with pytest.raises(AssertionError, match="maxUnavailabel"):
        check(text, tmp_path, CHECKED_FOR[-1])


@pytest.mark.parametrize("version", [RUN_ON, *CHECKED_FOR])
def test_each_version_gets_the_kinds_it_knows(version: str) -> None:
    found = chart("--values", FULL, version=version)
    old = version == RUN_ON
    assert only(found, "PodDisruptionBudget")["apiVersion"] == "policy/v1" + "beta1" * old
    scaler = only(found, "HorizontalPodAutoscaler")["apiVersion"]
    assert scaler == "autoscaling/v2" + "beta2" * old


def test_numbers_and_ports_are_what_a_server_side_apply_to_an_old_version_takes() -> None:
    """Kubernetes 1.20 refused both: an amount that is no text, a port without its protocol."""
    found = chart("--set-json", 'resources={"limits": {"cpu": 1, "memory": 1073741824}}')
    (container,) = only(found, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "1073741824"}
    ports = [*container["ports"], *only(found, "Service")["spec"]["ports"]]
    assert [port["protocol"] for port in ports] == ["TCP", "TCP"]


def test_chart_has_the_version_of_the_project() -> None:
    facts = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert f'\nversion = "{facts["appVersion"]}"\n' in (ROOT / "pyproject.toml").read_text()


# --- scaling, watching ----------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["queue_seconds", "rows_waiting"])
def test_scaler_asks_for_a_metric_that_the_adapter_gives_and_for_cpu(metric: str) -> None:
    flags = ("--set", "autoscaling.enabled=true", "--set", f"autoscaling.metric={metric}")
    found = chart(*flags)
    own, cpu = only(found, "HorizontalPodAutoscaler")["spec"]["metrics"]
    adapter = yaml.safe_load((CHART / "files" / "adapter-rule.yaml").read_text())["rules"]
    assert own["pods"]["metric"]["name"] in {rule["name"]["as"] for rule in adapter}
    assert cpu["resource"]["target"] == {"type": "Utilization", "averageUtilization": 80}
    assert "replicas" not in only(found, "Deployment")["spec"]


def test_service_monitor_fits_its_definition() -> None:
    monitor = only(chart("--values", FULL), "ServiceMonitor")
    service = only(chart("--values", FULL), "Service")
    labels, wanted = service["metadata"]["labels"], monitor["spec"]["selector"]["matchLabels"]
    assert labels.items() >= wanted.items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    check_custom(monitor)


def test_definition_would_find_a_mistake() -> None:
    monitor = only(chart("--values", FULL), "ServiceMonitor")
    monitor["spec"]["endpoints"][0]["every"] = "5s"
    with pytest.raises(AssertionError, match="every"):
        check_custom(monitor)


def test_rules_and_dashboard_are_the_files_themselves() -> None:
    found = chart("--values", FULL)
    rules = yaml.safe_load((CHART / "files" / "rules.yaml").read_text())
    assert only(found, "PrometheusRule")["spec"] == rules
    maps = [one for one in found if one["metadata"]["name"].endswith("-dashboard")]
    dashboard = (CHART / "files" / "dashboard.json").read_text()
    assert [json.loads(one["data"]["modelhub.json"]) for one in maps] == [json.loads(dashboard)]


def test_network_lets_in_only_the_port_and_out_only_names() -> None:
    policy = only(chart(), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53}


@pytest.mark.parametrize(("values", "header"), [(None, ""), (FULL, "Authorization: Bearer")])
def test_notes_say_what_to_try(values: Path | None, header: str) -> None:
    flags = ("--values", values) if values else ()
    said = run("helm", "install", "hub", CHART, "--dry-run=client", *flags).stdout
    notes = said.partition("NOTES:")[2]
    assert "port-forward service/hub-modelhub 8000:80" in notes
    assert "localhost:8000/v1/models" in notes
    assert header in notes
    assert ("No keys are set" in notes) is not bool(header)
