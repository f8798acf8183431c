"""A Hypothesis machine over a real directory and a Loki in memory.

Whatever happens, each line arrives once.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import tempfile
from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from receiver import Answer, Rules
from shipper_world import World, whole_lines

from shipper.entries.parts import MIN_ENTRY_BYTES
from shipper.follow.framing import frame
from shipper.keeping.positions import decode
from shipper.sources.jsonl import Jsonl
from shipper.sources.loki_mode import LokiMode
from shipper.state import Options

FILES = ("p/.loki/events.jsonl", "deep/a.jsonl", "deep/b.jsonl", "deep/x/y/c.jsonl")
KINDS = ("iteration_start", "session_end", "mystery")
ANSWERS = {
    "ok": None,
    "260": Answer(260, "blocked"),
    "200": Answer(200, ""),
    "400": Answer(400, "cannot be parsed"),
    "401": Answer(401, "who are you"),
    "404": Answer(404, ""),
    "413": Answer(413, "too large"),
    "429": Answer(429, "Per stream rate limit exceeded (limit: 3MB/sec)"),
    "429-small": Answer(429, "ingestion rate limit exceeded for user fake (limit: 600 bytes/sec)"),
    "429-streams": Answer(429, "maximum active stream limit exceeded"),
    "500": Answer(500, "oops"),
    "500-stored": Answer(500, "oops", stored=True),
    "500-large": Answer(500, "ResourceExhausted: received message larger than max"),
    "503": Answer(503, "away"),
    "reset": "reset",
    "stored-reset": "stored-reset",
    "hang": "hang",
}
LASTING = sorted(set(ANSWERS) - {"400", "413", "500-large", "429-small"})
"""Answers that may be given for long: the others end in the dead-letter file, rightly."""


class Shipping(RuleBasedStateMachine):
    """What is written, what may be missing, and what must be in Loki."""

    def __init__(self) -> None:
        super().__init__()
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="tallyship-"))
        self.world = World(
            self.root,
            sources=lambda logs: [
                LokiMode(f"{logs}/p/.loki", "test", "u@h"),
                Jsonl(f"{logs}/deep/**/*.jsonl", "test", "u@h"),
            ],
            options=Options(window_entries=60, window_bytes=20_000, max_line_bytes=50_000),
            max_open=60,
        )
        self.written: Counter[str] = Counter()
        self.at_risk: Counter[str] = Counter()
        self.given_up: Counter[str] = Counter()
        self.content: dict[str, list[str]] = {}
        """Whole lines that stand in each file now."""
        self.partial: dict[str, str] = {}
        self.number = 0
        self.mode = "ok"
        self.victim = ""

    @initialize(limit_bytes=st.sampled_from([12_000, 30_000, 262_144]))
    def begin(self, limit_bytes: int) -> None:
        """Start with an empty tree, and a Loki that takes lines up to a limit of which nobody was told."""
        self.world.model.rules = Rules(max_line_bytes=limit_bytes)
        self.world.script = self.answer
        self.world.start()

    def answer(self, labels: dict[str, str]) -> Answer | str | None:
        """Answer as the present mode says, for all streams or for the victim's."""
        if self.victim and self.victim not in labels.values():
            return None
        return ANSWERS[self.mode]  # type: ignore[return-value]

    # ---- writers

    def made(self, kind: str, ago_s: float, size: int) -> str:
        """Return a line that occurs once."""
        self.number += 1
        return self.world.line(f"line {self.number}", ago_s=ago_s, type=kind, pad="x" * size)

    def append(self, name: str, lines: list[str]) -> None:
        """Write whole lines, after what is left of an unfinished one."""
        if self.partial.get(name):
            rest = self.partial.pop(name)
            whole = rest[:-1] + "}" if rest.endswith("{") else rest
            self.world.write(name, "")
            self.content.setdefault(name, []).append(whole)
            self.written[whole] += 1
        for line in lines:
            self.world.write(name, line)
            if line.strip():
                self.content.setdefault(name, []).append(line)
                self.written[line] += 1

    @rule(
        name=st.sampled_from(FILES),
        kind=st.sampled_from(KINDS),
        count=st.integers(1, 12),
        ago_s=st.sampled_from([0.0, 0.0, 0.0, 1.0, 1500.0, 2500.0, 9000.0, 800_000.0, -3000.0]),
        size=st.sampled_from([0, 10, 700]),
    )
    def append_whole(self, name: str, kind: str, count: int, ago_s: float, size: int) -> None:
        """Append whole lines, some of them late, some of the future."""
        self.append(name, [self.made(kind, ago_s, size) for _ in range(count)])

    @rule(name=st.sampled_from(FILES), count=st.integers(2, 8))
    def append_equal(self, name: str, count: int) -> None:
        """Append the same line several times within a millisecond."""
        line = self.world.line("the same", type="iteration_start")
        self.append(name, [line] * count)

    @rule(
        name=st.sampled_from(FILES),
        junk=st.sampled_from(["not json", "[]", '{"timestamp":7}', '{"a":"\\ud800"}', "  "]),
    )
    def append_invalid(self, name: str, junk: str) -> None:
        """Append what is no event."""
        self.number += 1
        self.append(name, [f"{junk} {self.number}" if junk.strip() else junk])

    @rule(name=st.sampled_from(FILES))
    def append_huge(self, name: str) -> None:
        """Append lines that are larger than the window, and than what Loki takes."""
        self.append(name, [self.made("session_end", 0.0, 40_000), self.made("mystery", 1500.0, 15_000)])

    @rule(name=st.sampled_from(FILES))
    def append_part(self, name: str) -> None:
        """Append a line without its newline."""
        if not self.partial.get(name):
            text = self.made("iteration_start", 0.0, 5)
            self.world.write(name, text, end=b"")
            self.partial[name] = text

    # ---- what happens to files

    def path(self, name: str) -> pathlib.Path:
        """Return a file's path."""
        return self.world.logs / name

    def risk(self, name: str) -> None:
        """Note that what stands in the file may be lost, as far as it has not arrived."""
        have = Counter(whole_lines(self.world)) + Counter(entry["line"] for entry in self.world.buried())
        for line in self.content.pop(name, []):
            if have[line] < self.written[line]:
                self.at_risk[line] += 1
        self.finish(name)

    def finish(self, name: str) -> None:
        """Note that the unfinished line of a finished file, or of its copy, may arrive."""
        rest = self.partial.pop(name, None)
        if rest:
            self.written[rest] += 1
            self.at_risk[rest] += 1

    @rule(name=st.sampled_from(FILES))
    def rename(self, name: str) -> None:
        """Rotate by rename; twice in a row loses nothing either."""
        path = self.path(name)
        if path.exists():
            self.finish(name)
            for generation in (3, 2, 1):
                old = path.with_name(f"{path.name}.{generation}")
                if old.exists() and generation < 3:
                    old.rename(path.with_name(f"{path.name}.{generation + 1}"))
                elif old.exists():
                    old.rename(path.with_name(f"{path.name}.{self.number}.old"))
            path.rename(path.with_name(f"{path.name}.1"))
            self.content.pop(name, None)
            self.note_unseen()

    def note_unseen(self) -> None:
        """Note what cannot be known: a file that was never seen before it lost its path."""
        engine = self.world.engine
        known = set()
        if engine is not None:
            files = engine.files.all.values()
            known = {(t.dev, t.ino) for t in files if t.fd >= 0 and t.is_in(t.fd)}
        for path in self.world.logs.rglob("*.jsonl.*"):
            status = path.stat()
            if (status.st_dev, status.st_ino) not in known:
                have = Counter(whole_lines(self.world))
                for line in frame(path.read_bytes(), 0, finished=True).lines:
                    text = line.decode("utf-8", "replace")
                    if have[text] < self.written[text]:
                        self.at_risk[text] += 1

    @rule(name=st.sampled_from(FILES))
    def copytruncate(self, name: str) -> None:
        """Copy and cut: what was not read is found in the copy, or lost."""
        path = self.path(name)
        if path.exists():
            shutil.copyfile(path, path.with_name(f"{path.name}.copy{self.number}"))
            self.risk(name)
            os.truncate(path, 0)

    @rule(name=st.sampled_from(FILES), more=st.integers(0, 40))
    def truncate_and_regrow(self, name: str, more: int) -> None:
        """Cut in place and write again, perhaps past the position."""
        path = self.path(name)
        if path.exists():
            self.risk(name)
            os.truncate(path, 0)
            self.append(name, [self.made("iteration_start", 0.0, 20) for _ in range(more)])

    @rule(name=st.sampled_from(FILES))
    def replace(self, name: str) -> None:
        """Unlink and make anew, which on many file systems gives the same inode number."""
        path = self.path(name)
        if path.exists():
            self.risk(name)
            path.unlink()
            self.append(name, [self.made("iteration_start", 0.0, 3)])

    # ---- the shipper and Loki

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.3, 1.0, 6.0, 12.0]))
    def pump(self, seconds: float) -> None:
        """Let it work for a while."""
        if self.world.engine is not None:
            self.world.pump(seconds)
        else:
            self.world.clock.elapsed_s += seconds

    @rule(mode=st.sampled_from(LASTING), victim=st.sampled_from(["", "iteration_start", "jsonl", "true"]))
    def loki_answers(self, mode: str, victim: str) -> None:
        """Change what Loki answers, to all streams or to one."""
        self.mode, self.victim = mode, victim

    @precondition(lambda self: self.world.engine is not None)
    @rule(mode=st.sampled_from(["413", "500-large", "429-small"]))
    def one_strange_answer(self, mode: str) -> None:
        """Give one strange answer, then the rules again."""
        self.victim = ""
        before = self.mode
        answers = iter([ANSWERS[mode]])
        self.world.script = lambda _labels: next(answers, None)  # type: ignore[assignment,return-value]
        self.world.pump(6.0)
        self.world.script = self.answer
        self.mode = before

    @rule()
    def crash(self) -> None:
        """Kill it."""
        self.world.crash()

    @rule()
    def start(self) -> None:
        """Start it, if it is down."""
        if self.world.engine is None:
            self.world.start()

    @rule(
        which=st.sampled_from(["positions.json", "positions.prev.json"]),
        how=st.sampled_from(["nul", "cut", "gone"]),
    )
    def damage_one_generation(self, which: str, how: str) -> None:
        """Damage one generation of the positions while it is down."""
        path = self.world.state / which
        other = self.world.state / ({"positions.json", "positions.prev.json"} - {which}).pop()
        if self.world.engine is None and path.exists() and _whole(other):
            size = path.stat().st_size
            if how == "gone":
                path.unlink()
            else:
                path.write_bytes(b"\0" * size if how == "nul" else path.read_bytes()[: size // 2])

    # ---- promises

    @invariant()
    def committed_is_delivered(self) -> None:
        """Check that what the position has passed is in Loki or in the dead-letter file."""
        engine = self.world.engine
        if engine is None:
            return
        have = set(whole_lines(self.world)) | {entry["line"] for entry in self.world.buried()}
        for tracked in engine.files.all.values():
            if tracked.fd < 0 or not tracked.is_in(tracked.fd):
                continue  # cut, and not noticed yet: what stands there now was never read
            lowest = min((f.lowest for f in tracked.account.behind().values()), default=tracked.read)
            data = os.pread(tracked.fd, lowest, 0)
            for line in frame(data, 0).lines:
                assert line.decode("utf-8", "replace") in have

    @invariant()
    def balance_holds(self) -> None:
        """For each file: read = acked + dead + in flight, and in flight is what is in memory."""
        engine = self.world.engine
        if engine is None:
            return
        total = 0
        for balance in engine.balances():
            assert balance.read == balance.acked + balance.dead + balance.in_flight
            assert balance.in_flight >= 0
            total += balance.in_flight
        assert total == engine.window.entries

    @rule()
    def rest(self) -> None:
        """Let everything come to rest, and compare."""
        self.mode = "ok"
        if self.world.engine is None:
            self.world.start()
        self.world.settle()
        # What was unfinished in a file that is still at its path waits for its end.
        have = Counter(whole_lines(self.world)) + Counter(entry["line"] for entry in self.world.buried())
        missing = self.written - have
        assert not missing - self.at_risk, f"missing {missing - self.at_risk}"
        # A line of which the answer was lost can be in Loki and, refused for another reason later, a dead
        # letter too.
        doubles = Counter(whole_lines(self.world)) - self.written - self.given_up
        if any(event == "entry_limit_learnt" for event, _ in self.world.told):
            # Stored whole, the answer lost or that of another line, and then the limit fell: docs/shipper.md.
            doubles = Counter({line: n for line, n in doubles.items() if len(line) <= MIN_ENTRY_BYTES})
        assert not doubles, f"double {doubles}"
        if missing:
            # Counted lost, or never seen at all. It may still come: where lines are equal, a copy of it can
            # turn out to be the rest of a file that was cut.
            for line, count in missing.items():
                self.written[line] -= count
                self.given_up[line] += count
                self.at_risk[line] -= min(self.at_risk[line], count)
        else:
            self.at_risk.clear()
        assert not self.world.model.problems
        self.in_order()

    def in_order(self) -> None:
        """Lines of one file that have the same time stand in the file's order."""
        for name, lines in self.world.streams().items():
            if "restamped" in name or "backfill" in name:
                continue
            numbered = []
            for line in lines:
                try:
                    record = json.loads(line)
                    numbered.append((record["timestamp"], int(record["text"].split()[1])))
                except (ValueError, KeyError, TypeError, IndexError):
                    continue
            times = [at for at, _ in numbered]
            assert times == sorted(times)

    def teardown(self) -> None:
        """Come to rest once more, and clean up."""
        try:
            self.rest()
        finally:
            self.world.close()
            shutil.rmtree(self.root, ignore_errors=True)


def _whole(path: pathlib.Path) -> bool:
    try:
        decode(path.read_bytes())
    except (OSError, ValueError):
        return False
    return True


TestShipping = Shipping.TestCase
TestShipping.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
