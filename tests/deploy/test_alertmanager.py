from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

FILE = Path(__file__).parent.parent.parent / "deploy/prometheus/alertmanager.yml"
Amtool = Callable[..., tuple[int, str]]


@pytest.fixture(name="amtool")
def _amtool(alertmanager_folder: Path) -> Amtool:
    """Give a function that runs amtool: exit code and what it printed."""

    def run(*arguments: str | Path) -> tuple[int, str]:
        done = subprocess.run(
            [alertmanager_folder / "amtool", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_amtool_accepts_the_configuration(amtool: Amtool) -> None:
    """Alertmanager's own check finds route, receiver and inhibition."""
    code, printed = amtool("check-config", FILE)

    assert code == 0, printed
    assert "1 receivers" in printed
    assert "1 inhibit rules" in printed


def test_every_alert_goes_to_slack(amtool: Amtool) -> None:
    """The route has no hole: the documented fragment had a receiver and no route at all."""
    code, printed = amtool("config", "routes", "test", f"--config.file={FILE}", "alertname=LokiStagnation")

    assert code == 0, printed
    assert "slack" in printed.splitlines()


def test_neither_groups_nor_inhibition_mix_the_projects_of_one_exporter() -> None:
    """`exported_project` is what tells them apart where a target label `project` pushed theirs aside."""
    whole = yaml.safe_load(FILE.read_text("utf-8"))
    (inhibition,) = whole["inhibit_rules"]

    assert {"job", "instance", "project", "exported_project"} == set(inhibition["equal"])
    assert {"alertname", "project", "exported_project"} == set(whole["route"]["group_by"])


def test_the_documented_template_does_not_work_and_ours_says_what_is_wrong(
    amtool: Amtool, tmp_path: Path
) -> None:
    """A message is made of the group of alerts, in which the documented `.Annotations` does not exist."""
    (slack,) = yaml.safe_load(FILE.read_text("utf-8"))["receivers"][0]["slack_configs"]
    (tmp_path / "none.tmpl").write_text("")
    alert = {"status": "firing", "annotations": {"summary": "It stopped", "description": "Since 5 minutes."}}
    group = {"status": "firing", "commonLabels": {"alertname": "LokiSessionDown"}, "alerts": [alert]}
    (tmp_path / "group.json").write_text(json.dumps(group))

    def render(text: str) -> tuple[int, str]:
        where = [f"--template.glob={tmp_path}/none.tmpl", f"--template.data={tmp_path}/group.json"]
        code, printed = amtool("template", "render", *where, f"--template.text={text}")
        return code, printed.strip()

    assert render("Loki Mode cost: ${{ .Annotations.description }}")[0] != 0
    assert render(slack["title"]) == (0, "FIRING: LokiSessionDown")
    assert render(slack["text"]) == (0, "Loki Mode: It stopped. Since 5 minutes.")
