"""The ledger: numbered lines, kills, rotations and outages, and a real Loki shows each line exactly once.

The short form runs in CI; `TALLYSHIP_SOAK=1` (`make soak`) makes it a hundred kills.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from integration.containers import Loki, eventually

SOAK = os.environ.get("TALLYSHIP_SOAK") == "1"
KILLS = 100 if SOAK else 14
SEED = int(os.environ.get("TALLYSHIP_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
HOUR_NS = 3600 * 10**9
SELECTOR = '{environment="ledger"}'

pytestmark = pytest.mark.timeout(3600 if SOAK else 400)


@dataclass
class Writers:
    """Twenty files that grow; what was written, whole and not lost by our own doing."""

    root: pathlib.Path
    written: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    number: int = 0
    paused: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def events(self) -> list[pathlib.Path]:
        """Ten projects, each with streams of its own."""
        return [self.root / f"project-{n}" / ".loki" / "events.jsonl" for n in range(10)]

    @property
    def shared(self) -> list[pathlib.Path]:
        """Ten files of one stream; the lines of the last are three hours old."""
        return [self.root / "agents" / f"agent-{n}.jsonl" for n in range(10)]

    def start(self) -> threading.Thread:
        """Write until told to stop."""
        for path in [*self.events, *self.shared]:
            path.parent.mkdir(parents=True, exist_ok=True)
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        chance = random.Random(SEED + 1)  # noqa: S311 - test data
        while not self.stop.wait(0.05):
            if self.paused.is_set():
                continue
            with self.lock:
                for path in chance.sample([*self.events, *self.shared], 6):
                    self.append(path, chance)

    def append(self, path: pathlib.Path, chance: random.Random) -> None:
        """Append some lines; with luck, several that are equal and of one millisecond."""
        ago_ns = 3 * HOUR_NS if path == self.shared[-1] else 0
        now = datetime.fromtimestamp((time.time_ns() - ago_ns) // 10**6 / 1000, UTC)
        at = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        lines = []
        for _ in range(chance.randint(1, 12)):
            self.number += 1
            kind = chance.choice(["iteration_start", "iteration_complete", "phase_change"])
            lines.append(json.dumps({"timestamp": at, "type": kind, "data": {"n": self.number}}))
        if chance.random() < 0.3:
            lines += [json.dumps({"timestamp": at, "type": "session_pause", "data": "equal"})] * 3
        with path.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))
        self.written.update(lines)


@dataclass
class Shipper:
    """The process under test."""

    url: str
    root: pathlib.Path
    state: pathlib.Path
    log: Any
    process: subprocess.Popen[bytes] | None = None

    def command(self, *more: str) -> list[str]:
        """Return the command line."""
        return [
            sys.executable,
            "-m",
            "shipper",
            "run",
            "--loki-url",
            self.url,
            "--source",
            f"loki-mode={self.root}/*/.loki",
            "--source",
            f"jsonl={self.root}/agents/*.jsonl",
            "--state-dir",
            str(self.state),
            "--environment",
            "ledger",
            "--listen-address",
            "",
            "--batch-wait",
            "200ms",
            *more,
        ]

    def start(self) -> None:
        """Start it."""
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        assert self.process.poll() is None, "the shipper ended by itself"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def once(self) -> int:
        """Send what is left and return the exit code."""
        done = subprocess.run(
            self.command("--once", "--once-timeout", "60s"),
            stdout=self.log,
            stderr=self.log,
            check=False,
            timeout=300,
        )
        return done.returncode


@pytest.fixture
def shipper_on(tmp_path: pathlib.Path) -> Iterator[Callable[[str, pathlib.Path], Shipper]]:
    """Return a function that makes a shipper.

    It is ended after the test, and its log shown when that fails.
    """
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((tmp_path / "shipper.log").open("wb+"))
        made: list[Shipper] = []

        def make(url: str, root: pathlib.Path) -> Shipper:
            made.append(Shipper(url, root, tmp_path / "state", log))
            return made[-1]

        yield make
        for shipper in made:
            if shipper.process is not None and shipper.process.poll() is None:
                shipper.process.kill()
                shipper.process.wait()


def all_lines(loki: Loki, *, since_ns: int) -> dict[str, list[tuple[int, str]]]:
    """Return every entry of the ledger's streams, page by page; stamps are unique within a stream."""
    until_ns = time.time_ns() + HOUR_NS
    answer = requests.get(
        f"{loki.url}/loki/api/v1/series",
        params={"match[]": SELECTOR, "start": str(since_ns), "end": str(until_ns)},
        timeout=30,
    )
    found: dict[str, list[tuple[int, str]]] = {}
    for labels in answer.json()["data"]:
        names = {k: v for k, v in labels.items() if k not in ("service_name", "detected_level")}
        absent = {"backfill", "restamped", "__stream_shard__"} - names.keys()
        matchers = [f"{k}={json.dumps(v)}" for k, v in names.items()] + [f'{k}=""' for k in absent]
        selector = "{" + ",".join(matchers) + "}"
        entries: list[tuple[int, str]] = []
        start_ns, limit = since_ns, 5000
        while True:
            page = [
                (int(ns), line)
                for stream in loki.query(selector, start_ns=start_ns, end_ns=until_ns, limit=limit)
                for ns, line in stream["values"]
            ]
            page.sort()
            entries += page
            if len(page) < limit:
                break
            start_ns = page[-1][0] + 1
        found[selector] = entries
    return found


def flush(loki: Loki) -> None:
    """Make everything visible: Loki asks its ingesters only for the last three hours."""
    assert requests.post(f"{loki.url}/flush", timeout=60).status_code in (200, 204)


def count(found: dict[str, list[tuple[int, str]]]) -> Counter[str]:
    """Return how often each line is there."""
    return Counter(line for entries in found.values() for _, line in entries)


def where(found: dict[str, list[tuple[int, str]]], lines: Counter[str]) -> list[tuple[str, int, str]]:
    """Return in which streams, and at which nanoseconds, some lines stand."""
    places = (
        (selector, ns, line) for selector, entries in found.items() for ns, line in entries if line in lines
    )
    return sorted(places, key=lambda place: place[2])[:200]


def own_times_in_order(found: dict[str, list[tuple[int, str]]]) -> None:
    """In each stream, own times ascend and, within a file's burst, numbers do."""
    for entries in found.values():
        times = [json.loads(line)["timestamp"] for _, line in entries]
        assert times == sorted(times)


def rotate(writers: Writers, shipper: Shipper, chance: random.Random) -> None:
    """Rename one file, as loggers do; the shipper may be up or down.

    Only a file that the positions hold: one that came and went under another name before the first save,
    with a SIGKILL in the same quarter of a second, is one that nobody can know of. docs/shipper.md says so.
    """
    with writers.lock:
        known = rows(shipper)
        # Nor one that may have been cut a moment ago, whose new content has not been saved once.
        paths = [p for p in [*writers.events[1:], *writers.shared[1:-1]] if p.exists() and str(p) in known]
        if paths:
            path = chance.choice(paths)
            if known[str(path)]["inode"] == path.stat().st_ino:
                path.rename(path.with_name(f"{path.name}.{time.time_ns()}"))


def copytruncate(writers: Writers, shipper: Shipper) -> None:
    """Copy and cut two files once the shipper has caught up, which is the only time at which that is safe."""
    with writers.lock:
        sizes = {str(p): p.stat().st_size for p in (writers.events[0], writers.shared[0]) if p.exists()}
        eventually(lambda: settled(shipper, sizes), within_s=60, what="the shipper has caught up")
        for name in sizes:
            shutil.copyfile(name, f"{name}.copy-{time.time_ns()}")
            os.truncate(name, 0)


def settled(shipper: Shipper, sizes: dict[str, int]) -> bool:
    """Tell whether the positions say that the files are settled to their ends."""
    known = rows(shipper)
    return all(known.get(path, {}).get("settled", 0) >= size for path, size in sizes.items())


def rows(shipper: Shipper) -> dict[str, dict[str, Any]]:
    """Return what the positions say, by path."""
    done = subprocess.run(
        [sys.executable, "-m", "shipper", "positions", "--json", "--state-dir", str(shipper.state)],
        capture_output=True,
        check=True,
        timeout=30,
    )
    return {row["path"]: row for row in json.loads(done.stdout)["files"]}


def damage(shipper: Shipper, generation: str) -> None:
    """Fill one generation of the positions with NULs, as a power cut does."""
    path = shipper.state / generation
    if path.exists():
        path.write_bytes(b"\0" * path.stat().st_size)


def test_each_line_is_in_loki_once_through_kills_rotations_and_outages(
    loki: Callable[..., Loki], shipper_on: Callable[[str, pathlib.Path], Shipper], tmp_path: pathlib.Path
) -> None:
    """Missing 0, double 0, order kept; then, with both generations gone, missing 0."""
    print(f"seed {SEED}, {KILLS} kills")
    chance = random.Random(SEED)  # noqa: S311 - test data
    # A Loki that has just started shards streams whatever we send (replaying its log seems to count);
    # a repeat in another shard shows twice. docs/shipper.md says so; the long form showed it.
    server = loki(
        limits={
            "ingestion_rate_mb": 100,
            "ingestion_burst_size_mb": 200,
            "shard_streams": {"enabled": False},
        }
    )
    since_ns = time.time_ns() - 6 * HOUR_NS
    writers = Writers(tmp_path / "logs")
    thread = writers.start()
    shipper = shipper_on(server.url, writers.root)
    outages = {KILLS // 3, 2 * KILLS // 3} if SOAK else {KILLS // 2}
    damaged = {KILLS // 4: "positions.json", 3 * KILLS // 4: "positions.prev.json"}
    for kill in range(KILLS):
        shipper.start()
        if kill in outages:
            server.stop()
            time.sleep(2)
            server.start()
        time.sleep(chance.uniform(0.3, 2.5))
        if kill % 3 == 0:
            rotate(writers, shipper, chance)
        if kill % 7 == 6:
            copytruncate(writers, shipper)
        shipper.kill()
        if kill % 5 == 4:
            rotate(writers, shipper, chance)
        if kill in damaged:
            damage(shipper, damaged[kill])
    writers.stop.set()
    thread.join()

    assert shipper.once() == 0
    flush(server)
    expected = writers.written

    def complete() -> dict[str, list[tuple[int, str]]] | None:
        found = all_lines(server, since_ns=since_ns)
        return found if not expected - count(found) else None

    with contextlib.suppress(AssertionError):
        eventually(complete, within_s=60, what="all lines are visible")
    found = all_lines(server, since_ns=since_ns)
    have = count(found)
    missing, double = expected - have, have - expected
    print(
        f"{expected.total()} lines, missing {missing.total()}, double {double.total()}, {len(found)} streams"
    )
    assert not missing, f"missing: {list(missing)[:20]}; double: {where(found, double)[:20]}"
    assert not double, "\n".join(map(str, where(found, double)))
    own_times_in_order(found)
    dead = shipper.state / "dead-letters.jsonl"
    assert not dead.exists() or not dead.read_text()

    for generation in ("positions.json", "positions.prev.json"):
        (shipper.state / generation).write_bytes(b"")
    writers.append(writers.events[3], chance)
    assert shipper.once() == 0
    flush(server)

    def nothing_missing() -> bool:
        return not writers.written - count(all_lines(server, since_ns=since_ns))

    assert eventually(nothing_missing, within_s=60, what="with both generations gone nothing is missing")
