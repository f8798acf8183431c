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
    assert printed == 'CRITICAL: cost 5.00 USD{project="a } \\"b\\" 99 c"} exceeds 4.50'
    assert check_budget(url, tmp_path, BUDGET_PROJECT="shop")[0] == WITHIN
    assert check_budget(url, tmp_path, BUDGET_PROJECT="none")[:2] == (
        UNKNOWN,
        "UNKNOWN: the page has no cost of none",
    )


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
