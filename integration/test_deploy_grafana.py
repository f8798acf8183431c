"""The queries of `deploy/grafana` are asked of a real Prometheus that scrapes live exporters."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import yaml

from integration.containers import Prometheus, eventually
from integration.deploy_session import DEPLOY, MAX_ITERATIONS, running_session

DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/loki-mode.json").read_text("utf-8"))
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}
ALL_PROJECTS = next(v for v in DASHBOARD["templating"]["list"] if v["name"] == "project")["allValue"]
EXPORTERS = {"one": "one plain directory, no label project", "many": "a glob, label project"}


def asked(expr: str, *, project: str = ALL_PROJECTS) -> str:
    """Return a panel's query as Grafana sends it, several projects being joined by `|`."""
    return expr.replace("$project", project)


@pytest.fixture(scope="module")
def server(
    module_prometheus: Callable[..., Prometheus],
    module_exporter: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    """Give a Prometheus that has scraped both kinds of exporter for a while, each as its own job."""
    root = tmp_path_factory.mktemp("projects")
    with contextlib.ExitStack() as stack:
        for name in ("alone", "shop", "blog"):
            parent = root / ("single" if name == "alone" else "several") / name
            stack.enter_context(running_session(parent / ".loki", project=name))
        one = module_exporter("--loki-dir", str(root / "single/alone/.loki"), "--cache-seconds", "0")
        many = module_exporter("--loki-dir", f"{root}/several/*/.loki", "--cache-seconds", "0")
        prometheus = module_prometheus(
            f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: one
    static_configs: [{{targets: ["{one.target}"]}}]
  - job_name: many
    static_configs: [{{targets: ["{many.target}"]}}]
"""
        )
        eventually(
            lambda: len(prometheus.query("count_over_time(loki_cost_usd[5m]) >= 5")) == 3,
            within_s=60,
            what="five scrapes of each session",
        )
        yield prometheus


@pytest.mark.parametrize("title", PANELS)
@pytest.mark.parametrize("job", EXPORTERS)
def test_every_query_of_a_panel_returns_data(server: Prometheus, job: str, title: str) -> None:
    """With "All" chosen each panel shows data of an exporter with the label project, and of one without."""
    for target in PANELS[title]["targets"]:
        expr = asked(target["expr"]).replace("{project=~", f'{{job="{job}",project=~')

        result = server.query(expr)

        assert result, f"{job}: {expr}"
        assert not [series for series in result if series["value"][1] in {"NaN", "+Inf"}]


@pytest.mark.parametrize("title", PANELS)
def test_a_chosen_project_alone_is_shown(server: Prometheus, title: str) -> None:
    """A chosen project narrows each panel; one that is not there leaves it empty."""
    for target in PANELS[title]["targets"]:
        assert server.query(asked(target["expr"], project="shop"))
        assert server.query(asked(target["expr"], project="shop|blog"))
        assert server.query(asked(target["expr"], project="nobody")) == []


def test_the_legends_tell_the_series_apart(server: Prometheus) -> None:
    """Each `{{label}}` of a legend is a label that the result has, and no two series have the same legend."""
    for title, panel in PANELS.items():
        for target in panel["targets"]:
            result = server.query(asked(target["expr"], project="shop|blog"))
            legends = [_legend(target["legendFormat"], series["metric"]) for series in result]
            assert len(set(legends)) == len(legends), (title, legends)
            assert "" not in legends, title


def _legend(template: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        template = template.replace("{{" + name + "}}", value)
    assert "{{" not in template, (template, labels)
    return template.strip()


def test_the_variable_offers_the_projects_there_are(server: Prometheus) -> None:
    """What Grafana asks for `label_values(loki_session_status, project)`."""
    answer = requests.get(
        f"{server.url}/api/v1/label/project/values", params={"match[]": "loki_session_status"}, timeout=5
    )

    assert answer.json()["data"] == ["blog", "shop"]


def test_the_panels_show_what_the_session_is(server: Prometheus) -> None:
    """Not just any data: the progress is of the runner's own maximum, and a running session is 1 or 2."""
    progress = PANELS["Iteration Progress"]["targets"][0]["expr"]
    status = PANELS["Session Status"]["targets"][0]["expr"]

    percents = [float(series["value"][1]) for series in server.query(asked(progress))]

    assert len(percents) == 3
    assert all(100 / MAX_ITERATIONS <= percent <= 100 for percent in percents)
    assert {series["value"][1] for series in server.query(asked(status))} <= {"1", "2"}


def test_the_query_of_the_grafana_alert_returns_the_cost_of_each_session(server: Prometheus) -> None:
    """The provisioned alert's query gives one series a session over its time range."""
    text = (DEPLOY / "grafana/provisioning/alerting/loki-mode.yml").read_text("utf-8")
    (rule,) = yaml.safe_load(text)["groups"][0]["rules"]
    query = rule["data"][0]

    result = server.query(f"last_over_time({query['model']['expr']}[{query['relativeTimeRange']['from']}s])")

    assert len(result) == 3
    assert all(float(series["value"][1]) > 0 for series in result)
