"""The dashboard, the rules and the adapter's queries, asked of a real Prometheus that scrapes a
real server under traffic.
"""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.deploy.prometheus import Prometheus
from tests.deploy.tools import CHART, tool
from tests.service.bundles import publish, sensor, snail, words
from tests.service.server import Server, serving

DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
RULES = yaml.safe_load((CHART / "files" / "rules.yaml").read_text())
ADAPTER = yaml.safe_load((CHART / "files" / "adapter-rule.yaml").read_text())
VARIABLES = {"$job": "hub", "$model": ".*", "$__rate_interval": "1m"}
QUERIES = [
    (panel["title"], target["expr"])
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
]
TRAFFIC_S = 8
"""Long enough for several scrapes and rounds of the rules."""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    tool("prometheus")  # skips before anything is started
    store = tmp_path_factory.mktemp("watched")
    for maker in (sensor, words, snail):
        publish(store, maker)
    folder = tmp_path_factory.mktemp("watched-server")
    with serving(store, folder, max_memory_bytes=2**30) as server:
        address, port = server.address
        # As its discovery of Kubernetes would label it.
        labels = {"namespace": "models", "pod": "hub-0"}
        found = {"targets": [f"{address}:{port}"], "labels": labels}
        prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), static_configs=[found])
        try:
            prometheus.await_ready()
            _make_traffic(server)
            yield prometheus
        finally:
            prometheus.stop()


def _make_traffic(server: Server) -> None:
    """What every panel shows: answers, padding, a client's mistake, a deadline passed."""
    late = {"X-Timeout-Ms": "1"}
    slow = {"inputs": [{"rounds": 50, "value": 1}]}
    end = time.monotonic() + TRAFFIC_S
    while time.monotonic() < end:
        assert server.predict("score", "sensor", [1, 2, 0]).status_code == 200
        assert server.predict("predict", "words", "good fine bad").status_code == 200
        assert server.predict("predict", "words", 7).status_code == 422
        response = server.client.post("/v1/models/snail/score", json=slow, headers=late)
        assert response.status_code == 504


def test_there_are_queries_to_ask() -> None:
    assert len(QUERIES) >= 20
    assert len({title for title, _ in QUERIES}) == len(
        [panel for panel in DASHBOARD["panels"] if "targets" in panel]
    )


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_panel_shows_something(prometheus: Prometheus, title: str, query: str) -> None:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query
    found = prometheus.ask(query)
    assert found, title
    assert all(series["value"][1] != "NaN" for series in found), found


@pytest.mark.parametrize("variable", DASHBOARD["templating"]["list"][1:], ids=lambda v: v["name"])
def test_variable_offers_what_there_is(prometheus: Prometheus, variable: dict[str, Any]) -> None:
    query = variable["query"]["query"].replace("$job", "hub")
    match = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    assert match
    answer = prometheus.client.get(
        f"/api/v1/label/{match[2]}/values", params={"match[]": match[1]}
    ).json()
    expected = {"job": ["hub"], "model": ["sensor", "snail", "words"]}
    assert answer["data"] == expected[variable["name"]]


@pytest.mark.parametrize(
    "rule",
    [rule for group in RULES["groups"] for rule in group["rules"] if "record" in rule],
    ids=lambda rule: rule["record"],
)
def test_recording_rule_records(prometheus: Prometheus, rule: dict[str, str]) -> None:
    assert prometheus.ask(rule["record"])


def test_alerts_are_evaluated_without_fault(prometheus: Prometheus) -> None:
    groups = prometheus.client.get("/api/v1/rules").json()["data"]["groups"]
    health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert set(health.values()) == {"ok"}
    # One request in four failed: an alert sees it, and waits for its two minutes.
    burning = prometheus.ask('ALERTS{alertname="ModelhubErrorBudgetBurnsFast"}')
    assert [series["metric"]["alertstate"] for series in burning] == ["pending"]


@pytest.mark.parametrize("rule", ADAPTER["rules"], ids=lambda rule: rule["name"]["as"])
def test_autoscaler_gets_a_number_for_each_pod(
    prometheus: Prometheus, rule: dict[str, Any]
) -> None:
    """What the Prometheus adapter would ask, with the placeholders that it fills in."""
    assert prometheus.ask(rule["seriesQuery"])
    query = rule["metricsQuery"].replace("<<.GroupBy>>", "pod")
    query = query.replace("<<.LabelMatchers>>", 'namespace="models",pod=~"hub-0"')
    (series,) = prometheus.ask(query)
    assert series["metric"] == {"pod": "hub-0"}
    assert float(series["value"][1]) >= 0
    idle = query.replace("[1m]", "[1m] offset 1h")  # before anything came
    assert (
        rule["name"]["as"] != "modelhub_queue_seconds" or prometheus.ask(idle)[0]["value"][1] == "0"
    )
