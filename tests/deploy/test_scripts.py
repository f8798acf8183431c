from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

SCRIPTS = Path(__file__).parent.parent.parent / "deploy/scripts"
WITHIN, BEYOND, UNKNOWN = 0, 2, 3

Serve = Callable[[str], str]


@pytest.fixture(name="serve")
def _serve() -> Iterator[Serve]:
    """Give a function that answers each request with a text, and returns the URL."""
    servers: list[ThreadingHTTPServer] = []

    def serve(page: str, status: int = 200) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.end_headers()
                self.wfile.write(page.encode())

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/metrics"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def page(**series: dict[str | None, float]) -> str:
    """Return the text of gauges by name, each with its values by project (None: without the label)."""

    class Fixed(Collector):
        def collect(self) -> Iterator[Metric]:
            for name, values in series.items():
                for project, value in values.items():
                    labels = [] if project is None else ["project"]
                    family = GaugeMetricFamily(name, f"Help of {name} 99.", labels=labels)
                    family.add_metric([] if project is None else [project], value)
                    yield family

    registry = CollectorRegistry()
    registry.register(Fixed())
    return generate_latest(registry).decode()


def check_budget(url: str, tmp_path: Path, **env: str) -> tuple[int, str, bool]:
    """Return exit code, what was printed, and whether Loki Mode was told to stop."""
    told = tmp_path / "told"
    told.unlink(missing_ok=True)
    (tmp_path / "loki").write_text(f"#!/bin/sh\necho $* > {told}\n")
    (tmp_path / "loki").chmod(0o755)
    done = subprocess.run(
        [SCRIPTS / "budget-check.sh"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "METRICS_URL": url, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.stderr == "" or done.returncode == UNKNOWN, done.stderr
    return done.returncode, done.stdout.strip(), told.exists() and told.read_text() == "stop\n"


def test_a_cost_beyond_4_50_stops_loki_mode(serve: Serve, tmp_path: Path) -> None:
    """The documented limit and the documented consequence."""
    url = serve(page(loki_cost_usd={None: 4.51}))

    assert check_budget(url, tmp_path) == (BEYOND, "CRITICAL: cost 4.51 USD exceeds 4.50", True)


def test_a_cost_of_4_50_stops_nothing(serve: Serve, tmp_path: Path) -> None:
    """Only more than the limit counts; help texts and numbers of other metrics do not."""
    url = serve(page(loki_cost_usd={None: 4.5}, loki_cost_usd_of_others={None: 99}))

    assert check_budget(url, tmp_path) == (WITHIN, "", False)


def test_a_budget_of_the_session_itself_goes_before_the_documented_limit(
    serve: Serve, tmp_path: Path
) -> None:
    """Nine tenths of 100 are 90."""
    assert check_budget(
        serve(page(loki_cost_usd={None: 89}, loki_mode_budget_limit_usd={None: 100})), tmp_path
    ) == (WITHIN, "", False)
    assert check_budget(
        serve(page(loki_cost_usd={None: 91}, loki_mode_budget_limit_usd={None: 100})), tmp_path
    ) == (BEYOND, "CRITICAL: cost 91.00 USD exceeds 90.00", True)


def test_a_limit_in_the_environment_goes_before_all(serve: Serve, tmp_path: Path) -> None:
    """BUDGET_USD is what the operator said."""
    url = serve(page(loki_cost_usd={None: 2}, loki_mode_budget_limit_usd={None: 100}))

    assert check_budget(url, tmp_path, BUDGET_USD="1.5")[0] == BEYOND
    assert check_budget(url, tmp_path, BUDGET_USD="2.5")[0] == WITHIN


def test_one_project_of_several_beyond_its_limit_is_named(serve: Serve, tmp_path: Path) -> None:
    """Blanks, braces and quotes in a project's name confuse nothing."""
    odd = 'a } "b" 99 c'
    url = serve(page(loki_cost_usd={"shop": 1, odd: 5}, loki_mode_budget_limit_usd={odd: 5}))

    code, printed, _ = check_budget(url, tmp_path)

    assert code == BEYOND
    assert printed.splitlines() == [
        'CRITICAL: cost 5.00 USD{project="a } \\"b\\" 99 c"} exceeds 4.50',
        "Nothing is stopped: BUDGET_PROJECT has to say whose session ends here",
    ]
    assert check_budget(url, tmp_path, BUDGET_PROJECT="shop")[0] == WITHIN
    assert check_budget(url, tmp_path, BUDGET_PROJECT="none")[:2] == (
        UNKNOWN,
        "UNKNOWN: the page has no cost of none",
    )


def test_the_session_of_this_directory_is_not_stopped_for_another_projects_cost(
    serve: Serve, tmp_path: Path
) -> None:
    """`loki stop` means this directory: a page of projects stops none that is not named."""
    url = serve(page(loki_cost_usd={"blog": 9}, loki_session_status={"shop": 1, "blog": 1}))

    code, printed, stopped = check_budget(url, tmp_path)

    assert (code, stopped) == (BEYOND, False)
    assert printed.splitlines()[0] == 'CRITICAL: cost 9.00 USD{project="blog"} exceeds 4.50'
    assert check_budget(url, tmp_path, BUDGET_PROJECT="shop")[::2] == (UNKNOWN, False)
    assert check_budget(url, tmp_path, BUDGET_PROJECT="blog")[::2] == (BEYOND, True)


@pytest.mark.parametrize("name", ["back\\slash", "\\t", 'quo"te', "new\nline", "a.b*c", "größe"])
def test_a_project_of_any_name_can_be_chosen(serve: Serve, tmp_path: Path, name: str) -> None:
    """Backslashes and quotes are escaped on the page, and not in the variable."""
    url = serve(page(loki_cost_usd={"other": 99, name: 9}))

    code, printed, stopped = check_budget(url, tmp_path, BUDGET_PROJECT=name)

    assert (code, stopped) == (BEYOND, True)
    assert printed.startswith("CRITICAL: cost 9.00 USD{")


@pytest.mark.parametrize("limit", ["abc", "$5.00", "4,50", "1.2.3", ".", "-1", "nan", "1e9x", " "])
def test_a_limit_that_is_no_number_is_refused(serve: Serve, tmp_path: Path, limit: str) -> None:
    """It is not a limit of 0, which every cost would exceed."""
    url = serve(page(loki_cost_usd={None: 3}))

    assert check_budget(url, tmp_path, BUDGET_USD=limit) == (
        UNKNOWN,
        f"UNKNOWN: BUDGET_USD is not a number, such as 4.50: {limit}".strip(),
        False,
    )


def test_a_session_that_has_ended_is_not_stopped_again(serve: Serve, tmp_path: Path) -> None:
    """Its cost stays on the page; a paused session is alive and is stopped."""
    ended = serve(page(loki_cost_usd={None: 9}, loki_session_status={None: 0}))
    paused = serve(page(loki_cost_usd={None: 9}, loki_session_status={None: 2}))

    assert check_budget(ended, tmp_path) == (
        BEYOND,
        "CRITICAL: cost 9.00 USD exceeds 4.50 (has ended)",
        False,
    )
    assert check_budget(paused, tmp_path)[::2] == (BEYOND, True)


def test_a_used_budget_counts_where_it_is_more_than_the_measured_cost(serve: Serve, tmp_path: Path) -> None:
    """As in the alerts: whichever figure reaches the limit first; one of 0 alone is not a cost."""
    budget: dict[str, dict[str | None, float]] = {"loki_mode_budget_limit_usd": {None: 100}}
    used = serve(page(loki_cost_usd={None: 2}, loki_mode_budget_used_usd={None: 95}, **budget))
    late = serve(page(loki_cost_usd={None: 95}, loki_mode_budget_used_usd={None: 2}, **budget))
    alone = serve(page(loki_mode_budget_used_usd={None: 95}, **budget))
    none = serve(page(loki_mode_budget_used_usd={None: 0}, **budget))

    told = (BEYOND, "CRITICAL: cost 95.00 USD exceeds 90.00", True)
    assert [check_budget(url, tmp_path) for url in (used, late, alone)] == [told] * 3
    assert check_budget(none, tmp_path) == (UNKNOWN, "UNKNOWN: the page has no cost", False)


def test_a_cost_that_is_not_a_number_is_unknown(serve: Serve, tmp_path: Path) -> None:
    """NaN is neither more nor less than anything."""
    url = serve(page(loki_cost_usd={None: float("nan")}))

    assert check_budget(url, tmp_path) == (UNKNOWN, "UNKNOWN: the page has no cost", False)


def test_an_unknown_cost_is_neither_within_nor_beyond(serve: Serve, tmp_path: Path) -> None:
    """A page without a cost is not a cost of 0."""
    url = serve(page(loki_session_status={None: 1}))

    assert check_budget(url, tmp_path) == (UNKNOWN, "UNKNOWN: the page has no cost", False)


def test_an_exporter_that_does_not_answer_is_unknown(serve: Callable[..., str], tmp_path: Path) -> None:
    """An error page is not a page without a cost, and nothing is stopped."""
    url = serve("no", status=503)

    assert check_budget(url, tmp_path) == (UNKNOWN, f"UNKNOWN: no metrics from {url}", False)


def test_what_is_done_when_the_limit_is_exceeded_can_be_chosen(serve: Serve, tmp_path: Path) -> None:
    """ON_EXCEEDED replaces `loki stop`; empty, it only reports."""
    url = serve(page(loki_cost_usd={None: 9}))

    assert check_budget(url, tmp_path, ON_EXCEEDED="")[2] is False
    assert check_budget(url, tmp_path, ON_EXCEEDED="echo stopped")[1].endswith("exceeds 4.50\nstopped")


def test_the_python_reader_gives_every_series_with_its_labels(serve: Serve) -> None:
    """What the documented reader loses: a second series of a name, and values behind a blank in a label."""
    url = serve(page(loki_cost_usd={"my shop": 1.5, "other": 2}, process_open_fds={None: 3}))

    done = subprocess.run(
        [sys.executable, SCRIPTS / "read_metrics.py", url], capture_output=True, text=True, check=True
    )

    assert json.loads(done.stdout) == {
        "loki_cost_usd": [
            {"labels": {"project": "my shop"}, "value": 1.5},
            {"labels": {"project": "other"}, "value": 2},
        ]
    }


def test_the_python_reader_says_when_there_are_no_metrics(serve: Callable[..., str]) -> None:
    """An error page is an error, not an empty result."""
    url = serve("no", status=503)

    done = subprocess.run(
        [sys.executable, SCRIPTS / "read_metrics.py", url], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr.startswith("read_metrics.py: 503 ")
    with pytest.raises(requests.HTTPError):
        reader().get_loki_metrics(url)


def reader() -> Any:
    """Import the script as the module that it can also be."""
    spec = importlib.util.spec_from_file_location("read_metrics", SCRIPTS / "read_metrics.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
