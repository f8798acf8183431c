"""SIGHUP: another configuration in the same process, whole or not at all."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from programs import Program, page
from receiver import Answer, Receiver


@pytest.fixture(name="running")
def _running(tmp_path: pathlib.Path) -> Iterator[Callable[..., Reloading]]:
    """Return a function that starts a shipper with a configuration file; it is ended with the test."""
    receiver = Receiver()
    made: list[Reloading] = []

    def start(**settings: object) -> Reloading:
        made.append(Reloading(tmp_path, receiver, settings))
        made[-1].launch()
        return made[-1]

    yield start
    for one in made:
        one.end()
    receiver.close()


class Reloading(Program):
    """A shipper whose settings are all in a file."""

    def __init__(self, root: pathlib.Path, receiver: Receiver, settings: dict[str, object]) -> None:
        super().__init__(root, receiver)
        self.file = root / "shipper.toml"
        self.settings = {
            "loki_url": receiver.url,
            "state_dir": str(self.state),
            "listen_address": "127.0.0.1:0",
            "batch_wait": "100ms",
            "sources": [f"jsonl={self.logs}/*.jsonl"],
            **settings,
        }
        self.configure()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The one that runs."""
        return self.running[0]

    def launch(self) -> None:
        """Start it."""
        self.address = self.begin([sys.executable, "-m", "shipper", "run", "--config", str(self.file)])

    def configure(self, **settings: object) -> None:
        """Write the file anew."""
        self.settings.update(settings)
        self.file.write_text(
            "".join(f"{name} = {json.dumps(value)}\n" for name, value in self.settings.items())
        )

    def reload(self, outcome: str = "reloaded", **settings: object) -> None:
        """Write the file anew and say so; wait for what comes of it."""
        before = self.log.read_text().count(f"event={outcome}")
        self.configure(**settings)
        self.process.send_signal(signal.SIGHUP)
        self.until(lambda: self.log.read_text().count(f"event={outcome}") > before, outcome)

    def environments(self) -> set[str]:
        """Return the label `environment` of what has arrived."""
        with self.receiver.lock:
            return {dict(labels)["environment"] for labels in self.receiver.model.entries}

    def metric(self, name: str) -> float:
        """Return a metric's value."""
        found = re.search(
            rf"^tallyship_shipper_{name} (\S+)$", page(self.address, "/metrics")[1], re.MULTILINE
        )
        assert found, name
        return float(found[1])


def test_a_good_file_is_in_force_at_once_in_the_same_process(running: Callable[..., Reloading]) -> None:
    """Labels, sources and format of the log change; nothing is sent twice, and counters go on."""
    one = running()
    one.write("a.jsonl", 3)
    one.until(lambda: one.arrived() == 3, "the first lines")
    (one.logs / "new").mkdir()
    one.reload(
        sources=[f"jsonl={one.logs}/*.jsonl", f"jsonl={one.logs}/new/*.jsonl"], loki_environment="production"
    )
    one.write("a.jsonl", 2)
    one.write("new/b.jsonl", 2)
    one.until(lambda: one.arrived() == 7, "the lines of both")
    one.until(lambda: one.metric("entries_sent_total") == 7, "all are counted")

    assert one.process.poll() is None
    assert one.receiver.model.repeats == 0
    assert one.environments() == {"development", "production"}
    assert (one.metric("config_reloads_total"), one.metric("config_last_reload_successful")) == (1, 1)


def test_a_bad_file_changes_nothing_and_all_its_problems_are_told_at_once(
    running: Callable[..., Reloading],
) -> None:
    """The log, the metrics and the health say so, until a good one comes."""
    one = running()
    one.reload("reload_refused", loki_environment="production", batch_bytes="many", batch_wait="never")
    one.write("a.jsonl", 1)
    one.until(lambda: one.arrived() == 1, "it still ships")
    one.until(lambda: "the new one is refused" in page(one.address, "/health")[1], "the health says so")
    line = next(line for line in one.log.read_text().splitlines() if "event=reload_refused" in line)
    failures = (one.metric("config_reload_failures_total"), one.metric("config_last_reload_successful"))
    one.reload(batch_bytes="1MiB", batch_wait="100ms")
    one.write("a.jsonl", 1)
    one.until(lambda: one.environments() == {"development", "production"}, "the good file is in force")

    assert failures == (1, 0)
    assert "batch_bytes" in line
    assert "batch_wait" in line
    assert one.metric("config_last_reload_successful") == 1


@pytest.mark.parametrize(
    ("setting", "value"),
    [("listen_address", "127.0.0.1:1"), ("state_dir", "/elsewhere"), ("loki_enabled", False)],
)
def test_what_needs_a_restart_is_refused_and_says_so(
    running: Callable[..., Reloading], setting: str, value: object
) -> None:
    """The lock, the address that others ask, and the switch."""
    one = running()
    one.reload("reload_refused", **{setting: value, "loki_environment": "production"})
    one.write("a.jsonl", 1)
    one.until(lambda: one.arrived() == 1, "it still ships")

    assert one.environments() == {"development"}


def test_another_loki_gets_what_the_first_one_refused(running: Callable[..., Reloading]) -> None:
    """The lines in memory too, without waiting for the pause of the first one to end."""
    one = running()
    one.receiver.script = lambda _request: Answer(401, "no")
    one.write("a.jsonl", 5)
    one.until(lambda: one.receiver.pushes > 0, "it was refused")
    other = Receiver()
    try:
        one.reload(loki_url=other.url)
        one.until(lambda: len(other.model.lines()) == 5, "the other has them")
    finally:
        other.close()


def test_a_hangup_during_the_stop_disturbs_nothing(running: Callable[..., Reloading]) -> None:
    """It ends as it would have."""
    one = running()
    one.write("a.jsonl", 3)
    one.process.send_signal(signal.SIGTERM)
    one.process.send_signal(signal.SIGHUP)

    assert one.process.wait(timeout=20) == 0


def test_a_token_in_the_new_file_is_in_no_line_of_the_log(running: Callable[..., Reloading]) -> None:
    """Neither when it is taken nor when it is refused."""
    one = running()
    one.reload(loki_auth_token="s3cret-token")
    one.reload("reload_refused", loki_auth_token="s3cret-token", batch_size=0)

    assert "s3cret" not in one.log.read_text()


def test_once_has_no_reload(tmp_path: pathlib.Path) -> None:
    """A terminal that closes ends it, as it ends everything in it."""
    receiver = Receiver()
    program = Program(tmp_path, receiver)
    receiver.script = lambda _request: Answer(503)
    program.write("a.jsonl", 1)
    process = subprocess.Popen(program.argv("run", "--once"), stderr=subprocess.DEVNULL)
    program.until(lambda: receiver.pushes > 0, "it runs")
    os.kill(process.pid, signal.SIGHUP)

    assert process.wait(timeout=20) == -signal.SIGHUP
    receiver.close()
