"""A real Prometheus scrapes the exporter, and the queries of Loki Mode's documentation are asked of it."""

from __future__ import annotations

import datetime as dt
import json
import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from integration.containers import Prometheus, eventually

MAX_ITERATIONS = 400
BOTH = {"text", "openmetrics"}
TEXT, OPENMETRICS = "PrometheusText0.0.4", "OpenMetricsText1.0.0"

GAUGES_NAMED_TOTAL = {"loki_tasks_total", "loki_agents_total"}
"""Names that Loki Mode's documentation gives to gauges: the one thing that a linter may say."""


class Session:
    """A run of Loki Mode; each step adds events, a finished task and an efficiency record."""

    def __init__(self, root: pathlib.Path, pid: int) -> None:
        self.loki_dir = root / ".loki"
        self.iteration = 0
        for folder in ("queue", "state", "metrics/efficiency"):
            (self.loki_dir / folder).mkdir(parents=True)
        (self.loki_dir / "loki.pid").write_text(f"{pid}\n")
        self._replace("state/agents.json", self._agents())
        self._replace("queue/pending.json", [{"id": f"task-{n}"} for n in range(5)])
        self._replace("queue/in-progress.json", [{"id": "task-9"}, {"id": "task-10"}])
        self._replace("queue/failed.json", [{"id": "task-11"}])
        self._event("session_start", provider="claude", pid=pid)
        self.step()

    def step(self) -> None:
        """Finish one iteration and begin the next."""
        self.iteration += 1
        self._event("iteration_start", iteration=self.iteration, provider="claude")
        self._replace("queue/completed.json", {"tasks": [{"id": f"done-{n}"} for n in range(self.iteration)]})
        record = {
            "iteration": self.iteration,
            "model": "sonnet",
            "status": "completed",
            "input_tokens": 1000,
            "output_tokens": 200,
            "cost_usd": 0.25,
            "timestamp": _now(),
        }
        self._replace(f"metrics/efficiency/iteration-{self.iteration}.json", record)
        self._event("iteration_complete", iteration=self.iteration, status="completed", exitCode=0)
        self._replace(
            "dashboard-state.json",
            {
                "timestamp": _now(),
                "version": "5.46.0",
                "mode": "autonomous",
                "phase": "DEVELOPMENT",
                "provider": "claude",
                "iteration": 0,
                "project": {"name": "demo", "path": str(self.loki_dir.parent)},
                "tasks": {"pending": [], "inProgress": [], "review": [], "completed": [], "failed": []},
                "agents": self._agents(),
            },
        )

    def _agents(self) -> list[dict[str, Any]]:
        states = ["active", "active", "completed"]
        return [
            {"agent_id": f"agent-{n}", "tool_id": f"tool-{n}", "status": state}
            for n, state in enumerate(states)
        ]

    def _event(self, kind: str, **data: Any) -> None:
        with (self.loki_dir / "events.jsonl").open("a") as events:
            events.write(json.dumps({"timestamp": _now(), "type": kind, "data": data}) + "\n")

    def _replace(self, name: str, content: Any) -> None:
        path = self.loki_dir / name
        path.with_name(path.name + ".tmp").write_text(json.dumps(content))
        path.with_name(path.name + ".tmp").replace(path)


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Give a session whose runner is a living process, with a step each half second until the tests end."""
    sleeper = [sys.executable, "-c", "import time; time.sleep(900)"]
    runner = subprocess.Popen(sleeper, env={**os.environ, "LOKI_MAX_ITERATIONS": str(MAX_ITERATIONS)})
    running, over = Session(tmp_path_factory.mktemp("project"), runner.pid), threading.Event()

    def progress() -> None:
        while not over.wait(0.5):
            running.step()

    thread = threading.Thread(target=progress)
    thread.start()
    yield running
    over.set()
    thread.join()
    runner.kill()
    runner.wait()


@pytest.fixture(scope="module")
def scraped(
    module_prometheus: Callable[..., Prometheus], module_exporter: Callable[..., Any], session: Session
) -> Prometheus:
    """Give a Prometheus that has scraped the session in both formats, so that each query has its data."""
    served = module_exporter("--loki-dir", str(session.loki_dir), "--cache-seconds", "0")
    server = module_prometheus(
        f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: text
    scrape_protocols: [{TEXT}]
    static_configs: [{{targets: ["{served.target}"]}}]
  - job_name: openmetrics
    scrape_protocols: [{OPENMETRICS}]
    static_configs: [{{targets: ["{served.target}"]}}]
"""
    )
    eventually(
        lambda: len(server.query("count_over_time(loki_events_total[5m]) >= 5")) == len(BOTH),
        within_s=60,
        what="five scrapes of each job",
    )
    return server


def values(server: Prometheus, expr: str) -> dict[str, float]:
    """Return the result of an instant query by job; each job must have one series at most."""
    result = server.query(expr)
    by_job = {series["metric"].get("job", ""): float(series["value"][1]) for series in result}
    assert len(by_job) == len(result), result
    return by_job


def test_prometheus_scrapes_both_formats_and_up_is_1(scraped: Prometheus) -> None:
    """Text 0.0.4 and OpenMetrics 1.0 are both taken whole, sample by sample the same families."""
    assert values(scraped, "up") == {"text": 1, "openmetrics": 1}
    assert [target["lastError"] for target in scraped.targets()] == ["", ""]
    assert values(scraped, "scrape_samples_scraped > 30").keys() == BOTH
    for one, other in (("text", "openmetrics"), ("openmetrics", "text")):
        only = (
            f'{{__name__=~"loki_.+", job="{one}"}} unless on(__name__) {{__name__=~"loki_.+", job="{other}"}}'
        )
        assert scraped.query(only) == []


def test_each_format_is_really_the_one_that_was_negotiated(
    exporter: Callable[..., Any], session: Session
) -> None:
    """The two jobs differ in nothing but the Accept header, so its two answers are looked at here."""
    served = exporter("--loki-dir", str(session.loki_dir))
    accept = {
        "text/plain;version=0.0.4;q=0.6,*/*;q=0.5": "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text;version=1.0.0;q=0.6,*/*;q=0.5": (
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        ),
    }

    answers = {
        asked: requests.get(f"{served.url}/metrics", headers={"Accept": asked}, timeout=5) for asked in accept
    }

    assert {asked: answer.headers["Content-Type"] for asked, answer in answers.items()} == accept
    text, openmetrics = (answer.text for answer in answers.values())
    assert "# TYPE loki_events_total counter" in text
    assert "# EOF" not in text
    assert "# TYPE loki_events counter" in openmetrics
    assert openmetrics.endswith("# EOF\n")


def test_documented_query_1_finds_the_running_session(scraped: Prometheus) -> None:
    """`loki_session_status == 1` returns the session while it runs."""
    assert values(scraped, "loki_session_status == 1") == dict.fromkeys(BOTH, 1)


def test_documented_query_2_gives_the_progress_in_percent(scraped: Prometheus, session: Session) -> None:
    """The current iteration comes from the events and the maximum from the runner's own environment."""
    progress = values(scraped, "loki_iteration_current / loki_iteration_max * 100")
    iteration_now = session.iteration

    assert values(scraped, "loki_iteration_max") == dict.fromkeys(BOTH, MAX_ITERATIONS)
    assert progress.keys() == BOTH
    for percent in progress.values():
        # A scrape is up to a second and two iterations old, more on a busy machine.
        assert 0.5 * iteration_now <= percent * MAX_ITERATIONS / 100 <= iteration_now


def test_documented_query_3_is_empty_as_written_and_a_sum_over_status_works(scraped: Prometheus) -> None:
    """Vector addition matches on all labels, so two values of `status` never meet; a sum drops that label."""
    written = 'loki_tasks_total{status="pending"} + loki_tasks_total{status="in_progress"}'
    works = 'sum without(status)(loki_tasks_total{status=~"pending|in_progress"})'

    assert scraped.query(written) == []
    assert values(scraped, works) == dict.fromkeys(BOTH, 7)


def test_documented_query_4_gives_the_cost_of_the_last_hour(scraped: Prometheus) -> None:
    """The session is younger than an hour, so the rate over it times 3600 is what it has cost since."""
    per_hour = values(scraped, "rate(loki_cost_usd[1h]) * 3600")
    since_first = values(scraped, "max_over_time(loki_cost_usd[1h]) - min_over_time(loki_cost_usd[1h])")

    assert per_hour.keys() == BOTH
    for job, cost in per_hour.items():
        # The rate extends by up to half an interval at each end, and a scrape may lie between the queries.
        assert 0 < since_first[job] * 0.7 <= cost <= since_first[job] * 1.7, (per_hour, since_first)


def test_documented_query_5_gives_events_per_minute(scraped: Prometheus) -> None:
    """Two events every half second, seen for some seconds of the five minutes."""
    per_minute = values(scraped, "rate(loki_events_total[5m]) * 60")
    since_first = values(
        scraped, "max_over_time(loki_events_total[5m]) - min_over_time(loki_events_total[5m])"
    )

    assert per_minute.keys() == BOTH
    for job, rate in per_minute.items():
        assert 0 < since_first[job] * 0.7 <= rate * 5 <= since_first[job] * 1.7, (per_minute, since_first)


def test_documented_query_6_gives_the_rate_of_completed_tasks(scraped: Prometheus) -> None:
    """One task is completed at each step, so the rate is above zero and for that status alone."""
    result = scraped.query('rate(loki_tasks_total{status="completed"}[10m])')

    assert {series["metric"]["job"] for series in result} == BOTH
    assert {series["metric"]["status"] for series in result} == {"completed"}
    assert all(float(series["value"][1]) > 0 for series in result)


def test_documented_query_7_is_empty_as_written_and_ignoring_status_works(scraped: Prometheus) -> None:
    """The sum has no labels at all, so nothing matches it; a sum per target, `status` ignored, does."""
    written = 'loki_tasks_total{status="failed"} / sum(loki_tasks_total)'
    works = 'loki_tasks_total{status="failed"} / ignoring(status) sum without(status)(loki_tasks_total)'
    failed = 'sum without(status)(loki_tasks_total{status="failed"})'
    assert scraped.query(written) == []
    ratio = values(scraped, works)
    assert ratio.keys() == BOTH
    assert all(0 < share < 1 / 8 for share in ratio.values()), ratio
    assert values(scraped, f"{failed} / sum without(status)(loki_tasks_total)").keys() == BOTH


def test_promtool_finds_no_fault_but_the_documented_names(
    prometheus: Callable[..., Prometheus], exporter: Callable[..., Any], session: Session
) -> None:
    """`promtool check metrics` complains of the gauges that Loki Mode named `_total`, and of nothing else."""
    served = exporter("--loki-dir", str(session.loki_dir))
    page = requests.get(f"{served.url}/metrics", headers={"Accept": "text/plain"}, timeout=5).text

    _, printed = prometheus("global: {}").promtool("check", "metrics", stdin=page)

    suffix = 'non-counter metrics should not have "_total" suffix'
    assert set(printed.splitlines()) == {f"{name} {suffix}" for name in GAUGES_NAMED_TOTAL}
