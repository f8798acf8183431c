from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from loki_world import START_S, World, environ_of

from exporter.process import Process, _from_stat, pids_are_visible, probe_pid
from exporter.sources.loki_mode.events import SessionMarks
from exporter.sources.loki_mode.session import (
    Evidence,
    PidFile,
    SessionFile,
    StateFile,
    Status,
    is_alive,
    judge,
)

NOW_S = START_S
LIVE = Process()
STOPPED, RUNNING, PAUSED, UNKNOWN = Status.STOPPED, Status.RUNNING, Status.PAUSED, None

NOTHING = Evidence(
    now_s=NOW_S,
    pid_files=(),
    pids_visible=True,
    is_pause_file=False,
    state=None,
    state_is_torn=False,
    session=None,
    session_is_torn=False,
    init_started_s=None,
    marks=SessionMarks(),
    state_max_age_s=30.0,
)


def pid_file(*, age_s: float = 60.0, pid: int = 7, process: Process | None = None) -> PidFile:
    """Return a pid file of that age."""
    return PidFile(NOW_S - age_s, pid, process)


def state(mode: str | None, *, age_s: float = 2.0, iteration: int | None = None) -> StateFile:
    """Return a state of that age."""
    return StateFile(mode, NOW_S - age_s, iteration, None)


@dataclass(frozen=True)
class Row:
    """One row of the status table."""

    sentence: str
    expected: Status | None
    evidence: dict[str, Any] = field(default_factory=dict)


RUNNER = (pid_file(process=LIVE),)
ENDED = SessionMarks(started_s=NOW_S - 50, ended=True)

ROWS = [
    Row("a live pid means running", RUNNING, {"pid_files": RUNNER}),
    Row("a live pid decides, whatever mode says", RUNNING, {"pid_files": RUNNER, "state": state("stopped")}),
    Row(
        "a live pid decides, however old the state",
        RUNNING,
        {"pid_files": RUNNER, "state": state("x", age_s=999)},
    ),
    Row("a live pid decides over a session_end", RUNNING, {"pid_files": RUNNER, "marks": ENDED}),
    Row("alive with a PAUSE file is paused", PAUSED, {"pid_files": RUNNER, "is_pause_file": True}),
    Row("alive with mode paused is paused", PAUSED, {"pid_files": RUNNER, "state": state("paused")}),
    Row(
        "a mode paused of an earlier session does not pause this one",
        RUNNING,
        {"pid_files": (pid_file(age_s=1, process=LIVE),), "state": state("paused", age_s=20)},
    ),
    Row(
        "a mode paused that nobody refreshes any more does not pause",
        RUNNING,
        {"pid_files": RUNNER, "state": state("paused", age_s=31)},
    ),
    Row(
        "a dead pid is stopped", STOPPED, {"pid_files": (pid_file(),), "state": state("autonomous", age_s=0)}
    ),
    Row(
        "a dead pid with a PAUSE file is stopped",
        STOPPED,
        {"pid_files": (pid_file(),), "is_pause_file": True},
    ),
    Row("pid 0 is nobody's", STOPPED, {"pid_files": (pid_file(pid=0),), "state": state("autonomous")}),
    Row(
        "a negative pid is nobody's",
        STOPPED,
        {"pid_files": (pid_file(pid=-1),), "state": state("autonomous")},
    ),
    Row(
        "a process that started after the pid file was written is another one",
        STOPPED,
        {"pid_files": (pid_file(age_s=60, process=Process(NOW_S - 50)),), "state": state("autonomous")},
    ),
    Row(
        "a process that started before the pid file was written is the runner",
        RUNNING,
        {"pid_files": (pid_file(age_s=60, process=Process(NOW_S - 61)),)},
    ),
    Row(
        "start times are coarse: the same second is still the runner",
        RUNNING,
        {"pid_files": (pid_file(age_s=60, process=Process(NOW_S - 59.5)),)},
    ),
    Row("a pid file that cannot be read is stopped", STOPPED, {"pid_files": (PidFile(None, None),)}),
    Row(
        "a pid file just being written is unknown for the moment",
        UNKNOWN,
        {"pid_files": (PidFile(None, None, is_settled=False),)},
    ),
    Row(
        "one live session of several is running",
        RUNNING,
        {"pid_files": (pid_file(), pid_file(pid=8), pid_file(pid=9, process=LIVE))},
    ),
    Row("without a pid file, mode tells: running", RUNNING, {"state": state("autonomous")}),
    Row("without a pid file, mode tells: paused", PAUSED, {"state": state("paused")}),
    Row("without a pid file, mode tells: stopped", STOPPED, {"state": state("stopped")}),
    Row("without a pid file, a mode nobody knows is unknown", UNKNOWN, {"state": state("dreaming")}),
    Row("without a pid file, PAUSE pauses", PAUSED, {"state": state("autonomous"), "is_pause_file": True}),
    Row(
        "without a pid file, a later session_end vetoes",
        STOPPED,
        {"state": state("autonomous"), "marks": ENDED},
    ),
    Row(
        "without a pid file, a session_start after the end lifts the veto",
        RUNNING,
        {"state": state("autonomous"), "marks": SessionMarks(started_s=NOW_S - 5, ended=False)},
    ),
    Row(
        "without a pid file, a state of 30 s still counts", RUNNING, {"state": state("autonomous", age_s=30)}
    ),
    Row("without a pid file, an older state is stopped", STOPPED, {"state": state("autonomous", age_s=30.1)}),
    Row(
        "without a pid file, the limit is configurable",
        RUNNING,
        {"state": state("autonomous", age_s=300), "state_max_age_s": 600.0},
    ),
    Row(
        "without a pid file, history still unread leaves it unknown, for its end may hold a session_end",
        UNKNOWN,
        {"state": state("autonomous"), "marks": None},
    ),
    Row("a torn state with nothing else is unknown", UNKNOWN, {"state_is_torn": True}),
    Row(
        "in a container, a fresh state decides",
        RUNNING,
        {"pids_visible": False, "pid_files": (pid_file(),), "state": state("autonomous")},
    ),
    Row(
        "in a container, a foreign pid 1 that lives here proves nothing",
        STOPPED,
        {"pids_visible": False, "pid_files": RUNNER, "state": state("autonomous", age_s=31)},
    ),
    Row(
        "in a container, a pid file without a state is unknown",
        UNKNOWN,
        {"pids_visible": False, "pid_files": RUNNER},
    ),
    Row("skill mode: session.json says running", RUNNING, {"session": SessionFile("running", NOW_S - 9)}),
    Row("skill mode: session.json says stopped", STOPPED, {"session": SessionFile("stopped", NOW_S - 9)}),
    Row(
        "skill mode: the 30 s rule does not apply", RUNNING, {"session": SessionFile("running", NOW_S - 9999)}
    ),
    Row("skill mode: PAUSE pauses", PAUSED, {"session": SessionFile("running", None), "is_pause_file": True}),
    Row(
        "skill mode: a dead pid in session.json is stopped",
        STOPPED,
        {"session": SessionFile("running", None, pid_is_dead=True)},
    ),
    Row("skill mode: a status nobody knows is unknown", UNKNOWN, {"session": SessionFile("musing", None)}),
    Row("skill mode: a torn session.json is unknown", UNKNOWN, {"session_is_torn": True}),
    Row(
        "a skill session after an old state of a runner counts",
        RUNNING,
        {"state": state("autonomous", age_s=900), "session": SessionFile("running", NOW_S - 60)},
    ),
    Row(
        "a session.json that is older than the last state does not",
        STOPPED,
        {"state": state("autonomous", age_s=900), "session": SessionFile("running", NOW_S - 5000)},
    ),
    Row("nothing at all is stopped: a runner writes its pid before anything else", STOPPED),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.sentence)
def test_status(row: Row) -> None:
    """Each row of the status table: what is known, and what it comes to."""
    assert judge(replace(NOTHING, **row.evidence)).status is row.expected


def test_unknown_start_of_a_process_is_not_held_against_it() -> None:
    """A process whose start may not be known counts as the runner; none at all never does."""
    assert is_alive(NOW_S, Process(None))
    assert is_alive(None, Process(NOW_S))
    assert not is_alive(NOW_S, None)


class TestIteration:
    """The larger of the state's iteration and the last iteration_start of this session."""

    def test_is_the_larger_one(self) -> None:
        """v5's state stays at 0 while the events go on; a resumed session's state may be ahead."""
        marks = SessionMarks(iteration=3, iteration_s=NOW_S - 5)
        low = judge(replace(NOTHING, state=state(None, iteration=0), marks=marks))
        high = judge(replace(NOTHING, state=state(None, iteration=9), marks=marks))

        assert (low.iteration, high.iteration) == (3, 9)

    def test_is_absent_when_nothing_tells(self) -> None:
        """Neither a state nor an iteration_start: unknown is not 0."""
        assert judge(NOTHING).iteration is None

    def test_of_an_earlier_session_does_not_count(self) -> None:
        """Events and state older than the live pid file belong to an earlier session."""
        evidence = replace(
            NOTHING,
            pid_files=(pid_file(age_s=10, process=LIVE),),
            state=state(None, age_s=40, iteration=12),
            marks=SessionMarks(started_s=NOW_S - 500, iteration=12, iteration_s=NOW_S - 40),
        )

        assert judge(evidence).iteration is None

    def test_is_absent_while_history_is_unread(self) -> None:
        """The end of the history may hold a later iteration_start, so the state alone says nothing true."""
        assert judge(replace(NOTHING, state=state(None, iteration=2), marks=None)).iteration is None


class TestUptime:
    """Since this session began; 0 when stopped."""

    def test_counts_from_session_start(self) -> None:
        """The session_start after the pid file was written is the session's begin."""
        evidence = replace(NOTHING, pid_files=RUNNER, marks=SessionMarks(started_s=NOW_S - 54))

        assert judge(evidence).uptime_s == 54

    def test_counts_from_the_pid_file_before_session_start_is_written(self) -> None:
        """A session_start older than the live pid file belongs to an earlier session."""
        evidence = replace(NOTHING, pid_files=RUNNER, marks=SessionMarks(started_s=NOW_S - 4000))

        assert judge(evidence).uptime_s == 60

    def test_ignores_the_fraction_of_the_pid_file_s_time(self) -> None:
        """Records have whole seconds: a session_start in the second of the pid file is this session's."""
        runner = (PidFile(NOW_S - 10 + 0.7, 7, LIVE),)

        assert (
            judge(replace(NOTHING, pid_files=runner, marks=SessionMarks(started_s=NOW_S - 10))).uptime_s == 10
        )

    def test_counts_from_started_at_without_both(self) -> None:
        """In a container without events, the state's startedAt is the best there is."""
        evidence = replace(
            NOTHING, state=StateFile("autonomous", NOW_S, None, NOW_S - 77), pids_visible=False
        )

        assert judge(evidence).uptime_s == 77

    def test_is_zero_when_stopped(self) -> None:
        """A session that does not run has none, however long ago it began."""
        evidence = replace(NOTHING, pid_files=(pid_file(),), marks=SessionMarks(started_s=NOW_S - 50))

        assert judge(evidence).uptime_s == 0

    def test_is_never_negative(self) -> None:
        """A clock that is behind the agent's does not make a session begin in the future."""
        evidence = replace(NOTHING, pid_files=RUNNER, marks=SessionMarks(started_s=NOW_S + 5))

        assert judge(evidence).uptime_s == 0

    def test_ignores_a_pid_file_from_the_future(self) -> None:
        """A pid file that was copied or touched later than now tells no time; the events do."""
        runner = (pid_file(age_s=-3600, process=LIVE),)
        evidence = replace(NOTHING, pid_files=runner, marks=SessionMarks(started_s=NOW_S - 33))

        assert judge(evidence).uptime_s == 33

    def test_of_a_pid_file_from_the_future_may_be_that_of_started_at(self) -> None:
        """With neither a pid file's time nor events, startedAt is the best there is."""
        runner = (pid_file(age_s=-3600, process=LIVE),)
        evidence = replace(NOTHING, pid_files=runner, init_started_s=NOW_S - 44)

        assert judge(evidence).uptime_s == 44

    def test_of_several_sessions_is_the_projects_own(self) -> None:
        """`loki.pid` is the project's; where that is dead, the youngest live session counts."""
        ages = (50, 10, 40)
        sessions = tuple(replace(pid_file(age_s=age, process=LIVE), is_own=False) for age in ages)
        with_unknown = (*sessions, PidFile(None, 9, LIVE, is_own=False))
        own = judge(replace(NOTHING, pid_files=(pid_file(age_s=30, process=LIVE), *sessions)))
        others = judge(replace(NOTHING, pid_files=(pid_file(age_s=5), *with_unknown)))

        assert (own.uptime_s, others.uptime_s) == (30, 10)

    def test_is_absent_when_nobody_knows(self) -> None:
        """An unknown status has no uptime, and neither has a session without any begin."""
        no_begin = replace(NOTHING, session=SessionFile("running", None))

        assert judge(replace(NOTHING, state_is_torn=True)).uptime_s is None
        assert judge(no_begin).uptime_s is None


class TestLimit:
    """loki_iteration_max."""

    @pytest.mark.parametrize(
        ("runner", "ours", "expected"),
        [
            ({}, {}, 1000),
            ({}, {"LOKI_MAX_ITERATIONS": "50"}, 50),
            ({"LOKI_MAX_ITERATIONS": "7"}, {"LOKI_MAX_ITERATIONS": "50"}, 7),
            ({"LOKI_MAX_ITERATIONS": ""}, {"LOKI_MAX_ITERATIONS": "50"}, 50),
            ({"LOKI_MAX_ITERATIONS": " +007 "}, {}, 7),
            ({"LOKI_MAX_ITERATIONS": "0"}, {}, None),
            ({"LOKI_MAX_ITERATIONS": "-3"}, {}, None),
            ({"LOKI_MAX_ITERATIONS": "2.5"}, {}, None),
            ({"LOKI_MAX_ITERATIONS": "many"}, {"LOKI_MAX_ITERATIONS": "50"}, None),
            ({"LOKI_MAX_ITERATIONS": "٣"}, {}, None),
            ({"LOKI_MAX_ITERATIONS": "9" * 5000}, {}, None),
        ],
    )
    def test_is_the_runners_own(
        self, world: World, runner: dict[str, str], ours: dict[str, str], expected: float | None
    ) -> None:
        """The runner's environment goes before ours and both before 1000; no whole number >= 1 is unknown."""
        world.runner(process=environ_of(**runner))
        world.environ.update(ours)

        assert world.page().value("loki_iteration_max") == expected

    def test_falls_back_where_the_runners_environment_may_not_be_read(self, world: World) -> None:
        """Another user's environment is not readable: then ours counts."""
        world.runner(process=Process(None, lambda: None))
        world.environ["LOKI_MAX_ITERATIONS"] = "12"

        assert world.page().value("loki_iteration_max") == 12

    def test_nonsense_is_one_warning(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """A value that is no number is said once, not on every scrape."""
        world.environ["LOKI_MAX_ITERATIONS"] = "lots"
        pages = [world.page() for _ in range(5)]

        assert pages[-1].errors == {}
        assert pages[-1].value("loki_iteration_max") is None
        assert len([r for r in caplog.records if "lots" in json.dumps(r.__dict__, default=str)]) == 1


class TestFromFiles:
    """The verdict from real files."""

    def test_a_session_of_its_own_runs(self, world: World) -> None:
        """v6.4 keeps several sessions a project, each with a pid file in sessions/<id>/."""
        world.write("sessions/a/loki.pid", "11\n", age_s=90)
        world.write("sessions/b/loki.pid", "12\n", age_s=30)
        world.live[12] = environ_of(LOKI_MAX_ITERATIONS="5")
        page = world.page()

        assert page.value("loki_session_status") == 1
        assert page.value("loki_uptime_seconds") == 30
        assert page.value("loki_iteration_max") == 5

    def test_a_runner_that_ends_is_seen_to_end(self, world: World) -> None:
        """From running to stopped between two scrapes, the pid file still there."""
        world.runner()
        assert world.page().value("loki_session_status") == 1
        world.live.clear()

        page = world.page()
        assert page.value("loki_session_status") == 0
        assert page.value("loki_uptime_seconds") == 0

    @pytest.mark.parametrize("text", [b"", b"x", b"\0\0\0", b"12 34", b"1e3", b"9" * 64, b"\xff\xfe"])
    def test_a_torn_pid_file_is_unknown_while_young(self, world: World, text: bytes) -> None:
        """An unreadable pid file may be just being written; a minute later it is stopped."""
        world.write("loki.pid", text)
        young = world.page()
        world.advance(61)

        assert young.value("loki_session_status") in {None, 0}
        assert world.page().value("loki_session_status") == 0

    def test_a_pid_file_that_is_torn_for_a_moment_changes_nothing(self, world: World) -> None:
        """The last good pid stands in while the file is rewritten."""
        world.runner()
        world.page()
        world.advance(15)
        world.write("loki.pid", b"")

        assert world.page().value("loki_session_status") == 1

    def test_a_demo_session_ends_with_its_pid(self, world: World) -> None:
        """The demo's session.json names a pid; when that is dead, so is the session."""
        world.write("session.json", {"status": "running", "pid": 99, "started": world.time(9)})
        dead = world.page()
        world.live[99] = True

        assert dead.value("loki_session_status") == 0
        assert world.page().value("loki_session_status") == 1


class TestProbe:
    """The probe of real processes."""

    def test_finds_ourselves(self) -> None:
        """Our own process lives, started in the past, with our environment."""
        found = probe_pid(int(Path("/proc/self").readlink().name))

        assert found is not None
        assert found.started_s is not None
        assert "PATH" in (found.environ() or {})

    @pytest.mark.parametrize("pid", [0, -1, -4242, 2**31 - 1, 2**63, 10**30])
    def test_finds_nobody(self, pid: int) -> None:
        """Not positive, unused and absurd pids are nobody's."""
        assert probe_pid(pid) is None

    def test_a_zombie_is_dead(self) -> None:
        """A process that ended and was not waited for can be signalled, but does not live."""
        with subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.read()  # the end of its output: it is ending
            for _ in range(2000):
                if b") Z " in Path(f"/proc/{child.pid}/stat").read_bytes():
                    break
                Path("/proc/self/stat").read_bytes()
            else:
                pytest.skip("the child has not become a zombie in time")
            assert probe_pid(child.pid) is None

    def test_reads_its_start_behind_any_name(self) -> None:
        """A process may call itself anything, also as if its fields began earlier."""
        tick = os.sysconf("SC_CLK_TCK")
        after = b" ".join([b"S", *[b"0"] * 18, b"%d" % (100 * tick), b"0"])
        found = _from_stat(7, b"7 (a) Z 1 (b) " + after, now_s=5000.0, uptime_s=160.0)

        assert found is not None
        assert found.started_s == 5000 - 60

    def test_one_that_may_not_be_signalled_lives(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another user's process answers EPERM: it is there."""

        def deny(_pid: int, _signal: int) -> None:
            raise PermissionError

        monkeypatch.setattr("exporter.process.os.kill", deny)

        assert probe_pid(os.getpid()) is not None

    def test_visibility_of_pids_is_an_answer(self) -> None:
        """Whether we see the host's pids is a plain yes or no, wherever the test runs."""
        assert pids_are_visible() in {True, False}

    def test_a_session_among_very_many_is_found(self, world: World) -> None:
        """Hundreds of finished sessions do not hide the one that lives."""
        for number in range(400):
            world.write(f"sessions/s{number:03}/loki.pid", "7\n", age_s=900)
        world.write("sessions/s399/loki.pid", "12\n", age_s=30)
        world.live[12] = environ_of()

        assert world.page().value("loki_session_status") == 1

    def test_more_sessions_than_can_be_looked_at_are_unknown(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The live one may be among those that were not looked at: absent, not stopped."""
        monkeypatch.setattr("exporter.sources.loki_mode.files.MAX_SESSIONS", 3)
        for number in range(5):
            world.write(f"sessions/s{number}/loki.pid", "7\n", age_s=900)

        assert world.page().value("loki_session_status") is None

    def test_a_skill_session_after_a_killed_runner_is_its_own(self, world: World) -> None:
        """The killed one's start and iteration are not those of the session in session.json."""
        world.event("session_start", age_s=259_200)
        world.event("iteration_start", age_s=259_190, iteration=7)
        world.write("session.json", json.dumps({"status": "running", "startedAt": world.time(40)}))
        page = world.page()

        assert page.value("loki_session_status") == 1
        assert page.value("loki_uptime_seconds") == 40
        assert page.value("loki_iteration_current") is None

    def test_a_state_from_the_future_is_no_proof_of_life(self, world: World) -> None:
        """A timestamp of the year 2099 does not make a session run for ever; the file's own time counts."""
        world.state(timestamp="2099-01-01T00:00:00Z", mode="autonomous")
        world.advance(60)

        assert world.page().value("loki_session_status") == 0

    def test_a_torn_state_after_a_session_end_is_a_stopped_session(self, world: World) -> None:
        """The last write of a monitor may be torn for good; the end of the session is in the events."""
        world.event("session_start", age_s=100)
        world.event("session_end", age_s=10)
        world.write("dashboard-state.json", '{"tasks": ,')

        assert world.page().value("loki_session_status") == 0

    def test_a_skill_session_after_a_killed_runner_runs(self, world: World) -> None:
        """The dead runner left its pid file; session.json began after it and speaks for itself."""
        world.write("loki.pid", "7\n", age_s=86_400)
        world.event("iteration_start", age_s=86_000, iteration=9)
        world.write("session.json", json.dumps({"status": "running", "startedAt": world.time(600)}))
        page = world.page()

        assert page.value("loki_session_status") == 1
        assert page.value("loki_uptime_seconds") == 600
        assert page.value("loki_iteration_current") is None

    def test_an_old_session_file_does_not_revive_a_killed_runner(self, world: World) -> None:
        """It began before the pid file was written: the runner, not the skill, was the last."""
        world.write("session.json", json.dumps({"status": "running", "startedAt": world.time(9_000)}))
        world.write("loki.pid", "7\n", age_s=600)

        assert world.page().value("loki_session_status") == 0

    def test_in_a_container_the_pid_files_time_begins_the_session(self, tmp_path: Path) -> None:
        """What a killed session left in the events belongs to it, also where pids cannot be seen."""
        world = World(tmp_path / "demo" / ".loki", pids_visible=False)
        world.event("session_start", age_s=86_400)
        world.event("iteration_start", age_s=86_000, iteration=7)
        world.write("loki.pid", "1\n", age_s=20)
        world.state(age_s=2, mode="autonomous", startedAt=world.time(2_592_000))
        page = world.page()
        world.close()

        assert page.value("loki_session_status") == 1
        assert page.value("loki_uptime_seconds") == 20
        assert page.value("loki_iteration_current") is None

    def test_an_old_state_does_not_outdo_a_later_session(self, world: World) -> None:
        """A runner without a state writer reached 2 and ended; yesterday's state says 40."""
        world.state(age_s=86_400, iteration=40)
        world.event("session_start", age_s=300)
        world.event("iteration_start", age_s=200, iteration=2)
        world.event("session_end", age_s=10)

        assert world.page().value("loki_iteration_current") == 2

    def test_the_provider_is_that_of_this_session(self, world: World) -> None:
        """A state that an earlier session wrote does not say who works now."""
        world.state(age_s=86_400, provider="codex", version="5.46.0", phase="OLD")
        world.runner(age_s=60)
        world.write("state/provider", "claude\n", age_s=61)
        info = world.page().of("loki_mode_session_info")

        assert info == {'{phase="OLD",provider="claude",version="5.46.0"}': 1}

    def test_the_hosts_first_process_and_kernel_threads_are_no_runners(self) -> None:
        """The low pids of a container mean others on the host."""
        if pids_are_visible():
            assert probe_pid(1) is None
            assert probe_pid(2) is None

    def test_a_dead_or_reused_pid_in_session_json_is_a_stopped_session(self, world: World) -> None:
        """The process that has the number now began long after the session."""
        world.live[5] = Process(started_s=world.now_s - 10)
        world.write("session.json", json.dumps({"status": "running", "pid": 5, "started": world.time(900)}))

        assert world.page().value("loki_session_status") == 0

    def test_a_session_start_of_tomorrow_is_none(self, world: World) -> None:
        """A clock that was wrong for a moment does not make the uptime 0; the pid file's time counts."""
        world.runner(age_s=60)
        world.event("session_start", age_s=-864_000)

        assert world.page().value("loki_uptime_seconds") == 60
