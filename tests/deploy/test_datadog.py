from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

FOLDER = Path(__file__).parent.parent.parent / "deploy/datadog"
CONFIGS = {"V2": FOLDER / "openmetrics.d/loki_mode.yaml", "V1": FOLDER / "v1/loki_mode.yaml"}
COST_USD = 0.75
EVENTS = 3
DOCUMENTED = {
    "loki.session_status": 1,
    "loki.iteration_current": 2,
    "loki.iteration_max": 77,
    "loki.tasks_total": {"pending": 2, "in_progress": 1, "completed": 1, "failed": 0},
    "loki.agents_active": 1,
    "loki.agents_total": 2,
    "loki.cost_usd": COST_USD,
    "loki.events_total": EVENTS,
    "loki.uptime_seconds": None,  # only that it is there
}
"""Name and value of each documented metric of the session below."""

Arrived = list[tuple[str, str, float, list[str]]]
Check = Callable[[Path], Arrived]


def write_session(loki_dir: Path) -> None:
    """Write a session whose runner is this test."""
    files: dict[str, Any] = {
        "queue/pending.json": [{"id": "a"}, {"id": "b"}],
        "queue/in-progress.json": [{"id": "c"}],
        "queue/completed.json": [{"id": "d"}],
        "queue/failed.json": [],
        "state/agents.json": [
            {"tool_id": "one", "status": "active"},
            {"tool_id": "two", "status": "completed"},
        ],
        "metrics/budget.json": {"limit": 5, "budget_limit": 5, "budget_used": 0.75, "exceeded": False},
        "metrics/efficiency/iteration-1.json": {
            "iteration": 1,
            "model": "sonnet",
            "input_tokens": 1000,
            "output_tokens": 200,
            "cost_usd": COST_USD,
        },
    }
    for name, content in files.items():
        path = loki_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    (loki_dir / "loki.pid").write_text(f"{os.getpid()}\n")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    events = [
        ("session_start", {}),
        ("iteration_complete", {"iteration": 1, "status": "completed"}),
        ("iteration_start", {"iteration": 2}),
    ]
    lines = [json.dumps({"timestamp": now, "type": kind, "data": data}) for kind, data in events]
    (loki_dir / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))


@contextlib.contextmanager
def exporter(loki_dir: Path) -> Iterator[str]:
    """Run the exporter on the session, and give the URL of its metrics."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listen = ["--web.listen-address", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter", "serve", *listen, "--loki-dir", loki_dir, "--pids", "visible"],
        # This test's own environment at its start cannot be changed, and the limit is read there first.
        env={**os.environ, "LOKI_MAX_ITERATIONS": "77"},
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            with contextlib.suppress(requests.ConnectionError):
                requests.get(f"http://127.0.0.1:{port}/-/ready", timeout=5).raise_for_status()
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/metrics"
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(name="check", scope="module")
def _check(tools_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Check]:
    """Give a function that runs a configuration on a live exporter with the Agent's check class."""
    loki_dir = tmp_path_factory.mktemp("project") / ".loki"
    write_session(loki_dir)
    with exporter(loki_dir) as url:

        def check(config: Path, **env: str) -> Arrived:
            done = subprocess.run(
                [tools_python, Path(__file__).parent / "datadog_check.py", config, url],
                env={**os.environ, **env},
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr[-2000:]
            return [(name, kind, value, tags) for name, kind, value, tags in json.loads(done.stdout)]

        # What stands in for the Agent refuses tags like `service`: an operator may set them, an exporter not.
        yield lambda config: check(config, DDEV_SKIP_GENERIC_TAGS_CHECK="1")


def test_each_file_is_for_one_version_of_the_check() -> None:
    """The Agent chooses by this key; both in one folder would count everything twice."""
    chosen = {
        version: yaml.safe_load(path.read_text("utf-8"))["instances"] for version, path in CONFIGS.items()
    }

    assert [next(iter(instance)) for (instance,) in chosen.values()] == [
        "openmetrics_endpoint",
        "prometheus_url",
    ]
    assert CONFIGS["V1"].parent != CONFIGS["V2"].parent


@pytest.mark.parametrize("version", CONFIGS)
def test_every_documented_name_arrives_as_a_gauge_with_its_value(check: Check, version: str) -> None:
    """loki.session_status, loki.cost_usd and the other seven, with the numbers of the files."""
    arrived = check(CONFIGS[version])

    for name, expected in DOCUMENTED.items():
        of_name = [(kind, value, tags) for found, kind, value, tags in arrived if found == name]
        assert {kind for kind, _, _ in of_name} == {"gauge"}, name
        if isinstance(expected, dict):
            by_status = {_tag(tags, "status"): value for _, value, tags in of_name}
            assert by_status == expected
        elif expected is not None:
            assert [value for _, value, _ in of_name] == [expected], name
        else:
            assert len(of_name) == 1, name


def _tag(tags: list[str], key: str) -> str:
    (value,) = [tag.partition(":")[2] for tag in tags if tag.startswith(f"{key}:")]
    return value


@pytest.mark.parametrize("version", CONFIGS)
def test_what_the_exporter_adds_arrives_too(check: Check, version: str) -> None:
    """Counters by kind and outcome, tokens, budget, health of the source: name, type and value."""
    arrived = {
        (name, kind, *sorted(_labels(tags))): value for name, kind, value, tags in check(CONFIGS[version])
    }

    assert arrived["loki.mode.events.count", "monotonic_count", "kind:session_start"] == 1
    assert arrived["loki.mode.iterations.count", "monotonic_count", "outcome:completed"] == 1
    assert arrived["loki.mode.tokens", "gauge", "kind:input", "model:sonnet"] == 1000
    assert arrived["loki.mode.model_cost_usd", "gauge", "model:sonnet"] == COST_USD
    assert arrived["loki.mode.budget_limit_usd", "gauge"] == 5
    assert arrived["loki.mode.budget_used_usd", "gauge"] == COST_USD
    assert arrived["loki.exporter.source_up", "gauge", "source:loki-mode"] == 1


def _labels(tags: list[str]) -> Iterator[str]:
    return (tag for tag in tags if tag.partition(":")[0] not in {"endpoint", "environment", "service"})


def test_both_versions_send_the_same_names_types_and_values(check: Check) -> None:
    """Whoever changes from V1 to V2 keeps the dashboards."""

    def series(version: str) -> dict[tuple[str, ...], float]:
        arrived = check(CONFIGS[version])
        return {
            (name, kind, *sorted(_labels(tags))): value
            for name, kind, value, tags in arrived
            if name != "loki.uptime_seconds"  # time goes on
            and not name.startswith("loki.prometheus.")  # V1 of itself
        }

    assert series("V1") == series("V2")


@pytest.mark.parametrize("version", CONFIGS)
def test_every_series_has_the_documented_tags(check: Check, version: str) -> None:
    """environment:production and service:loki-mode."""
    for name, _, _, tags in check(CONFIGS[version]):
        if not name.startswith("loki.prometheus."):
            assert {"environment:production", "service:loki-mode"} <= set(tags), name


@pytest.mark.parametrize("version", CONFIGS)
def test_every_name_in_the_mapping_arrives(check: Check, version: str) -> None:
    """No line of the mapping is one of those that Datadog leaves out without a word."""
    (instance,) = yaml.safe_load(CONFIGS[version].read_text("utf-8"))["instances"]
    mapped = [target for entry in instance["metrics"] for target in entry.values()]
    names = {target["name"] if isinstance(target, dict) else target for target in mapped}

    arrived = {name.removeprefix("loki.") for name, _, _, _ in check(CONFIGS[version])}

    assert {name for name in names if name not in arrived and f"{name}.count" not in arrived} == set()


@pytest.mark.parametrize("version", CONFIGS)
def test_no_label_of_the_exporter_is_one_that_datadog_keeps_for_itself(
    check: Check, version: str, tmp_path: Path
) -> None:
    """Without the operator's tags nothing has `service`, `env`, `host` or `version`, which is refused."""
    whole = yaml.safe_load(CONFIGS[version].read_text("utf-8"))
    del whole["instances"][0]["tags"]
    config = tmp_path / "loki_mode.yaml"
    config.write_text(yaml.safe_dump(whole))

    labels = {tag.partition(":")[0] for _, _, _, tags in check(config) for tag in tags}

    assert labels.isdisjoint({"host", "hostname", "host_name", "service", "env", "version", "cluster"})


def test_the_documented_list_without_a_mapping_gives_other_names(check: Check, tmp_path: Path) -> None:
    """Why the files have a mapping: the documented list gives loki.loki_session_status, in V1 as in V2."""
    documented = [
        *("session_status", "iteration_current", "iteration_max", "tasks_total", "agents_active"),
        *("agents_total", "cost_usd", "events_total", "uptime_seconds"),
    ]
    instance = {"namespace": "loki", "metrics": [f"loki_{name}" for name in documented]}
    found = {}
    for version, key in (("V1", "prometheus_url"), ("V2", "openmetrics_endpoint")):
        config = tmp_path / f"{version}.yaml"
        config.write_text(yaml.safe_dump({"instances": [{key: "http://x", **instance}]}))
        found[version] = {name for name, _, _, _ in check(config) if ".prometheus." not in name}

    assert found["V1"] == {f"loki.loki_{name}" for name in documented}
    assert found["V2"] == found["V1"] - {"loki.loki_events_total"}
