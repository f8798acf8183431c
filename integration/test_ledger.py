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
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from integration.containers import Loki, eventually
from integration.shipping import HOUR_NS, Entries, Shipper, count, everything, flush, where

SOAK = os.environ.get("TALLYSHIP_SOAK") == "1"
KILLS = 100 if SOAK else 14
SEED = int(os.environ.get("TALLYSHIP_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
SELECTOR = '{environment="ledger"}'

pytestmark = pytest.mark.timeout(3600 if SOAK else 400)


@dataclass
class Writers:
    """Twenty files that grow; what was written, whole and not lost by our own doing."""

    root: pathlib.Path
    padding: str = ""
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
            data = {"n": self.number, "pad": self.padding}
            lines.append(json.dumps({"timestamp": at, "type": kind, "data": data}))
        if chance.random() < 0.3:
            lines += [json.dumps({"timestamp": at, "type": "session_pause", "data": "equal"})] * 3
        with path.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))
        self.written.update(lines)


def own_times_in_order(found: Entries) -> None:
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
        known = shipper.rows()
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
        eventually(lambda: shipper.settled(sizes), within_s=60, what="the shipper has caught up")
        for name in sizes:
            shutil.copyfile(name, f"{name}.copy-{time.time_ns()}")
            os.truncate(name, 0)


def damage(shipper: Shipper, generation: str) -> None:
    """Fill one generation of the positions with NULs, as a power cut does."""
    path = shipper.state / generation
    if path.exists():
        path.write_bytes(b"\0" * path.stat().st_size)


class Form(NamedTuple):
    """One way to run the test."""

    limits: dict[str, Any]
    padding_bytes: int
    grace_s: int
    """How long Loki has to end in an outage; 0: SIGKILL."""


# A Loki that has started splits streams into shards for some seconds, the longer the more its log held: with
# its own settings the lines are longer, so that this is seen.
OWN_SETTINGS = Form({}, padding_bytes=600, grace_s=0)
NO_SHARDS = Form({"shard_streams": {"enabled": False}}, padding_bytes=0, grace_s=10)


FORMS = {"own-settings": OWN_SETTINGS} if SOAK else {"own-settings": OWN_SETTINGS, "no-shards": NO_SHARDS}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_each_line_is_in_loki_once_through_kills_rotations_and_outages(
    loki: Callable[..., Loki],
    shipper_on: Callable[..., Shipper],
    tmp_path: pathlib.Path,
    form: Form,
) -> None:
    """Missing 0, double 0, order kept; then, with both generations gone, missing 0."""
    print(f"seed {SEED}, {KILLS} kills")
    chance = random.Random(SEED)  # noqa: S311 - test data
    server = loki(limits=form.limits)
    since_ns = time.time_ns() - 6 * HOUR_NS
    writers = Writers(tmp_path / "logs", "x" * form.padding_bytes)
    thread = writers.start()
    sources = [f"loki-mode={writers.root}/*/.loki", f"jsonl={writers.root}/agents/*.jsonl"]
    shipper = shipper_on(server.url, sources, "--environment", "ledger", "--batch-wait", "200ms")
    outages = set(range(10, KILLS, 20)) if SOAK else {KILLS // 2}
    damaged = {KILLS // 4: "positions.json", 3 * KILLS // 4: "positions.prev.json"}
    for kill in range(KILLS):
        shipper.start()
        if kill in outages:
            server.stop(grace_s=form.grace_s)
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

    def complete() -> bool:
        return not expected - count(everything(server, SELECTOR, since_ns=since_ns))

    with contextlib.suppress(AssertionError):
        eventually(complete, within_s=60, what="all lines are visible")
    found = everything(server, SELECTOR, since_ns=since_ns)
    have = count(found)
    missing, double = expected - have, have - expected
    shards = sum('__stream_shard__=""' not in selector for selector in found)
    print(
        f"{expected.total()} lines, missing {missing.total()}, double {double.total()}, "
        f"{len(found)} streams, {shards} of them shards"
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
        return not writers.written - count(everything(server, SELECTOR, since_ns=since_ns))

    assert eventually(nothing_missing, within_s=60, what="with both generations gone nothing is missing")
