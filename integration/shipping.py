"""The shipper as a process against a real Loki, and everything that Loki then holds."""

from __future__ import annotations

import json
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import requests

from integration.containers import Loki, eventually

HOUR_NS = 3600 * 10**9

Entries = dict[str, list[tuple[int, str]]]
"""By stream, as a selector: nanoseconds and line, ascending."""


@dataclass
class Shipper:
    """A process under test that can be started again and again on one state directory."""

    url: str
    sources: list[str]
    state: pathlib.Path
    log: BinaryIO
    options: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def command(self, *more: str) -> list[str]:
        """Return the command line."""
        argv = [
            sys.executable,
            "-m",
            "shipper",
            "run",
            "--loki-url",
            self.url,
            "--state-dir",
            str(self.state),
        ]
        argv += [part for source in self.sources for part in ("--source", source)]
        return [*argv, "--listen-address", "", *self.options, *more]

    def start(self, *more: str) -> None:
        """Start it."""
        self.process = subprocess.Popen(
            self.command(*more), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        assert self.process.poll() is None, "the shipper ended by itself"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, *, within_s: float = 40.0) -> float:
        """SIGTERM; return how many seconds it took."""
        assert self.process is not None
        assert self.process.poll() is None, "the shipper ended by itself"
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=within_s) == 0
        return time.monotonic() - began

    def end(self) -> None:
        """Leave nothing running, whatever has happened."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def once(self, *more: str) -> int:
        """Send what is left and return the exit code."""
        done = subprocess.run(
            self.command("--once", "--once-timeout", "60s", *more),
            stdout=self.log,
            stderr=self.log,
            check=False,
            timeout=300,
        )
        return done.returncode

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return what the positions say, by path."""
        done = subprocess.run(
            [sys.executable, "-m", "shipper", "positions", "--json", "--state-dir", str(self.state)],
            capture_output=True,
            check=True,
            timeout=30,
        )
        return {row["path"]: row for row in json.loads(done.stdout)["files"]}

    def settled(self, sizes: dict[str, int]) -> bool:
        """Tell whether the positions say that the files are settled to these sizes."""
        known = self.rows()
        return all(known.get(path, {}).get("settled", 0) >= size for path, size in sizes.items())

    def address(self) -> str:
        """Return the address of its own HTTP, once it has started."""
        said = pathlib.Path(self.log.name)

        def find() -> str | None:
            found = re.findall(r"address=(\S+)", said.read_text(errors="replace"))
            return found[-1] if found else None

        return f"http://{eventually(find, within_s=30, what='the shipper listens')}"


def everything(loki: Loki, selector: str, *, since_ns: int) -> Entries:
    """Return every entry that a selector finds, page by page; stamps are unique within a stream."""
    until_ns = time.time_ns() + HOUR_NS
    answer = requests.get(
        f"{loki.url}/loki/api/v1/series",
        params={"match[]": selector, "start": str(since_ns), "end": str(until_ns)},
        timeout=30,
    )
    found: Entries = {}
    for labels in answer.json()["data"]:
        names = {k: v for k, v in labels.items() if k not in ("service_name", "detected_level")}
        absent = {"backfill", "restamped", "__stream_shard__"} - names.keys()
        matchers = [f"{k}={json.dumps(v)}" for k, v in names.items()] + [f'{k}=""' for k in absent]
        one = "{" + ",".join(matchers) + "}"
        entries: list[tuple[int, str]] = []
        while page := _page(loki, one, entries[-1][0] + 1 if entries else since_ns, until_ns):
            entries += page
        found[one] = entries
    return found


def _page(loki: Loki, selector: str, start_ns: int, until_ns: int) -> list[tuple[int, str]]:
    """Return the next entries: as many as Loki gives at once, 4 MiB (it takes 19 s to refuse more)."""
    for limit in (2000, 100, 5):
        try:
            streams = loki.query(selector, start_ns=start_ns, end_ns=until_ns, limit=limit)
        except AssertionError as error:
            if "larger than max" not in str(error):
                raise
        else:
            return sorted((int(ns), line) for stream in streams for ns, line in stream["values"])
    raise AssertionError(f"{selector}: five lines are more than Loki gives")


def flush(loki: Loki) -> None:
    """Make everything visible: Loki asks its ingesters only for the last three hours."""
    assert requests.post(f"{loki.url}/flush", timeout=60).status_code in (200, 204)


def count(found: Entries) -> Counter[str]:
    """Return how often each line is there."""
    return Counter(line for entries in found.values() for _, line in entries)


def where(found: Entries, lines: Counter[str]) -> list[tuple[str, int, str]]:
    """Return in which streams, and at which nanoseconds, some lines stand; of each line the beginning."""
    places = (
        (selector, ns, line[:120])
        for selector, entries in found.items()
        for ns, line in entries
        if line in lines
    )
    return sorted(places, key=lambda place: place[2])[:200]
