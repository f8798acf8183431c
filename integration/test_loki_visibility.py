"""How long it takes from an appended line to its place in a query's result, on a real Loki."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from integration.containers import Loki, eventually

LINES = 40
PAUSE_S = 0.7


@pytest.mark.parametrize(("batch_wait", "within_s"), [("5s", 6.0), ("1s", 1.5)])
def test_a_line_is_visible_soon_after_it_was_appended(
    loki: Callable[..., Loki], tmp_path: pathlib.Path, batch_wait: str, within_s: float
) -> None:
    """The largest of forty waits, appended at no particular moment: 6 s by default, 1.5 s at 1 s."""
    server = loki()
    path = tmp_path / "project" / ".loki" / "events.jsonl"
    path.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "shipper", "run", "--loki-url", server.url, "--listen-address", ""]
    argv += ["--source", f"loki-mode={path.parent}", "--state-dir", str(tmp_path / "state")]
    began_ns = time.time_ns()
    appended: dict[str, float] = {}
    seen: dict[str, float] = {}

    def look() -> None:
        found = server.query('{app="loki-mode"}', start_ns=began_ns - 10**9, end_ns=time.time_ns() + 10**9)
        now_s = time.monotonic()
        for stream in found:
            for _, line in stream["values"]:
                seen.setdefault(line, now_s)

    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*argv, "--batch-wait", batch_wait], stdout=log, stderr=log)
        try:
            for number in range(LINES):
                at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                line = json.dumps({"timestamp": at, "type": "iteration_start", "data": {"iteration": number}})
                with path.open("a") as file:
                    file.write(line + "\n")
                appended[line] = time.monotonic()
                if number == 0:
                    # The first one pays for starting the program; it is looked for and not measured.
                    eventually(lambda: look() or seen, within_s=30, what="the first line is visible")
                    del appended[line]
                until = time.monotonic() + PAUSE_S
                while time.monotonic() < until:
                    look()
                    time.sleep(0.02)
            eventually(
                lambda: look() or appended.keys() <= seen.keys(), within_s=20, what="all lines are visible"
            )
        finally:
            process.terminate()
            process.wait(timeout=40)
    waits = sorted(seen[line] - appended[line] for line in appended)
    p99 = waits[-1]  # of forty, the largest is the 99th percentile
    print(f"batch_wait {batch_wait}: median {waits[len(waits) // 2]:.2f} s, largest {p99:.2f} s")
    assert p99 <= within_s
