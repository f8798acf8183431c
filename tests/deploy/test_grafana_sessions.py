from __future__ import annotations

import copy
import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from shipper.sources.llm_proxy import LOG_TYPES

FOLDER = Path(__file__).parent.parent.parent / "deploy/grafana"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "llm-sessions.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
LABELS = {"app", "environment", "machine", "provider", "log_type"}
METADATA = {"session_id", "request_id", "model", "line_id", "part", "parts"}


def unknown(tools_python: str, given: dict[str, Any]) -> list[str]:
    """Return what of a dashboard Grafana's own types do not know."""
    done = subprocess.run(
        [tools_python, Path(__file__).parent / "grafana_schema.py", "Dashboard"],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split()


def provisioned(path: str) -> dict[str, Any]:
    """Return the one entry of a provisioning file."""
    found = yaml.safe_load((FOLDER / "provisioning" / path).read_text("utf-8"))
    (entry,) = found.get("datasources") or found["providers"]
    assert isinstance(entry, dict)
    return entry


def test_the_dashboard_is_made_of_what_grafanas_schema_knows(tools_python: str) -> None:
    """Every property of dashboard, panels, options and Loki queries is one of Grafana's own."""
    assert unknown(tools_python, DASHBOARD) == []


def test_the_schema_check_notices_a_misspelt_option_of_a_loki_query(tools_python: str) -> None:
    """A typing error in a query or in an option of the log panel does not pass."""
    broken = copy.deepcopy(DASHBOARD)
    number = next(n for n, panel in enumerate(broken["panels"]) if panel["type"] == "logs")
    broken["panels"][number]["options"]["sortOder"] = "Ascending"
    broken["panels"][number]["targets"][0]["maxLine"] = 1

    assert unknown(tools_python, broken) == [
        f"/panels/{number}/options/sortOder",
        f"/panels/{number}/targets/0/maxLine",
    ]


def test_what_was_asked_for_is_there() -> None:
    """Recent sessions, lines by type and provider, errors, latency, tokens, one session's transcript."""
    kinds = {panel["title"]: panel["type"] for panel in PANELS}

    assert kinds["Recent Sessions"] == "table"
    assert kinds["Lines by Type"] == kinds["Lines by Provider"] == kinds["Errors by Status"] == "timeseries"
    assert kinds["Latency"] == kinds["Tokens"] == "timeseries"
    assert kinds["Latest Errors"] == kinds["Transcript"] == kinds["Lines"] == "logs"
    assert VARIABLES["session"]["type"] == "textbox"
    assert len(kinds) == len(PANELS), "two panels have one title"


def test_every_selector_has_only_labels_and_types_that_the_shipper_sends() -> None:
    """Session, request and model are metadata: as a label they would find nothing."""
    for target in TARGETS:
        selectors = re.findall(r"(?<![{`])\{(app=[^}]*)\}", target["expr"])
        assert selectors, target["expr"]
        for selector in selectors:
            matchers = dict(re.findall(r'(\w+)=~?"([^"]*)"', selector))
            assert matchers.keys() <= LABELS
            assert matchers["app"] == "llm-proxy"
            assert matchers.get("log_type", "request") in LOG_TYPES


def test_every_metadata_name_is_one_that_the_shipper_sends() -> None:
    """What is filtered and grouped by is a label, metadata, or made by the query itself."""
    for target in TARGETS:
        outside = re.sub(r"`[^`]*`", "", target["expr"])
        made = set(re.findall(r"\?P<(\w+)>", target["expr"]))
        used = set(re.findall(r"\| (\w+) ?(?:=|!=|>=)", outside))
        used |= {
            name.strip() for names in re.findall(r"by \(([^)]*)\)", outside) for name in names.split(",")
        }
        assert used <= LABELS | METADATA | made, (used, target["expr"])


def test_panels_have_their_own_ids_and_do_not_overlap() -> None:
    """24 columns wide, each cell taken once, no hole, each id given once."""
    cells: Counter[tuple[int, int]] = Counter()
    for grid in (panel["gridPos"] for panel in DASHBOARD["panels"]):
        assert grid["x"] + grid["w"] <= 24
        cells.update(
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        )
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert set(cells.values()) == {1}
    assert len(cells) == 24 * (max(y for _, y in cells) + 1)


def test_the_data_source_is_a_variable_everywhere() -> None:
    """The dashboard can be imported beside any name of a Loki data source."""
    chosen = {"type": "loki", "uid": "${datasource}"}

    assert VARIABLES["datasource"]["query"] == "loki"
    assert all(one["datasource"] == chosen for one in (*PANELS, *TARGETS))
    assert all(one["datasource"] == chosen for one in VARIABLES.values() if one["type"] == "query")


def test_a_click_on_a_session_keeps_what_was_chosen() -> None:
    """Each link leads to this dashboard, with time, data source and choices, and sets the session."""
    text = json.dumps(DASHBOARD)
    links = re.findall(r'"url": "([^"]*)"', text)

    assert len(links) == 2
    for url in links:
        assert url.startswith(f"/d/{DASHBOARD['uid']}?${{__url_time_range}}&")
        kept = set(re.findall(r"\$\{(\w+):queryparam\}", url))
        assert kept == VARIABLES.keys() - {"session"}
        assert "&var-session=${__" in url


def test_the_data_source_is_provisioned_with_a_link_to_a_session() -> None:
    """A Loki, not the default beside Prometheus, whose lines lead to the dashboard by their metadata."""
    source = provisioned("datasources/loki.yml")
    (field,) = source["jsonData"]["derivedFields"]

    assert source["type"] == "loki"
    assert "isDefault" not in source
    assert (field["matcherType"], field["matcherRegex"]) == ("label", "session_id")
    assert field["url"] == f"/d/{DASHBOARD['uid']}?var-session=$${{__value.raw}}"


def test_the_dashboard_is_provisioned_from_the_folder_that_the_readme_names() -> None:
    """The provider's path is where the README puts the file."""
    path = provisioned("dashboards/llm-sessions.yml")["options"]["path"]

    assert f"`{path}/`" in (FOLDER.parent / "README.md").read_text("utf-8")
