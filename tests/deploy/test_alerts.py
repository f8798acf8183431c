from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Promtool = Callable[..., tuple[int, str]]

HERE = Path(__file__).parent
CASES = HERE / "alerts.test.yml"
RULES = HERE.parent.parent / "deploy/prometheus/loki-mode-alerts.yml"
DOCUMENTED = {
    "LokiSessionDown": ("5m", "warning"),
    "LokiBudgetWarning": (None, "warning"),
    "LokiBudgetCritical": (None, "critical"),
    "LokiStagnation": ("10m", "critical"),
    "LokiHighFailureRate": ("5m", "warning"),
    "LokiTooManyAgents": ("10m", "warning"),
}
"""Duration and severity, which people's routes rely on."""

OURS = {"TallyshipSourceDown", "TallyshipFileStale", "TallyshipCostUnmeasured", "TallyshipTargetMissing"}


def rules() -> dict[str, Any]:
    """Return the shipped rules by name."""
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def cases() -> list[dict[str, Any]]:
    """Return every question that the test file asks."""
    tests = yaml.safe_load(CASES.read_text("utf-8"))["tests"]
    return [case for test in tests for case in test["alert_rule_test"]]


def test_the_documented_alerts_keep_name_duration_and_severity() -> None:
    """Whoever routes by severity or relies on the delay finds both as documented."""
    found = {name: (rules()[name].get("for"), rules()[name]["labels"]["severity"]) for name in DOCUMENTED}

    assert found == DOCUMENTED


def test_the_rules_are_the_documented_ones_and_four_of_ours() -> None:
    """No alert is missing, and none is there that this file does not know."""
    assert rules().keys() == DOCUMENTED.keys() | OURS


def test_promtool_finds_no_fault_in_the_rules(promtool: Promtool) -> None:
    """Syntax, templates and promtool's own lint are clean."""
    code, printed = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)

    assert code == 0, printed


@pytest.mark.parametrize("name", sorted(DOCUMENTED.keys() | OURS))
def test_every_alert_has_a_firing_and_a_silent_case(name: str) -> None:
    """Each alert is asked at least once when it should fire, and once when it should not."""
    of_alert = [bool(case.get("exp_alerts")) for case in cases() if case["alertname"] == name]

    assert set(of_alert) == {True, False}


@pytest.mark.parametrize("name", sorted((DOCUMENTED.keys() | OURS) - {"TallyshipTargetMissing"}))
def test_every_summary_names_the_project_by_the_exporters_own_label(name: str) -> None:
    """Where both labels are there, the target's says the same for all projects."""
    assert "{{ with or $labels.exported_project $labels.project }}" in rules()[name]["annotations"]["summary"]


def test_each_alert_fires_when_it_should_and_keeps_silent_when_it_should(promtool: Promtool) -> None:
    """All cases of alerts.test.yml hold, evaluated by Prometheus' own engine."""
    code, printed = promtool("test", "rules", CASES)

    assert code == 0, printed


@pytest.mark.parametrize("name", sorted(DOCUMENTED.keys() | OURS))
@pytest.mark.parametrize(
    "expr", ["loki_session_status > 99", "up >= 0 or loki_session_status >= 0 or vector(1)"]
)
def test_the_cases_notice_an_alert_that_never_or_always_fires(
    name: str, expr: str, promtool: Promtool, tmp_path: Path
) -> None:
    """The cases prove something: with another expression in one alert, they fail."""
    whole = yaml.safe_load(RULES.read_text("utf-8"))
    next(r for group in whole["groups"] for r in group["rules"] if r["alert"] == name)["expr"] = expr
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(whole), "utf-8")
    asked = yaml.safe_load(CASES.read_text("utf-8")) | {"rule_files": ["rules.yml"]}
    asked["tests"] = [t for t in asked["tests"] if any(c["alertname"] == name for c in t["alert_rule_test"])]
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(asked), "utf-8")

    code, printed = promtool("test", "rules", tmp_path / "cases.yml")

    assert code != 0
    assert name in printed


def test_the_documented_expressions_fail_as_the_comments_say(promtool: Promtool, tmp_path: Path) -> None:
    """As documented, no share of failed tasks fires, and a session 11 minutes old counts as stagnating."""
    as_documented = {
        "Rate": ('loki_tasks_total{status="failed"} / sum(loki_tasks_total) > 0.1', "5m"),
        "Stagnation": ("changes(loki_iteration_current[30m]) == 0 and loki_session_status == 1", "10m"),
    }
    written = [{"alert": name, "expr": expr, "for": wait} for name, (expr, wait) in as_documented.items()]
    (tmp_path / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "g", "rules": written}]}), "utf-8"
    )
    series = {
        'loki_tasks_total{status="failed"}': "9x40",
        'loki_tasks_total{status="completed"}': "1x40",
        "loki_session_status": "1x40",
        "loki_iteration_current": "1x40",
    }
    asked = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "30s",
        "tests": [
            {
                "interval": "30s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    {"eval_time": "19m", "alertname": "Rate"},
                    {"eval_time": "11m", "alertname": "Stagnation", "exp_alerts": [{}]},
                ],
            }
        ],
    }
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(asked), "utf-8")

    code, printed = promtool("test", "rules", tmp_path / "cases.yml")

    assert code == 0, printed
