from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter import selfmetrics
from exporter.source import Family, Kind
from exporter.sources.loki_mode import families

FOLDER = Path(__file__).parent.parent.parent / "deploy/grafana"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "loki-mode.json").read_text("utf-8"))
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
PROJECT = '{project=~"$project"}'
DOCUMENTED = {
    "Session Status": ("stat", "loki_session_status"),
    "Iteration Progress": ("gauge", "loki_iteration_current / loki_iteration_max * 100"),
    "Task Distribution": ("piechart", "sum by (status) (loki_tasks_total)"),
    "Active Agents": ("timeseries", "loki_agents_active"),
    "Cost": ("stat", "loki_cost_usd"),
    "Event Rate": ("timeseries", "rate(loki_events_total[5m])"),
    "Uptime": ("stat", "loki_uptime_seconds"),
}
"""Kind and query. The sum makes one pie of several projects; `graph` is `timeseries` since Grafana 8."""

Schema = Callable[..., list[str]]


@pytest.fixture(name="schema", scope="module")
def _schema(tools_python: str) -> Schema:
    """Give a function that returns what of a dashboard or a rule Grafana's types do not know."""

    def unknown(given: dict[str, Any], kind: str = "Dashboard") -> list[str]:
        done = subprocess.run(
            [tools_python, Path(__file__).parent / "grafana_schema.py", kind],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.split()

    return unknown


def defaults(title: str) -> dict[str, Any]:
    """Return the field settings of a panel."""
    found: dict[str, Any] = PANELS[title]["fieldConfig"]["defaults"]
    return found


def test_the_dashboard_is_made_of_what_grafanas_schema_knows(schema: Schema) -> None:
    """Every property of dashboard, panels, options and queries is one of Grafana's own (10.1 and later)."""
    assert schema(DASHBOARD) == []


def test_the_schema_check_notices_a_misspelt_option(schema: Schema) -> None:
    """A typing error in an option, a query or a field setting does not pass."""
    broken = copy.deepcopy(DASHBOARD)
    panel = broken["panels"][1]
    panel["options"]["grafMode"] = "none"
    panel["targets"][0]["exprr"] = "up"
    panel["fieldConfig"]["defaults"]["decimalz"] = 2

    assert schema(broken) == [
        "/panels/1/fieldConfig/defaults/decimalz",
        "/panels/1/options/grafMode",
        "/panels/1/targets/0/exprr",
    ]


@pytest.mark.parametrize("title", DOCUMENTED)
def test_the_documented_panels_have_the_documented_kind_and_query(title: str) -> None:
    """Apart from the choice of a project, the query is the documented one."""
    (target,) = PANELS[title]["targets"]

    assert (PANELS[title]["type"], target["expr"].replace(PROJECT, "")) == DOCUMENTED[title]


def test_the_documented_panels_come_first_and_ours_are_in_a_second_row() -> None:
    """Seven documented panels, then a row of its own for what we add."""
    order = [panel["title"] for panel in sorted(DASHBOARD["panels"], key=lambda p: p["id"])]
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]

    assert len(rows) == 2
    between = order[1 : order.index(rows[1])]
    assert set(between) == DOCUMENTED.keys()


def test_the_status_is_stopped_red_running_green_paused_yellow() -> None:
    """The documented value mappings."""
    (mapping,) = defaults("Session Status")["mappings"]

    assert {value: (to["text"], to["color"]) for value, to in mapping["options"].items()} == {
        "0": ("Stopped", "red"),
        "1": ("Running", "green"),
        "2": ("Paused", "yellow"),
    }


def test_the_units_and_decimals_are_the_documented_ones() -> None:
    """Percent from 0 to 100, US dollars with two decimals, a duration made of seconds."""
    assert defaults("Iteration Progress")["unit"] == "percent"
    assert (defaults("Iteration Progress")["min"], defaults("Iteration Progress")["max"]) == (0, 100)
    assert (defaults("Cost")["unit"], defaults("Cost")["decimals"]) == ("currencyUSD", 2)
    assert defaults("Uptime")["unit"] == "dtdurations"


def test_the_progress_is_yellow_up_to_50_and_green_from_there() -> None:
    """The documented thresholds."""
    steps = defaults("Iteration Progress")["thresholds"]["steps"]

    assert [(step["value"], step["color"]) for step in steps] == [(None, "yellow"), (50, "green")]


def test_the_legends_are_the_documented_ones() -> None:
    """`{{status}}`, Active Agents and Events per second, the latter two with the project, if there is one."""
    legends = {title: PANELS[title]["targets"][0]["legendFormat"] for title in DOCUMENTED}

    assert legends["Task Distribution"] == "{{status}}"
    assert legends["Active Agents"] == "Active Agents {{project}}"
    assert legends["Event Rate"] == "Events per second {{project}}"


def test_every_metric_in_every_query_is_narrowed_to_the_chosen_projects() -> None:
    """No query shows other projects than the chosen ones."""
    for panel in PANELS.values():
        for target in panel["targets"]:
            names = re.findall(r"\b(?:loki|tallyship)_\w+(\{[^}]*\})?", target["expr"])
            assert names, target["expr"]
            assert set(names) == {PROJECT}, target["expr"]


def test_every_metric_in_every_query_is_one_that_the_exporter_has() -> None:
    """Names as on the page: a counter with `_total`, a gauge as it is."""
    defined = [*families.ALL, *(value for value in vars(selfmetrics).values() if isinstance(value, Family))]
    names = {family.name: family.kind for family in defined}
    for panel in PANELS.values():
        for target in panel["targets"]:
            for name in re.findall(r"\b(?:loki|tallyship)_\w+", target["expr"]):
                assert name in names, name
                is_rate = re.search(rf"(rate|increase)\({name}", target["expr"]) is not None
                assert is_rate == (names[name] is Kind.COUNTER), target["expr"]


def test_all_projects_include_a_series_without_the_label() -> None:
    """`.*` matches the absent label too; a list of the known projects would not."""
    assert VARIABLES["project"]["includeAll"] is True
    assert VARIABLES["project"]["allValue"] == ".*"
    assert VARIABLES["project"]["current"]["value"] == ["$__all"]


def test_the_data_source_is_a_variable_everywhere() -> None:
    """The dashboard can be imported beside any name of a data source."""
    assert VARIABLES["datasource"]["query"] == "prometheus"
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    sources = [VARIABLES["project"]["datasource"]]
    for panel in PANELS.values():
        sources += [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert all(source == chosen for source in sources)


def test_panels_have_their_own_ids_and_do_not_overlap() -> None:
    """24 columns wide, each cell taken once, each id given once."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    cells: list[tuple[int, int]] = []
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells += [
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        ]
    assert len(set(ids)) == len(ids)
    assert len(set(cells)) == len(cells)
    assert len(cells) == 24 * (max(y for _, y in cells) + 1), "the grid has a hole"


def test_the_provisioned_alert_is_the_documented_condition() -> None:
    """WHEN last() OF query(A, 5m, now) IS ABOVE 4.5, evaluated every minute for five."""
    (group,) = yaml.safe_load((FOLDER / "provisioning/alerting/loki-mode.yml").read_text("utf-8"))["groups"]
    (rule,) = group["rules"]
    steps = {step["refId"]: step for step in rule["data"]}
    condition = steps[rule["condition"]]["model"]
    reduced = steps[condition["expression"]]["model"]
    query = steps[reduced["expression"]]

    assert (group["interval"], rule["for"]) == ("1m", "5m")
    assert condition["conditions"] == [{"evaluator": {"type": "gt", "params": [4.5]}}]
    assert reduced["reducer"] == "last"
    assert query["relativeTimeRange"] == {"from": 300, "to": 0}
    assert query["model"]["expr"] == "loki_cost_usd"


def test_the_provisioned_alert_is_made_of_what_grafanas_schema_knows(schema: Schema) -> None:
    """Every property of the rule is one of Grafana's own, and a misspelt one is noticed."""
    (group,) = yaml.safe_load((FOLDER / "provisioning/alerting/loki-mode.yml").read_text("utf-8"))["groups"]
    (rule,) = group["rules"]

    assert schema(rule, "Rule") == []
    assert schema({**rule, "noDataStat": "OK"}, "Rule") == ["/noDataStat"]


def test_the_provisioned_alert_points_at_the_data_source_and_the_panel_that_are_there() -> None:
    """Its data source is the provisioned one, its panel the one that shows the cost."""
    (source,) = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yml").read_text("utf-8"))[
        "datasources"
    ]
    (group,) = yaml.safe_load((FOLDER / "provisioning/alerting/loki-mode.yml").read_text("utf-8"))["groups"]
    (rule,) = group["rules"]

    assert rule["data"][0]["datasourceUid"] == source["uid"]
    assert rule["annotations"]["__dashboardUid__"] == DASHBOARD["uid"]
    assert rule["annotations"]["__panelId__"] == str(PANELS["Cost"]["id"])


def test_every_provisioning_file_has_the_version_that_grafana_asks_for() -> None:
    """`apiVersion: 1`, without which Grafana reads the file in an old form or not at all."""
    files = sorted((FOLDER / "provisioning").rglob("*.yml"))

    assert {path.parent.name for path in files} == {"alerting", "dashboards", "datasources"}
    assert all(yaml.safe_load(path.read_text("utf-8"))["apiVersion"] == 1 for path in files)


def test_the_picture_shows_this_dashboard() -> None:
    """docs/images/dashboard.png holds the queries that it was drawn from; after a change, draw it again."""
    picture = (FOLDER.parent.parent / "docs/images/dashboard.png").read_bytes()
    queries = [f"{title}: {target['expr']}" for title, panel in PANELS.items() for target in panel["targets"]]

    assert picture.startswith(b"\x89PNG")
    assert "\n".join(queries).encode() in picture
