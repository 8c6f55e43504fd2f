"""Recording rules and alerts, by promtool: each alert fires when it should, and only then."""

from pathlib import Path
from typing import Any

import yaml

from tests.deploy.tools import CHART, run

RULES = CHART / "files" / "rules.yaml"
CASES = Path(__file__).with_name("rules_test.yaml")


def promtool(folder: Path, rules: Path, cases: str) -> Any:
    path = folder / "cases.yaml"
    path.write_text(cases.replace("[RULES]", f"[{rules}]"))
    return run("promtool", "test", "rules", path, check=False)


def test_promtool_finds_no_fault_in_the_rules() -> None:
    assert "SUCCESS: 16 rules found" in run("promtool", "check", "rules", RULES).stdout


def test_alerts_fire_and_keep_quiet_as_the_cases_say(tmp_path: Path) -> None:
    done = promtool(tmp_path, RULES, CASES.read_text())
    assert done.returncode == 0, done.stdout + done.stderr


def test_cases_would_find_an_alert_that_is_out_of_tune(tmp_path: Path) -> None:
    deaf = tmp_path / "rules.yaml"
    deaf.write_text(RULES.read_text().replace("> 14.4 * 0.001", "> 0.5"))
    done = promtool(tmp_path, deaf, CASES.read_text())
    assert done.returncode != 0
    assert "ModelhubErrorBudgetBurnsFast" in done.stdout + done.stderr


def test_each_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    alerts = {
        rule["alert"]
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    cases = [
        (case["alertname"], bool(case["exp_alerts"]))
        for test in yaml.safe_load(CASES.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    assert {(name, fires) for name in alerts for fires in (True, False)} == set(cases)
