from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest
import sample_session
import session_story
from session_files import Session

from exporter import LokiModeCollector
from exporter.process import Process

PID = 4242
STARTED_S = 1_795_000_000.0
TEN_MINUTES_S = 600.0
PATIENCE_S = 20.0


def played(
    seconds: float, *, seed: int = 1, torn_ratio: float = 0.0
) -> tuple[Session, list[session_story.Step]]:
    """Return the steps of a session's first seconds, and the session as its writers then see it."""
    session = session_story.begin(PID, "demo", "/srv/projects/demo", STARTED_S)
    steps = []
    for step in session_story.play(session, Random(seed), torn_ratio=torn_ratio):
        steps.append(step)
        if step.at_s >= STARTED_S + seconds:
            break
    return session, steps


def written(root: Path, steps: list[session_story.Step]) -> None:
    """Write the steps into a directory, each file with the time of its step."""
    for step in steps:
        sample_session.apply(root, step)
        for write in step.writes:
            if write.way != "remove":
                os.utime(root / write.path, (step.at_s, step.at_s))


def exported(
    root: Path, now_s: float, *, alive: bool
) -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return what the exporter makes of the directory, by name and labels."""
    collector = LokiModeCollector(
        str(root),
        clock=lambda: now_s,
        environ={},
        pid_probe=lambda pid: Process(STARTED_S - 1) if alive and pid == PID else None,
    )
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }


def test_the_same_seed_tells_the_same_story() -> None:
    """A session is decided by its seed and its clock alone."""
    assert played(60.0, seed=7)[1] == played(60.0, seed=7)[1]
    assert played(60.0, seed=7)[1] != played(60.0, seed=8)[1]


def test_time_never_runs_back_and_speed_shortens_it() -> None:
    """Steps come in the order of time; at twice the speed they take half of it."""
    session = session_story.begin(PID, "demo", "/srv", STARTED_S)
    steps = session_story.play(session, Random(1), speed=2.0)
    fast = [step.at_s for step, _ in zip(steps, range(200), strict=False)]
    slow = [step.at_s for step in played(TEN_MINUTES_S)[1][:200]]

    assert slow == sorted(slow)
    assert fast == pytest.approx([STARTED_S + (at_s - STARTED_S) / 2 for at_s in slow], abs=1e-3)


def test_every_text_is_what_its_name_says() -> None:
    """Without torn moments each file is JSON, each appended text one line of it; there is no other kind."""
    for step in played(TEN_MINUTES_S)[1]:
        for write in step.writes:
            if write.path.endswith(".jsonl"):
                assert write.text.count("\n") == 1
                assert write.text.endswith("\n")
            if write.path.endswith((".json", ".jsonl")):
                json.loads(write.text)
            else:
                assert write.path in {"loki.pid", "state/provider", "PAUSE"}


def test_a_torn_moment_makes_the_state_no_json_and_nothing_else() -> None:
    """The monitor pastes an empty queue file as it finds it, as Loki Mode does."""
    texts = [write for step in played(60.0, torn_ratio=1.0)[1] for write in step.writes]
    states = [write.text for write in texts if write.path == "dashboard-state.json"]

    assert states
    assert all('"inProgress": ,' in text for text in states)
    for write in texts:
        if write.path.startswith("queue/"):
            json.loads(write.text)


def test_the_exporter_reads_what_the_story_tells(tmp_path: Path) -> None:
    """After ten minutes the metrics are the session's own numbers."""
    session, steps = played(TEN_MINUTES_S)
    written(tmp_path, steps)
    events = [json.loads(w.text) for step in steps for w in step.writes if w.path == "events.jsonl"]
    begun = [event["data"]["iteration"] for event in events if event["type"] == "iteration_start"]
    now_s = steps[-1].at_s

    metrics = exported(tmp_path, now_s, alive=True)

    none: frozenset[tuple[str, str]] = frozenset()
    outcome = {status: frozenset({("status", status)}) for status in ("pending", "completed", "failed")}
    assert len(session.history) > 20
    assert metrics["loki_session_status", none] == (2 if session.is_paused else 1)
    assert metrics["loki_iteration_current", none] == begun[-1]
    assert metrics["loki_tasks_total", outcome["pending"]] == len(session.pending)
    assert metrics["loki_tasks_total", outcome["completed"]] == len(session.completed)
    assert metrics["loki_tasks_total", outcome["failed"]] == len(session.failed)
    assert metrics["loki_cost_usd", none] == pytest.approx(session.cost_usd)
    assert metrics["loki_mode_tracked_cost_usd", none] == pytest.approx(session.cost_usd)
    assert metrics["loki_events_total", none] == len(events)
    assert metrics["loki_uptime_seconds", none] == pytest.approx(now_s - STARTED_S, abs=2.0)
    assert metrics["tallyship_exporter_lines_rejected_total", frozenset({("source", "loki-mode")})] == 0


def test_the_session_pauses_now_and_then_and_goes_on(tmp_path: Path) -> None:
    """A pause is a PAUSE file, which the exporter sees; it uses up an iteration's number."""
    session, steps = played(TEN_MINUTES_S)
    pauses = [
        i
        for i, step in enumerate(steps)
        for w in step.writes
        if w == session_story.Write("PAUSE", "in place")
    ]
    numbers = [iteration.number for iteration in session.history]
    written(tmp_path, steps[: pauses[0] + 1])

    metrics = exported(tmp_path, steps[pauses[0]].at_s, alive=True)

    assert metrics["loki_session_status", frozenset()] == 2
    assert session_story.PAUSE_EVERY not in numbers
    assert max(numbers) > session_story.PAUSE_EVERY


def test_a_clean_end_is_seen_as_stopped(tmp_path: Path) -> None:
    """The last words are session_end; the pid file is gone; the state still claims a running session."""
    session, steps = played(60.0)
    ends_s = steps[-1].at_s + 1
    written(tmp_path, [*steps, session_story.end(session, ends_s, None)])

    assert not (tmp_path / "loki.pid").exists()
    last = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])
    assert last["type"] == "session_end"
    assert json.loads((tmp_path / "dashboard-state.json").read_text())["mode"] == "autonomous"
    assert exported(tmp_path, ends_s, alive=False)["loki_session_status", frozenset()] == 0


def test_files_are_written_in_the_real_writers_ways(tmp_path: Path) -> None:
    """The state is replaced by rename (a new inode), queues are written in place, events appended."""
    steps = played(60.0)[1]
    inodes: dict[str, set[int]] = {"dashboard-state.json": set(), "queue/in-progress.json": set()}
    history = ""
    for step in steps:
        sample_session.apply(tmp_path, step)
        for path, seen in inodes.items():
            if (tmp_path / path).exists() and path in {write.path for write in step.writes}:
                seen.add((tmp_path / path).stat().st_ino)
        if (tmp_path / "events.jsonl").exists():
            before, history = history, (tmp_path / "events.jsonl").read_text()
            assert history.startswith(before)

    assert len(inodes["dashboard-state.json"]) > 1
    assert len(inodes["queue/in-progress.json"]) == 1
    assert not list(tmp_path.glob("**/*.tmp"))


@pytest.mark.parametrize("ending", ["sigterm", "seconds"])
def test_the_program_cleans_up_after_itself(tmp_path: Path, ending: str) -> None:
    """SIGTERM, or the end of its time, is a clean end with exit 0; till then its pid is in the file."""
    script = Path(sample_session.__file__)
    seconds = ["--seconds", "3"] if ending == "seconds" else []
    argv = [sys.executable, str(script), str(tmp_path / ".loki"), "--speed", "20", *seconds]
    with subprocess.Popen(argv) as process:
        pid_file, events = tmp_path / ".loki" / "loki.pid", tmp_path / ".loki" / "events.jsonl"
        deadline_s = time.monotonic() + PATIENCE_S
        while not events.exists() and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert int(pid_file.read_text()) == process.pid
        if ending == "sigterm":
            process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0

    assert not pid_file.exists()
    last = json.loads(events.read_text().splitlines()[-1])
    assert last["type"] == "session_end"
    assert last["data"].get("reason") == ("stop_requested" if ending == "sigterm" else None)
