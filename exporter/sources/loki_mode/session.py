"""Decides whether a session runs, since when, and at which iteration: pure.

Upstream believes `mode` and reports a killed session as running for ever; a live pid decides here.

| pid file | what else | status |
|---|---|---|
| names a live process | PAUSE file, or a fresh state of this session says `paused` | 2 |
| names a live process | else | 1 |
| names none (dead, reused, not positive, unreadable) | no skill session began after it | 0 |
| none, or pids not visible | fresh state, not vetoed by a later `session_end` | by its `mode` |
| none | state older than the limit | 0 |
| none | no state, or one older than `session.json` | by `session.json`'s `status` |
| not visible | no state, no `session.json` | unknown |
| none | nothing at all | 0: a runner writes its pid before anything else |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from exporter.process import Process
from exporter.sources.loki_mode.events import SessionMarks

REUSE_TOLERANCE_S = 1.0
"""A process that started this much after the pid file was written is another one (start times are coarse)."""


class Status(IntEnum):
    """The value of `loki_session_status`."""

    STOPPED = 0
    RUNNING = 1
    PAUSED = 2


_BY_WORD = {
    "running": Status.RUNNING,
    "autonomous": Status.RUNNING,
    "demo": Status.RUNNING,
    "paused": Status.PAUSED,
    "stopped": Status.STOPPED,
}


@dataclass(frozen=True, slots=True)
class PidFile:
    """A pid file: when it was written (None: not known), its pid (None: unreadable), the live process."""

    written_s: float | None
    pid: int | None
    process: Process | None = None
    is_own: bool = True  # the project's `loki.pid`, not one of `sessions/*/`
    is_settled: bool = True  # False: unreadable, and young enough to be just being written


@dataclass(frozen=True, slots=True)
class StateFile:
    """What of `dashboard-state.json` speaks of the session; `written_s` is its own timestamp, else mtime."""

    mode: str | None
    written_s: float | None
    iteration: int | None
    started_s: float | None


@dataclass(frozen=True, slots=True)
class SessionFile:
    """`session.json` of skill and demo mode. `pid_is_dead`: it names a process that does not live."""

    status: str | None
    started_s: float | None
    pid_is_dead: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of a project's session at one moment.

    `marks` is None while the history of events is still being read. `state` None with `state_is_torn` False:
    there is no such file.
    """

    now_s: float
    pid_files: Sequence[PidFile]
    pids_visible: bool
    is_pause_file: bool
    state: StateFile | None
    state_is_torn: bool
    session: SessionFile | None
    session_is_torn: bool
    init_started_s: float | None
    marks: SessionMarks | None
    state_max_age_s: float


@dataclass(frozen=True, slots=True)
class Session:
    """The verdict; None stands for unknown. `live` is the pid file of the runner, when there is one.

    `since_s`: what is older belongs to an earlier session; Unix seconds.
    """

    status: Status | None
    iteration: int | None
    uptime_s: float | None
    live: PidFile | None
    since_s: float | None = None

    def is_of(self, when_s: float | None, slack_s: float = 0.0) -> bool:
        """Whether something written at that time belongs to this session; unknown times do."""
        return when_s is None or self.since_s is None or when_s + slack_s >= int(self.since_s)


def judge(evidence: Evidence) -> Session:
    """Return the verdict on a project's session."""
    live = _live_pid_file(evidence)
    status = _status(evidence, live)
    since_s = _since_s(evidence, live)
    if since_s is not None and since_s > evidence.now_s:
        since_s = None  # a file from the future was copied or touched; its time tells nothing
    iteration = _iteration(evidence, live, since_s)
    return Session(status, iteration, _uptime_s(evidence, status, since_s), live, since_s)


def is_alive(written_s: float | None, process: Process | None) -> bool:
    """Whether the process is the one that wrote the file at that time, not a later one with its pid."""
    if process is None:
        return False
    if written_s is None or process.started_s is None:
        return True
    return process.started_s <= written_s + REUSE_TOLERANCE_S


def _live_pid_file(evidence: Evidence) -> PidFile | None:
    """Return the pid file of a live runner: the project's own first, else the youngest."""
    if not evidence.pids_visible:
        return None
    live = [p for p in evidence.pid_files if is_alive(p.written_s, p.process)]
    return max(live, key=lambda p: (p.is_own, p.written_s or 0.0), default=None)


def _status(evidence: Evidence, live: PidFile | None) -> Status | None:
    if live is not None:
        return _status_of_live(evidence, live)
    if evidence.pid_files and evidence.pids_visible and not _is_decided_by_session_file(evidence):
        return Status.STOPPED if all(p.is_settled for p in evidence.pid_files) else None
    return _status_without_pid(evidence)


def _status_of_live(evidence: Evidence, live: PidFile) -> Status:
    state = evidence.state
    says_paused = (
        state is not None
        and state.mode == "paused"
        and _is_fresh(evidence, state)
        and _is_since(state.written_s, live.written_s)
    )
    return Status.PAUSED if evidence.is_pause_file or says_paused else Status.RUNNING


def _status_without_pid(evidence: Evidence) -> Status | None:
    state, session = evidence.state, evidence.session
    if state is None and evidence.state_is_torn:
        has_ended = evidence.marks is not None and evidence.marks.ended
        return Status.STOPPED if has_ended else None
    if state is not None and not _is_decided_by_session_file(evidence):
        return _status_by_state(evidence, state)
    if session is None:
        # A pid file that cannot be judged (a container) and no state beside it: nobody knows.
        is_unknown = evidence.session_is_torn or bool(evidence.pid_files)
        return None if is_unknown else Status.STOPPED
    if session.pid_is_dead:
        return Status.STOPPED
    return _with_pause(_word(session.status), evidence)


def _since_s(evidence: Evidence, live: PidFile | None) -> float | None:
    """Return the time before which everything belongs to an earlier session: that of the file that decides.

    The events may end with a session that was killed; its marks do not belong to this one.
    """
    if live is not None:
        return live.written_s
    if _is_decided_by_session_file(evidence):
        return evidence.session.started_s if evidence.session is not None else None
    if evidence.pids_visible:
        return None
    return max((p.written_s for p in evidence.pid_files if p.written_s is not None), default=None)


def _is_decided_by_session_file(evidence: Evidence) -> bool:
    """Whether a skill session speaks: nothing that a runner wrote is newer than its `session.json`."""
    state, session = evidence.state, evidence.session
    if session is None or (state is None and evidence.state_is_torn):
        return False
    if state is not None and (_is_fresh(evidence, state) or not _is_newer(session, state.written_s)):
        return False
    return all(_is_newer(session, p.written_s) for p in evidence.pid_files)


def _status_by_state(evidence: Evidence, state: StateFile) -> Status | None:
    if not _is_fresh(evidence, state):
        return Status.STOPPED
    if evidence.marks is None:
        return None
    if evidence.marks.ended:
        return Status.STOPPED
    return _with_pause(_word(state.mode), evidence)


def _with_pause(status: Status | None, evidence: Evidence) -> Status | None:
    return Status.PAUSED if status is Status.RUNNING and evidence.is_pause_file else status


def _word(word: str | None) -> Status | None:
    return _BY_WORD.get(word.strip().lower()) if word is not None else None


def _is_fresh(evidence: Evidence, state: StateFile) -> bool:
    return state.written_s is not None and abs(evidence.now_s - state.written_s) <= evidence.state_max_age_s


def _is_newer(session: SessionFile, written_s: float | None) -> bool:
    """Whether a skill session began after a runner had written something for the last time."""
    if session.started_s is None or written_s is None:
        return False
    return session.started_s > written_s


def _is_since(when_s: float | None, since_s: float | None) -> bool:
    """Whether a time belongs to the session that began at `since_s`; unknown times are not held against it.

    Records have whole seconds, so the beginning is cut to whole seconds too.
    """
    return when_s is None or since_s is None or when_s >= int(since_s)


def _iteration(evidence: Evidence, live: PidFile | None, since_s: float | None) -> int | None:
    """Return the larger of the state's iteration and the last one begun in this session.

    v5's state writer is a forked loop whose counter stays at 0, so the events know better; without them
    nothing is known.
    """
    state, marks = evidence.state, evidence.marks
    if marks is None:
        return None
    known = []
    if (
        state is not None
        and state.iteration is not None
        and _is_since(state.written_s, since_s or marks.started_s)
    ):
        known.append(state.iteration)
    is_earlier = marks.ended and live is not None and since_s is None
    if marks.iteration is not None and _is_since(marks.iteration_s, since_s) and not is_earlier:
        known.append(marks.iteration)
    return max(known, default=None)


def _uptime_s(evidence: Evidence, status: Status | None, since_s: float | None) -> float | None:
    if status is None:
        return None
    if status is Status.STOPPED:
        return 0.0
    if evidence.marks is None:
        return None
    began_s = _began_s(evidence, evidence.marks, since_s)
    return None if began_s is None else round(max(0.0, evidence.now_s - began_s), 3)


def _began_s(evidence: Evidence, marks: SessionMarks, since_s: float | None) -> float | None:
    """Return when this session began: its `session_start`, else its pid file, else `startedAt`."""
    is_past = marks.started_s is not None and marks.started_s <= evidence.now_s + evidence.state_max_age_s
    if is_past and _is_since(marks.started_s, since_s) and not marks.ended:
        return marks.started_s
    if since_s is not None:
        return since_s
    candidates = [
        evidence.session.started_s if evidence.session is not None else None,
        evidence.state.started_s if evidence.state is not None else None,
        evidence.init_started_s,
    ]
    return next((began_s for began_s in candidates if began_s is not None), None)
