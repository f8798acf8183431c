from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from hostile import DEPENDS_ON, PLACEMENTS, fill
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from loki_cases import samples
from loki_world import World, page_text

from exporter.sources.loki_mode import Wanted

PATHS = st.sampled_from(sorted(DEPENDS_ON))
SLOW = {"1 GB file"}  # read in a test of its own


def is_there(machine: Scrambled) -> bool:
    """Whether the scrambled project's directory is in its place."""
    return machine.bad.root.exists()


class Scrambled(RuleBasedStateMachine):
    """A project whose files somebody scrambles, beside a healthy one, scraped after every step."""

    @initialize()
    def begin(self) -> None:
        """Begin with two good projects."""
        self.folder = Path(tempfile.mkdtemp())
        self.bad, self.good = World(self.folder / "bad" / ".loki"), World(self.folder / "good" / ".loki")
        fill(self.bad)
        fill(self.good)
        self.collector = self.bad.collector(Wanted((str(self.bad.root), str(self.good.root))))
        self.counters: dict[str, float] = {}
        self.healthy: dict[str, float] = {}

    @precondition(is_there)
    @rule(path=PATHS, what=st.sampled_from(sorted(PLACEMENTS.keys() - SLOW)))
    def place(self, path: str, what: str) -> None:
        """Put something else in a file's place."""
        target = self.bad.root / path
        if target.parent.is_symlink() or not target.parent.is_dir():
            return
        if target.is_symlink() or target.exists():
            self.bad.remove(path)
        PLACEMENTS[what][0](target)

    @precondition(is_there)
    @rule(path=PATHS, text=st.binary(max_size=200))
    def scribble(self, path: str, text: bytes) -> None:
        """Write random bytes."""
        self.bad.write(path, text)

    @precondition(is_there)
    @rule(path=PATHS)
    def remove(self, path: str) -> None:
        """Remove a file."""
        target = self.bad.root / path
        if target.is_symlink() or target.exists():
            self.bad.remove(path)

    @precondition(is_there)
    @rule(folder=st.sampled_from(["queue", "state", "metrics", "metrics/efficiency", "proofs", "sessions"]))
    def remove_folder(self, folder: str) -> None:
        """Remove a whole folder."""
        shutil.rmtree(self.bad.root / folder, ignore_errors=True)

    @precondition(is_there)
    @rule()
    def rotate(self) -> None:
        """Rename the event log away, whatever it is."""
        log = self.bad.root / "events.jsonl"
        if log.is_symlink() or log.exists():
            log.rename(self.bad.root / "events.jsonl.1") if not log.is_dir() else shutil.rmtree(log)

    @precondition(is_there)
    @rule()
    def mend(self) -> None:
        """Write everything anew, as a new session does."""
        self.bad.live.clear()
        fill(self.bad)

    @precondition(is_there)
    @rule(kill=st.booleans())
    def end(self, *, kill: bool) -> None:
        """Have the runner die, or end in an orderly way."""
        self.bad.live.clear()
        if not kill:
            self.bad.event("session_end")

    @rule(there=st.booleans())
    def move_root(self, *, there: bool) -> None:
        """Take the project's directory away, or bring it back."""
        aside = self.folder / "aside"
        if there and aside.exists() and not self.bad.root.exists():
            aside.rename(self.bad.root)
        elif not there and self.bad.root.exists() and not aside.exists():
            self.bad.root.rename(aside)

    @rule(seconds=st.sampled_from([0.01, 1.0, 15.0, 61.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.bad.advance(seconds)

    @invariant()
    def page_is_whole(self) -> None:
        """Check that the page has no bug of ours, no series twice, no falling counter and all of the good."""
        text = page_text(self.collector)
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        page = samples(text)
        counters = {
            key: value
            for family in re.findall(r"^# TYPE (\S+) (?:counter|histogram)$", text, re.MULTILINE)
            for key, value in page.items()
            if key.startswith((f"{family}{{", f"{family}_bucket", f"{family}_count")) or key == family
        }

        assert len(lines) == len(page)
        assert not [key for key, value in page.items() if 'reason="internal"' in key and value]
        fallen = {key for key, value in counters.items() if value < self.counters.get(key, 0)}
        assert not fallen
        self.counters.update(counters)
        healthy = {
            key: value
            for key, value in page.items()
            if 'project="good"' in key and key.startswith("loki_") and self.is_timeless(key)
        }
        self.healthy = self.healthy or healthy
        assert healthy == self.healthy
        assert healthy

    @staticmethod
    def is_timeless(key: str) -> bool:
        """Return whether no time and no process of the other project can change a number of the good one."""
        return not key.startswith(
            ("loki_uptime_seconds", "loki_session_status", "loki_agents", "loki_iteration_max")
        )

    def teardown(self) -> None:
        """Clean up."""
        if hasattr(self, "bad"):
            self.bad.close()
            shutil.rmtree(self.folder)


TestScrambled = Scrambled.TestCase
TestScrambled.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
