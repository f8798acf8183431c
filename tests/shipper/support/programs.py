"""The shipper as a process, on a directory of logs and a receiver on a real socket."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime

from receiver import Receiver

WITHIN_S = 20.0
STARTED = "it has started"


class Program:
    """Runs the shipper on a directory."""

    def __init__(self, root: pathlib.Path, receiver: Receiver) -> None:
        self.logs = root / "logs"
        self.logs.mkdir()
        self.state = root / "state"
        self.log = root / "shipper.log"
        self.receiver = receiver
        self.running: list[subprocess.Popen[bytes]] = []

    def argv(self, command: str, *more: str) -> list[str]:
        """Return a command line."""
        argv = [sys.executable, "-m", "shipper", command, "--source", f"jsonl={self.logs}/**/*.jsonl"]
        return [*argv, "--loki-url", self.receiver.url, "--state-dir", str(self.state), *more]

    def call(
        self, command: str, *more: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        return subprocess.run(
            self.argv(command, *more),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, **(env or {})},
        )

    def call_plain(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the commands that need no configuration."""
        more = [] if arguments[0] == "status" else ["--state-dir", str(self.state)]
        argv = [sys.executable, "-m", "shipper", *arguments, *more]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)

    def start(self, *more: str) -> str:
        """Start `run`; return the address of its HTTP."""
        return self.begin(self.argv("run", "--listen-address", "127.0.0.1:0", "--batch-wait", "100ms", *more))

    def begin(self, argv: list[str]) -> str:
        """Start a command that serves; return the address of its HTTP."""
        with self.log.open("ab") as log:
            self.running.append(subprocess.Popen(argv, stderr=log))
        self.until(lambda: "event=started" in self.log.read_text(), STARTED)
        return re.findall(r"address=(\S+)", self.log.read_text())[-1]

    def end(self) -> None:
        """End what was started."""
        for process in self.running:
            process.kill()
            process.wait()

    def until(self, probe: Callable[[], object], what: str) -> None:
        """Wait for something."""
        deadline = time.monotonic() + WITHIN_S
        while not probe():
            said = self.log.read_text()[-2000:] if self.log.exists() else ""
            assert time.monotonic() < deadline, f"{what}: not within {WITHIN_S} s; {said}"
            assert what != STARTED or self.running[-1].poll() is None, f"it has ended: {said}"
            time.sleep(0.02)

    def write(self, name: str, count: int) -> None:
        """Append lines."""
        path = self.logs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with path.open("a") as file:
            file.writelines(json.dumps({"ts": now, "text": f"{name} {n}"}) + "\n" for n in range(count))

    def arrived(self) -> int:
        """Return how many lines are in Loki."""
        with self.receiver.lock:
            return len(self.receiver.model.lines())


def page(address: str, path: str) -> tuple[int, str]:
    """Return status and text of a page."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
