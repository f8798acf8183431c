from __future__ import annotations

import http.server
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from loki_cases import samples
from loki_world import World

from exporter.cli import main

PATIENCE_S = 30.0
PROGRAM = (sys.executable, "-m", "exporter")
ENVIRON = {key: value for key, value in os.environ.items() if not key.startswith(("LOKI_", "TALLYSHIP_"))}


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Give back the logging that a command sets up for its process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def run(*arguments: str, **environ: str) -> Result:
    """Run a command in this process."""
    without = {key: None for key in os.environ if key.startswith(("LOKI_", "TALLYSHIP_"))}
    return CliRunner().invoke(main, arguments, env={**without, **environ})


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, env=ENVIRON, check=False
    )


class TestPrint:
    """`tallyship-exporter print`."""

    def test_writes_one_page_and_exits_0(self, world: World) -> None:
        """The whole exposition on stdout, nothing on stderr."""
        world.event("rollback")
        answer = run("print", "--loki-dir", str(world.root))

        assert answer.exit_code == 0
        assert samples(answer.stdout)["loki_events_total"] == 1
        assert answer.stderr == ""

    def test_exits_1_when_a_source_was_down(self, tmp_path: Path) -> None:
        """The page is written all the same, and the reason is on stderr in one line."""
        answer = run("print", "--loki-dir", str(tmp_path / "none"))

        assert answer.exit_code == 1
        assert samples(answer.stdout)['tallyship_exporter_source_up{source="loki-mode"}'] == 0
        lines = [line for line in answer.stderr.splitlines() if line.startswith("tallyship-exporter: ")]
        assert lines == [f"tallyship-exporter: loki-mode is down: {tmp_path}/none: No such file or directory"]

    def test_takes_settings_from_a_file(self, world: World, tmp_path: Path) -> None:
        """Names of projects, for one."""
        file = tmp_path / "c.toml"
        file.write_text(
            f'loki_dir = ["{world.root}", "{world.root}2"]\n[projects]\n"{world.root}" = "S"\n', "utf-8"
        )
        answer = run("print", "--config", str(file))

        assert answer.exit_code == 1
        assert 'loki_events_total{project="S"} 0.0' in answer.stdout

    def test_registry_needs_no_file_name(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """`--registry` alone means the one in the home directory; with a name, that one."""
        home = world.root.parents[1]
        registry = home / ".loki" / "dashboard" / "projects.json"
        registry.parent.mkdir(parents=True)
        registry.write_text(json.dumps({"projects": {"1": {"path": str(world.root.parent)}}}), "utf-8")
        monkeypatch.setenv("HOME", str(home))
        alone = run("print", "--registry", "--log-format", "json")
        named = run("print", f"--registry={registry}")

        for answer in (alone, named):
            assert answer.exit_code == 0
            assert 'loki_events_total{project="shop"} 0.0' in answer.stdout

    def test_uses_the_prices_it_is_given(self, world: World, tmp_path: Path) -> None:
        """--pricing goes before the built-in table."""
        world.write("metrics/efficiency/iteration-1.json", {"model": "sonnet", "input_tokens": 1_000_000})
        prices = tmp_path / "p.json"
        prices.write_text('{"models": {"sonnet": {"input": 42, "output": 0}}}', "utf-8")

        for option in ([], ["--pricing", str(prices)]):
            answer = run("print", "--loki-dir", str(world.root), *option)
            assert samples(answer.stdout)["loki_cost_usd"] == (42 if option else 3)


class TestCheck:
    """`tallyship-exporter check`."""

    def test_says_what_would_be_exported(self, world: World) -> None:
        """Address, sources, metrics, and which of the nine are absent."""
        answer = run("check", "--loki-dir", str(world.root))

        assert answer.exit_code == 0
        assert "would answer at 127.0.0.1:57374/metrics" in answer.stdout
        assert "loki-mode: up" in answer.stdout
        assert re.search(r"exports: .*loki_session_status", answer.stdout)
        assert re.search(r"absent, because unknown: .*loki_cost_usd", answer.stdout)

    def test_exits_1_without_a_project(self, tmp_path: Path) -> None:
        """A directory that is not there, and a glob that finds none, are each said."""
        missing = run("check", "--loki-dir", str(tmp_path / "none"))
        nothing = run("check", "--loki-dir", str(tmp_path / "*" / ".loki"))

        assert (missing.exit_code, nothing.exit_code) == (1, 1)
        assert "down: " in missing.stdout
        assert "no project found" in nothing.stdout

    def test_shows_names_that_are_no_text(self, world: World) -> None:
        """A session folder of bytes that a terminal would obey is shown escaped, on one line."""
        folder = Path(os.fsdecode(os.fsencode(world.root) + b"/sessions/\xff\x1b[2J\nup"))
        folder.mkdir(parents=True)
        (folder / "loki.pid").write_text("torn", "utf-8")
        answer = run_program("check", "--loki-dir", str(world.root))

        assert answer.returncode == 0
        assert r"not read: torn: sessions/\udcff\x1b[2J\nup/loki.pid" in answer.stdout
        assert answer.stderr.count("\n") == 1


class TestWrong:
    """What is wrong with a command is said in one line, exit 2."""

    def test_configuration(self, world: World) -> None:
        """Every problem in one message, on every command that reads settings."""
        for command in ("serve", "print", "check"):
            options = ["--loki-dir", str(world.root), "--keep-seconds", "x", "--pids", "y"]
            answer = run(command, *options, LOKI_METRICS_PATH="z")

            assert answer.exit_code == 2
            assert answer.stdout == ""
            assert answer.stderr.count("\n") == 1
            assert answer.stderr.startswith("tallyship-exporter: 3 problems in the configuration: ")

    @pytest.mark.parametrize(
        "arguments", [["serve", "--lokidir", "x"], ["nonsense"], ["metrics", "--watch", "0"]]
    )
    def test_flags(self, arguments: list[str]) -> None:
        """A flag or command that there is not."""
        assert run(*arguments).exit_code == 2

    @pytest.mark.parametrize("seconds", ["nan", "inf", "-inf", "0", "-1", "86401", "1e300"])
    @pytest.mark.parametrize("command", [["metrics", "--watch"], ["healthcheck", "--timeout"]])
    def test_time_that_nobody_can_wait_for(self, command: list[str], seconds: str) -> None:
        """A wait must be a finite number of seconds above 0: a bad flag, and nothing is asked."""
        answer = run(*command, seconds)

        assert answer.exit_code == 2
        assert f"Invalid value for '{command[1]}': must be above 0" in answer.stderr

    def test_switched_off(self) -> None:
        """LOKI_METRICS_ENABLED=false ends serve at once with a message and exit 0."""
        answer = run("serve", LOKI_METRICS_ENABLED="false")

        assert answer.exit_code == 0
        assert answer.stderr == "LOKI_METRICS_ENABLED=false: metrics are switched off, nothing to do\n"

    def test_switched_off_prints_all_the_same(self, world: World) -> None:
        """Who prints by hand wants to see it."""
        assert run("print", "--loki-dir", str(world.root), LOKI_METRICS_ENABLED="false").exit_code == 0


class TestPortInUse:
    """A port that somebody has."""

    @pytest.fixture
    def dashboard(self) -> Iterator[int]:
        """Answer as Loki Mode's own dashboard does; return the port."""

        class Dashboard(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = b'{"status":"healthy","service":"loki-dashboard"}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dashboard) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            yield server.server_port
            server.shutdown()
            thread.join()

    def test_by_the_dashboard_is_said(self, world: World, dashboard: int) -> None:
        """57374 is its default, too: the line says whose it is and names the flag."""
        answer = run("serve", "--loki-dir", str(world.root), "--web.listen-address", f"127.0.0.1:{dashboard}")

        assert answer.exit_code == 2
        assert "dashboard" in answer.stderr
        assert "--web.listen-address" in answer.stderr
        assert answer.stderr.count("\n") == 1

    def test_by_anybody_is_said(self, world: World) -> None:
        """Whoever it is, one clear line with the address and the flag."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            answer = run("serve", "--loki-dir", str(world.root), "--web.listen-address", f"127.0.0.1:{port}")

        assert answer.exit_code == 2
        assert f"127.0.0.1:{port}" in answer.stderr
        assert "--web.listen-address" in answer.stderr


class Served:
    """A `tallyship-exporter serve` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a project on a free port, for all tests of this module."""
    root = tmp_path_factory.mktemp("served") / ".loki"
    world = World(root)
    world.event("rollback")
    world.write("queue/pending.json", [1, 2])
    with _serve(root) as process:
        yield Served(process, _port(process))
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def _serve(root: Path) -> subprocess.Popen[str]:
    options = ["serve", "--loki-dir", str(root), "--web.listen-address", "127.0.0.1:0"]
    return subprocess.Popen([*PROGRAM, *options], stderr=subprocess.PIPE, text=True, env=ENVIRON)


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    line = next(line for line in process.stderr if "event=serving" in line)
    found = re.search(r"url=http://127\.0\.0\.1:(\d+)/metrics", line)
    assert found is not None
    return int(found[1])


class TestMetrics:
    """`tallyship-exporter metrics`, the documented `loki metrics`."""

    def test_fetches_from_a_running_one(self, served: Served) -> None:
        """The page as it is."""
        answer = run("metrics", "--port", str(served.port))

        assert answer.exit_code == 0
        assert samples(answer.stdout)["loki_events_total"] == 1
        assert "# TYPE loki_tasks_total gauge" in answer.stdout

    def test_filters_by_name(self, served: Served) -> None:
        """Only families with NAME in their name, with their help and type."""
        answer = run("metrics", "--host", "localhost", "--port", str(served.port), "--filter", "loki_tasks")
        lines = answer.stdout.splitlines()

        assert [line.split("{")[0].split()[0] for line in lines] == ["#", "#", "loki_tasks_total"]
        assert 'loki_tasks_total{status="pending"} 2.0' in lines

    def test_knows_the_port_from_the_environment(self, served: Served) -> None:
        """LOKI_METRICS_PORT and LOKI_METRICS_PATH are those of the server."""
        environ = {"LOKI_METRICS_PORT": str(served.port), "LOKI_METRICS_PATH": "/metrics"}

        assert run("metrics", **environ).exit_code == 0

    @pytest.mark.parametrize("port", ["1", "x", "0", "70000"])
    def test_says_when_nobody_answers(self, port: str) -> None:
        """One line with the address, exit 1."""
        answer = run("metrics", "--port", port)

        assert answer.exit_code == 1
        assert answer.stderr.count("\n") == 1
        assert port in answer.stderr

    def test_says_when_the_path_is_another(self, served: Served) -> None:
        """A 404 is a failure, not an empty page."""
        answer = run("metrics", "--port", str(served.port), "--path", "/elsewhere")

        assert answer.exit_code == 1
        assert "404" in answer.stderr


class TestHealthcheck:
    """`tallyship-exporter healthcheck`, for systemd, Docker and Kubernetes."""

    def test_exits_0_when_it_works(self, served: Served) -> None:
        """It says how each source stands."""
        answer = run("healthcheck", f"http://127.0.0.1:{served.port}/health")

        assert answer.exit_code == 0
        assert answer.stdout.startswith("exporter: ok\n")

    def test_exits_1_when_nobody_answers(self) -> None:
        """Refused is not healthy."""
        answer = run("healthcheck", "http://127.0.0.1:1/health", "--timeout", "2")

        assert answer.exit_code == 1
        assert answer.stderr.count("\n") == 1

    def test_exits_1_when_the_answer_is_no_report(self, served: Served) -> None:
        """A page that is no health report proves nothing."""
        assert run("healthcheck", f"http://127.0.0.1:{served.port}/metrics").exit_code == 1

    def test_exits_2_for_what_is_no_address(self) -> None:
        """A mistake in the command is not a sick process."""
        assert run("healthcheck", "file:///etc/passwd").exit_code == 2


def test_sigterm_stops_within_five_seconds(world: World) -> None:
    """With an idle connection open and a long history being read, exit 0, and no traceback."""
    line = json.dumps({"timestamp": world.time(), "type": "rollback", "data": {"x": "y" * 200}}) + "\n"
    world.write("events.jsonl", line * 200_000)
    with _serve(world.root) as process:
        port = _port(process)
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S):
            began_s = time.monotonic()
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=PATIENCE_S)

    assert time.monotonic() - began_s < 5
    assert process.returncode == 0
    assert "Traceback" not in said


def test_help_names_every_command() -> None:
    """`--help` lists the commands, each with a sentence, and `--version` says which one this is."""
    text = run("--help").stdout

    for command in ("serve", "print", "metrics", "check", "healthcheck"):
        assert re.search(rf"^  {command} +\S+ \S+", text, re.MULTILINE)
    assert re.fullmatch(r"tallyship-exporter, version \S+\n", run("--version").stdout)


def test_serve_help_has_the_documented_flags() -> None:
    """Each flag of the documentation, with its default."""
    text = run("serve", "--help").stdout

    for flag in (
        *("--loki-dir", "--web.listen-address", "--web.telemetry-path", "--cache-seconds", "--pricing"),
        *("--config", "--log-format", "--registry", "--keep-seconds", "--state-max-age-seconds"),
    ):
        assert flag in text
    for default in ("127.0.0.1:57374", "/metrics", "./.loki", "[2]", "[30]", "[60]"):
        assert default in text
