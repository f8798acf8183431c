"""What the doctor says, by what was found: each trouble of the documentation has its cause and its remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from exporter.doctor.checks import examine
from exporter.doctor.facts import Answer, Barrier, Facts, Listener, Process, Project
from exporter.doctor.findings import Finding, Level, note, well, wrong
from exporter.doctor.report import is_well, report
from exporter.files.tree import Reason, Refused
from exporter.sources.loki_mode.session import Status
from exporter.web.listen import Address
from exporter.web.neighbour import Neighbour
from shared.healthcheck import Check, Report, State

OK_REPORT = Report("exporter", (Check("loki-mode", State.OK, "up", 0.0),))
EXPORTER = Answer(Neighbour.EXPORTER, report=OK_REPORT, samples={"loki_session_status": 1.0})
US = Listener("127.0.0.1", "root", 0, Process(4711, "tallyship-expor"))
DIRECTORY = "/srv/my shop/.loki"


def _project(**known: Any) -> Project:
    ages_s = {"dashboard-state.json": 2.0, "events.jsonl": 2.0, "loki.pid": 900.0}
    usual: dict[str, Any] = {
        "status": Status.RUNNING,
        "runner_lives": True,
        "uptime_s": 900.0,
        "ages_s": ages_s,
        "cost_records": 3,
        "has_cost": True,
        "iterations_ended": 3.0,
        "last_event_age_s": 12.0,
    }
    return Project(DIRECTORY, "shop", **{**usual, **known})


def _facts(*projects: Project, **known: Any) -> Facts:
    usual: dict[str, Any] = {
        "is_enabled": True,
        "is_default_dir": False,
        "patterns": (DIRECTORY,),
        "registered": (),
        "projects": projects or (_project(),),
        "address": Address("127.0.0.1", 57374),
        "telemetry_path": "/metrics",
        "user": "root",
        "uid": 0,
        "listeners": (US,),
        "answer": EXPORTER,
    }
    return Facts(**{**usual, **known})


def _one(facts: Facts, subject: str) -> Finding:
    """Return the one finding about a subject."""
    (found,) = [finding for finding in examine(facts) if finding.subject == subject]
    return found


def _bad(facts: Facts) -> list[str]:
    return [finding.subject for finding in examine(facts) if finding.level is Level.WRONG]


def _mend(finding: Finding) -> str:
    return "\n".join(finding.mend)


def test_all_is_well_says_so() -> None:
    """A running session, an exporter that shows it: nothing to mend."""
    findings = examine(_facts())

    assert is_well(findings)
    assert [f.subject for f in findings if f.level is not Level.OK] == ["reach"]


def test_metrics_switched_off() -> None:
    """`LOKI_METRICS_ENABLED=false` ends the exporter at once, and is named with what switches it on."""
    finding = _one(_facts(is_enabled=False), "switch")

    assert finding.level is Level.WRONG
    assert "LOKI_METRICS_ENABLED" in finding.text
    assert finding.mend == ("export LOKI_METRICS_ENABLED=true",)


NOWHERE = _project(barrier=Barrier("/home/me/.loki", "does not exist", is_missing=True))


def test_directory_that_nobody_named() -> None:
    """Without LOKI_DIR and without ./.loki it is said once, with the projects that Loki Mode registered."""
    facts = _facts(NOWHERE, is_default_dir=True, registered=("/srv/a b/.loki", "/srv/c/.loki"))
    finding = _one(facts, "LOKI_DIR")

    assert _bad(facts) == ["LOKI_DIR"]
    assert finding.mend[:2] == ("export LOKI_DIR='/srv/a b/.loki'", "export LOKI_DIR=/srv/c/.loki")
    assert "--registry" in finding.mend[2]


def test_directory_that_nobody_named_without_a_list_of_projects() -> None:
    """Then the remedy is the variable itself."""
    finding = _one(_facts(NOWHERE, is_default_dir=True), "LOKI_DIR")

    assert finding.mend == ("export LOKI_DIR=/path/to/project/.loki",)


def test_directory_that_is_missing() -> None:
    """The first directory that is missing is named; it is made by Loki Mode, or was meant to be another."""
    finding = _one(_facts(NOWHERE), "directory shop")

    assert finding.level is Level.WRONG
    assert "/home/me/.loki" in finding.text
    assert "loki start" in _mend(finding)
    assert "LOKI_DIR" in _mend(finding)


def test_directory_that_may_not_be_read() -> None:
    """Whose it is, and the rights that let the exporter's user in, and nobody else."""
    barrier = Barrier("/home/me", "Permission denied", is_denied=True, owner="me", mode="drwx------")
    finding = _one(_facts(_project(barrier=barrier), user="prom"), "directory shop")

    assert finding.text == "prom may not pass /home/me (owner me, mode drwx------)"
    assert "setfacl -m u:prom:x /home/me" in _mend(finding)
    assert f"setfacl -R -m u:prom:rX -m d:u:prom:rX '{DIRECTORY}'" in _mend(finding)


def test_directory_that_is_a_file() -> None:
    """What it is instead is said."""
    finding = _one(_facts(_project(barrier=Barrier("/srv/x", "is no directory"))), "directory shop")

    assert finding.text == "/srv/x: is no directory"


def test_directory_that_is_the_project() -> None:
    """LOKI_DIR one level too high is the usual slip; the right value is offered."""
    finding = _one(_facts(_project(has_inner=True)), "directory shop")

    assert finding.level is Level.WRONG
    assert finding.mend == (f"export LOKI_DIR='{DIRECTORY}/.loki'",)


def test_directory_that_is_no_projects() -> None:
    """`~/.loki` is Loki Mode's own."""
    finding = _one(_facts(_project(is_global=True)), "directory shop")

    assert finding.level is Level.WRONG
    assert "--registry" in _mend(finding)


def test_pattern_that_matches_nothing() -> None:
    """A glob without a match names itself, and the quotes that it may lack."""
    finding = _one(replace(_facts(), projects=(), patterns=("/x/*",)), "projects")

    assert "/x/* matches no directory" in finding.text
    assert "with quotes" in _mend(finding)


def test_file_that_may_not_be_read() -> None:
    """The first file is named, the others are counted."""
    denied = [Refused(Reason.PERMISSION, f"queue/{n}.json: Permission denied") for n in range(3)]
    finding = _one(_facts(_project(problems=denied)), "permission shop")

    assert finding.level is Level.WRONG
    assert finding.text == "root may not read queue/0.json: Permission denied and 2 more"


@pytest.mark.parametrize(("age_s", "is_bad"), [(29.0, False), (31.0, True), (90_000.0, True)])
def test_state_that_is_not_kept_up(age_s: float, *, is_bad: bool) -> None:
    """Older than the limit while the session runs: the loop that writes it is dead."""
    ages_s = {"dashboard-state.json": age_s, "events.jsonl": 1.0, "loki.pid": 90_000.0}
    facts = _facts(_project(ages_s=ages_s))

    assert _bad(facts) == (["state shop"] if is_bad else [])
    if is_bad:
        assert "df -h" in _mend(_one(facts, "state shop"))
        assert "loki stop && loki start" in _mend(_one(facts, "state shop"))


def test_state_of_a_stopped_session_may_be_old() -> None:
    """Nobody writes it then; that no session runs is a note."""
    ages_s = {"dashboard-state.json": 9e5, "events.jsonl": 9e5}
    facts = _facts(_project(status=Status.STOPPED, runner_lives=None, ages_s=ages_s))

    assert _bad(facts) == []
    assert _one(facts, "session shop").level is Level.NOTE


@pytest.mark.parametrize(
    ("pid_age_s", "level"), [(10.0, Level.NOTE), (100.0, Level.WRONG)], ids=["just begun", "runs on"]
)
def test_state_that_is_missing(pid_age_s: float, level: Level) -> None:
    """A session has a state some seconds after its beginning."""
    facts = _facts(_project(ages_s={"events.jsonl": 1.0, "loki.pid": pid_age_s}))

    assert _one(facts, "state shop").level is level


def test_state_of_a_runner_that_writes_none_is_not_missed() -> None:
    """v9's other runner has no state file."""
    facts = _facts(_project(ages_s={"events.jsonl": 1.0, "loki.pid": 100.0}, has_runner_route=True))

    assert _bad(facts) == []


def test_state_that_is_torn_is_a_note() -> None:
    """It is usual for a moment: looking again is the remedy."""
    torn = Refused(Reason.TORN, "dashboard-state.json: Expecting value")
    finding = _one(_facts(_project(problems=(torn,))), "state shop")

    assert finding.level is Level.NOTE
    assert "again in a few seconds" in _mend(finding)


@pytest.mark.parametrize("reason", [Reason.NOT_REGULAR, Reason.SYMLINK])
def test_state_that_is_no_file_is_wrong_and_nothing_is_opened(reason: Reason) -> None:
    """A pipe would make whoever follows the advice wait for ever: it is looked at, not read."""
    problem = Refused(reason, "dashboard-state.json: is no regular file")
    findings = examine(_facts(_project(status=None, problems=(problem,))))
    state = next(finding for finding in findings if finding.subject == "state shop")

    assert state.level is Level.WRONG
    assert "ls -l" in _mend(state)
    commands = [line for finding in findings for line in finding.mend]
    assert not [line for line in commands if line.startswith(("cat ", "python3 "))]


def test_killed_session_is_told_from_a_stopped_one() -> None:
    """A pid file whose process is gone: it was killed, or the host restarted."""
    finding = _one(_facts(_project(status=Status.STOPPED, runner_lives=False)), "session shop")

    assert finding.level is Level.NOTE
    assert finding.cause is not None
    assert "killed" in finding.cause


@pytest.mark.parametrize(
    ("unread_bytes", "said"), [(0, "neither a process nor a readable state"), (9 << 20, "9 MiB")]
)
def test_session_that_is_not_known(unread_bytes: int, said: str) -> None:
    """Unknown is a note that says what is missing."""
    finding = _one(_facts(_project(status=None, unread_bytes=unread_bytes)), "session shop")

    assert finding.level is Level.NOTE
    assert said in finding.text


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"cost_records": None, "iterations_ended": 0.0}, "until the first iteration has ended"),
        ({"cost_records": 0, "iterations_ended": None}, "until the first iteration has ended"),
        ({"cost_records": None, "iterations_ended": 3.0}, "of 3 ended iterations none left a record"),
        ({"has_cost": False, "records_unmeasured": 3}, "neither tokens nor cost"),
        ({"records_unpriced": 2}, "without a price, which loki_cost_usd leaves out: 2"),
    ],
)
def test_cost_that_is_absent_or_too_low_has_its_reason(known: dict[str, Any], said: str) -> None:
    """No record yet, none at all, records without cost, models without a price: each is told apart."""
    project = _project(**{"has_cost": bool(known.get("cost_records", 3)), **known})
    notes = [f.text for f in examine(_facts(project)) if f.subject == "cost shop" and f.level is Level.NOTE]

    assert len(notes) == 1
    assert said in notes[0]


@pytest.mark.parametrize(
    ("known", "level"),
    [
        ({"ages_s": {"dashboard-state.json": 1.0, "loki.pid": 100.0}}, Level.WRONG),
        ({"ages_s": {"dashboard-state.json": 1.0, "loki.pid": 5.0}}, Level.NOTE),
        ({"ages_s": {}, "runner_lives": None, "status": Status.STOPPED}, Level.NOTE),
    ],
    ids=["runs on", "just begun", "never begun"],
)
def test_events_that_are_missing(known: dict[str, Any], level: Level) -> None:
    """Only a session that has run for a while must have them."""
    assert _one(_facts(_project(**known, last_event_age_s=None)), "events shop").level is level


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (
            {"ages_s": {"dashboard-state.json": -3_600.0, "events.jsonl": -30.0}},
            "dashboard-state.json is 1 h 00 min",
        ),
        ({"last_event_age_s": -120.0}, "the last event is 2 min 00 s"),
    ],
)
def test_clock_that_is_wrong(known: dict[str, Any], said: str) -> None:
    """What lies farthest in the future is named; clocks are to be set."""
    finding = _one(_facts(_project(**known)), "clock shop")

    assert finding.level is Level.WRONG
    assert finding.text.startswith(said)
    assert "timedatectl" in _mend(finding)


def test_clock_that_differs_by_a_breath_is_right() -> None:
    """Time stamps are coarse."""
    assert (
        _bad(_facts(_project(last_event_age_s=-2.0, ages_s={"events.jsonl": -0.01}, runner_lives=None))) == []
    )


def test_pids_that_cannot_be_seen() -> None:
    """In a container of its own the exporter cannot tell a killed session: how to give it sight."""
    finding = _one(_facts(pids_hidden=True), "pids")

    assert finding.level is Level.NOTE
    assert "--pid=host" in _mend(finding)


def test_port_where_nobody_listens() -> None:
    """The command that would serve just this is offered, and the service."""
    facts = _facts(answer=Answer(), listeners=())
    finding = _one(facts, "port")

    assert finding.level is Level.WRONG
    assert finding.mend[0] == f"tallyship-exporter serve --loki-dir '{DIRECTORY}'"
    assert "systemctl start tallyship-exporter" in finding.mend[1]


def test_port_of_loki_modes_dashboard() -> None:
    """It is recognised, with its pid; another port is offered for both sides."""
    dashboard = Listener("0.0.0.0", "me", 1000, Process(99, "python3"))  # noqa: S104 (found, not chosen)
    finding = _one(_facts(answer=Answer(Neighbour.LOKI_DASHBOARD), listeners=(dashboard,)), "port")

    assert finding.level is Level.WRONG
    assert finding.text == "127.0.0.1:57374 is taken by Loki Mode's own dashboard (python3, pid 99)"
    assert "--web.listen-address 127.0.0.1:57375" in finding.mend[0]
    assert "targets: ['127.0.0.1:57375']" in finding.mend[1]
    assert "loki dashboard stop" in finding.mend[2]


def test_port_of_a_process_that_may_not_be_seen() -> None:
    """Another user's process is known by its user alone; root could say more."""
    facts = _facts(answer=Answer(Neighbour.HTTP_SERVER), listeners=(Listener("::", "www", 33),))

    assert "a process of www; as root, doctor can say which" in _one(facts, "port").text


def test_exporter_that_says_that_it_is_not_well() -> None:
    """Each check that is not ok is passed on."""
    bad = Report("exporter", (Check("loki-mode:shop", State.DEGRADED, "down: gone", 0.0), *OK_REPORT.checks))
    facts = _facts(answer=Answer(Neighbour.EXPORTER, report=bad, samples={"loki_session_status": 1.0}))

    assert _bad(facts) == ["health loki-mode:shop"]
    assert _one(facts, "health loki-mode:shop").text == "down: gone"


def test_exporter_that_was_started_for_another_directory() -> None:
    """A page without a number of Loki Mode: what its LOKI_DIR is, where that may be seen."""
    other = Listener("127.0.0.1", "root", 0, Process(1, "python", loki_dir="/srv/other/.loki"))
    facts = _facts(answer=Answer(Neighbour.EXPORTER, samples={"process_open_fds": 9.0}), listeners=(other,))
    finding = _one(facts, "metrics")

    assert finding.level is Level.WRONG
    assert "/srv/other/.loki" in finding.text


def test_exporter_that_wants_a_user() -> None:
    """It is well; what to give doctor, so that it may look, is said."""
    finding = _one(
        _facts(answer=Answer(Neighbour.EXPORTER, needs_user=True, page_failure="HTTP 401")), "metrics"
    )

    assert finding.level is Level.NOTE
    assert "--password-file" in _mend(finding)


def test_exporter_that_wants_a_certificate() -> None:
    """It is well; which flags let doctor look is said."""
    answer = Answer(
        Neighbour.EXPORTER, is_tls=True, needs_certificate=True, page_failure="certificate required"
    )
    finding = _one(_facts(answer=answer), "metrics")

    assert finding.level is Level.NOTE
    assert "--cert-file" in _mend(finding)


def test_exporter_that_refused_who_was_named() -> None:
    """A wrong password is a mistake to mend, not a matter of taste: exit code 1, and how to make an entry."""
    answer = Answer(Neighbour.EXPORTER, needs_user=True, is_user_refused=True, page_failure="HTTP 401")
    finding = _one(_facts(answer=answer), "metrics")

    assert finding.level is Level.WRONG
    assert "refused this user or password" in finding.text
    assert "hash-password" in _mend(finding)
    assert "--user NAME" not in _mend(finding)


@pytest.mark.parametrize("is_tls", [False, True])
def test_exporter_whose_page_does_not_come(*, is_tls: bool) -> None:
    """The failure is passed on, with a command to see it; with TLS, whom to trust."""
    answer = Answer(Neighbour.EXPORTER, is_tls=is_tls, page_failure="HTTP 404")
    finding = _one(_facts(answer=answer), "metrics")

    assert (finding.level, finding.text) == (Level.WRONG, "HTTP 404")
    assert f"curl -i http{'s' * is_tls}://127.0.0.1:57374/metrics" in _mend(finding)
    assert ("--ca-file" in _mend(finding)) is is_tls


def test_exporter_that_may_not_read_files() -> None:
    """The running exporter's own count, with the user that it runs as."""
    answer = Answer(Neighbour.EXPORTER, samples={"loki_session_status": 1.0}, denied_files=2.0)
    facts = _facts(answer=answer, listeners=(Listener("127.0.0.1", "prom", 7),))

    assert "2 files that it may not read (it runs as prom)" in _one(facts, "permission").text


def test_exporter_of_another_user_may_see_something_else() -> None:
    """Checks of root say little of what another user may read."""
    finding = _one(_facts(listeners=(Listener("127.0.0.1", "prom", 7),)), "user")

    assert finding.level is Level.NOTE
    assert finding.mend == ("sudo -u prom tallyship-exporter doctor",)


@pytest.mark.parametrize("wants_remote", [False, True])
def test_address_that_no_other_host_reaches(*, wants_remote: bool) -> None:
    """Loopback is wrong only where Prometheus is elsewhere; the way out has TLS and users."""
    finding = _one(_facts(wants_remote=wants_remote), "reach")

    assert finding.level is (Level.WRONG if wants_remote else Level.NOTE)
    assert "--web.listen-address :57374 --web.config.file web.yml" in _mend(finding)
    assert "IPAddressAllow" in _mend(finding)


def test_address_is_judged_by_what_is_listened_on() -> None:
    """What was asked for here does not count where an exporter runs that was told otherwise."""
    everywhere = Listener("::", "root", 0)
    facts = _facts(wants_remote=True, listeners=(everywhere,))

    assert "without TLS and users" in str(_one(facts, "reach").cause)
    assert _one(_facts(wants_remote=True, listeners=(everywhere, US)), "reach").level is Level.NOTE


@pytest.mark.parametrize(
    "known", [{"has_web_config": True}, {"answer": Answer(Neighbour.EXPORTER, is_tls=True)}]
)
def test_address_for_others_with_protection_is_well(known: dict[str, Any]) -> None:
    """TLS or users: nothing to say."""
    facts = _facts(**{"listeners": (Listener("10.0.0.1", "root", 0),), **known})

    assert _one(facts, "reach").level is Level.OK


def test_report_tells_what_is_wrong_first_and_counts_it() -> None:
    """A person reads from the top."""
    lines = report([well("a", "fine"), note("b", "mind"), wrong("c", "bad", "reason", "command --flag")])

    assert lines == [
        "WRONG  c: bad",
        "       because reason",
        "         command --flag",
        "note   b: mind",
        "ok     a: fine",
        "",
        "1 thing is wrong.",
    ]
    assert report([well("a", "fine")])[-1].startswith("Nothing is wrong here.")
    assert report([wrong("a", ""), wrong("b", "")])[-1] == "2 things are wrong."


def test_report_keeps_commands_whole_and_names_visible() -> None:
    """A command is copied, so it is never broken; a name from a file moves no cursor."""
    command = "tallyship-exporter serve " + "--loki-dir /srv/x/.loki " * 10
    lines = report([wrong("\x1b[2J", "word " * 60, None, command)])

    assert f"         {command}" in lines
    assert max(len(line) for line in lines if command not in line) <= 100
    assert "\\x1b[2J" in lines[0]
