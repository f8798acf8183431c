"""A whole shipper in one thread: real files, a Loki in memory, a clock that only moves when told."""

from __future__ import annotations

import json
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from receiver import Answer, Model

from shipper.engine import Engine
from shipper.keeping import positions
from shipper.keeping.deadletter import DeadLetters
from shipper.push.answer import Verdict, judge, no_answer
from shipper.redact.redactor import Redactor
from shipper.sending.transport import Answered, Push
from shipper.sources.base import Source
from shipper.sources.jsonl import Jsonl
from shipper.state import Options

START_S = 1_795_000_000.0
Script = Callable[[dict[str, str]], "Answer | str | None"]
"""Labels to an answer; "reset" and "stored-reset": no answer, the latter after storing; None: the model
answers."""


class FakeClock:
    """Time that only moves when told."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0

    def monotonic(self) -> float:
        """Return seconds since the start, and some."""
        return 1000.0 + self.elapsed_s

    def time_ns(self) -> int:
        """Return wall time."""
        return round((START_S + self.elapsed_s) * 1e9)


class SyncTransport:
    """Answers at the next turn."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.script: Script = lambda _labels: None
        self.pushed: list[tuple[dict[str, str], bytes]] = []
        self._waiting: list[Push] = []

    def submit(self, push: Push) -> None:
        """Take a push."""
        self.pushed.append((push.batch.stream.labels, push.batch.body))
        self._waiting.append(push)

    def answers(self) -> Iterable[Answered]:
        """Let the script or the model answer what waits; "hang" leaves a push without an answer for now."""
        waiting, self._waiting = self._waiting, []
        ended = []
        for push in waiting:
            scripted = self.script(push.batch.stream.labels)
            if scripted == "hang":
                self._waiting.append(push)
                continue
            if scripted in ("reset", "stored-reset"):
                if scripted == "stored-reset":
                    self.model.push(push.batch.body)
                verdict = no_answer(timed_out=False, detail="reset")
            elif isinstance(scripted, Verdict):
                verdict = scripted
            else:
                if isinstance(scripted, Answer):
                    answer = scripted
                    if answer.stored:
                        self.model.push(push.batch.body)
                else:
                    answer = self.model.push(push.batch.body)
                verdict = judge(answer.status, answer.text)
            ended.append(Answered(push, verdict, 0.01, len(push.batch.body)))
        return ended


class InlineSaver:
    """Saves at once, without the fsync that a test has no use for."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.problem = ""
        self._ended: tuple[int, str] | None = None

    def submit(self, data: positions.Data, number: int) -> None:
        """Save, or fail with `problem`."""
        if not self.problem:
            positions.save(self.directory, data, sync=lambda _fd: None)
        self._ended = (number, self.problem)

    def done(self) -> tuple[int, str] | None:
        """Return the save that has ended."""
        ended, self._ended = self._ended, None
        return ended


class Counting:
    """A `Meter` that remembers."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def add(self, name: str, amount: float = 1, label: str = "") -> None:
        """Add."""
        self.counts[name, label] += int(amount)

    def observe_push(self, seconds: float) -> None:
        """Do nothing."""


class World:
    """Sources under `logs/`, state under `state/`. `crash()` and `start()` may be called at any time."""

    def __init__(
        self,
        root: pathlib.Path,
        *,
        sources: Callable[[pathlib.Path], list[Source]] | None = None,
        options: Options | None = None,
        max_open: int = 512,
        model: Model | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self.root = root
        self.logs = root / "logs"
        self.state = root / "state"
        self.logs.mkdir(exist_ok=True)
        self.state.mkdir(exist_ok=True)
        self.clock = FakeClock()
        self.model = model or Model(now_ns=self.clock.time_ns)
        self.options = options or Options()
        self.max_open = max_open
        self.redactor = redactor
        self.make_sources = sources or (lambda logs: [Jsonl(f"{logs}/**/*.jsonl", "test", "u@h")])
        self.script: Script = lambda _labels: None
        self.meter = Counting()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.lost_bytes = 0
        self.engine: Engine | None = None
        self.transport = SyncTransport(self.model)
        self.saver = InlineSaver(self.state)
        self.dead = DeadLetters(self.state / "dead-letters.jsonl", 1 << 20)

    def start(self) -> Engine:
        """Start a shipper on the state directory."""
        assert self.engine is None
        self.transport = SyncTransport(self.model)
        self.transport.script = self._scripted
        self.saver = InlineSaver(self.state)
        self.engine = Engine(
            self.make_sources(self.logs),
            self.options,
            self.state,
            self.transport,
            self.saver,
            self.dead,
            self.clock,
            lambda: 0.5,
            self.tell,
            self.meter,
            max_open=self.max_open,
            redactor=self.redactor,
        )
        self.engine.start()
        return self.engine

    def _scripted(self, labels: dict[str, str]) -> Answer | Verdict | str | None:
        return self.script(labels)

    def crash(self) -> None:
        """End the shipper as SIGKILL does: nothing is flushed, nothing is saved."""
        if self.engine is not None:
            self.engine.close()
            self.engine = None

    def close(self) -> None:
        """Give descriptors back."""
        self.crash()

    def tell(self, event: str, *, level: str = "info", **fields: object) -> None:
        """Remember an event."""
        self.told.append((event, {"level": level, **fields}))
        if event == "lost":
            self.lost_bytes += int(str(fields["lost_bytes"]))

    def pump(self, seconds: float = 0.0) -> None:
        """Let `seconds` pass in turns, each as long as the engine says."""
        assert self.engine is not None
        until = self.clock.elapsed_s + seconds
        while True:
            pause = self.engine.pump()
            if self.clock.elapsed_s >= until:
                return
            self.clock.elapsed_s = min(until, self.clock.elapsed_s + max(pause, 0.01))

    def settle(self, limit_s: float = 600.0) -> None:
        """Let time pass until nothing is left to do; fails after `limit_s` of the clock's seconds."""
        assert self.engine is not None
        until = self.clock.elapsed_s + limit_s
        # Two rescans and a quiet period, so that what was renamed or ended without a newline is finished too.
        self.pump(25.0)
        while not self.engine.caught_up:
            assert self.clock.elapsed_s < until, self.stuck()
            self.clock.elapsed_s += max(self.engine.pump(), 0.05)

    def stuck(self) -> str:
        """Say what is left, for a failing test."""
        assert self.engine is not None
        engine = self.engine
        queues = [
            (repr(q.stream), q.entries, len(q.work), q.in_flight is not None, q.parked, q.reason)
            for q in engine.sender.queues.values()
        ]
        files = [
            (t.path, t.phase.name, t.read, t.size, t.account.pending, t.account.floors)
            for t in engine.files.all.values()
        ]
        floored = [(t.id, t.fd, t.path) for t in engine.sender.floored.values()]
        known = [(t.id, t.fd, t.path) for t in engine.files.all.values()]
        return (
            f"not settled: {queues} {files} ready={list(engine.files.ready)} floored={floored} "
            f"known={known} window={engine.window} away={engine.sender.away} {self.told[-5:]}"
        )

    def write(self, name: str, *lines: str | bytes, end: bytes = b"\n") -> pathlib.Path:
        """Append lines to a file below `logs/`."""
        path = self.logs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            for line in lines:
                file.write((line.encode() if isinstance(line, str) else line) + end)
        return path

    def line(self, text: str, *, ago_s: float = 0.0, **fields: object) -> str:
        """Return a line whose own time is `ago_s` before now, with milliseconds."""
        ns = self.clock.time_ns() - round(ago_s * 1e9)
        at = datetime.fromtimestamp(ns // 10**6 / 1000, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"timestamp": at.replace("+00:00", "Z"), "text": text, **fields})

    def arrived(self) -> list[str]:
        """Return all lines in Loki, stream by stream, in order of time."""
        return self.model.lines()

    def buried(self) -> list[dict[str, Any]]:
        """Return the dead letters."""
        if not self.dead.path.exists():
            return []
        return [json.loads(line) for line in self.dead.path.read_text().splitlines()]

    def streams(self) -> dict[str, list[str]]:
        """Return lines by stream, the stream as `name=value` of the labels that differ."""
        fixed = {"app", "environment", "machine"}
        found: dict[str, list[str]] = {}
        for labels, kept in self.model.entries.items():
            name = " ".join(f"{k}={v}" for k, v in labels if k not in fixed)
            found[name] = [line for _, line in sorted(kept, key=lambda entry: entry[0])]
        return found


def whole_lines(world: World) -> list[str]:
    """Return all lines in Loki, those in parts put together; twice where a part shows twice.

    A part that lies in the dead-letter file is where somebody finds it: it counts as there.
    """
    found: list[str] = []
    split: dict[tuple[str, int], dict[int, list[str]]] = {}
    for kept in world.model.entries.values():
        for (_, text), meta in sorted(kept.items(), key=lambda entry: entry[0]):
            if "line_id" in meta:
                parts = split.setdefault((meta["line_id"], int(meta["parts"])), {})
                parts.setdefault(int(meta["part"]), []).append(text)
            else:
                found.append(text)
    for letter in world.buried():
        meta = letter.get("metadata") or {}
        if "line_id" in meta:
            parts = split.setdefault((meta["line_id"], int(meta["parts"])), {})
            parts.setdefault(int(meta["part"]), [letter["line"]])
    for (_, count), parts in split.items():
        if sorted(parts) == list(range(1, count + 1)):
            line = "".join(texts[0] for _, texts in sorted(parts.items()))
            found += [line] * max(map(len, parts.values()))
    return found
