"""Judges one project's directory: is it there and readable, is its state kept up, are there cost and events.

Pure. The thresholds follow Loki Mode's monitor loop, which writes the state every two to five seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from exporter.doctor.facts import Barrier, Project
from exporter.doctor.findings import Finding, note, well, wrong
from exporter.files.tree import Reason
from exporter.glance import phrases
from exporter.sources.loki_mode.session import Status

STATE = "dashboard-state.json"
EVENTS = "events.jsonl"
_STARTS_WITHIN_S = 60.0
"""A runner writes its first state some seconds after its pid, the first event still later."""
_CLOCKS_AGREE_S = 5.0


def check_project(project: Project, user: str, state_max_age_s: float) -> Iterator[Finding]:
    """Yield what is to be said about one project."""
    if project.barrier is not None:
        yield _barrier(project, project.barrier, user)
        return
    if project.is_global:
        yield _global(project)
        return
    if project.has_inner:
        yield _inner(project)
        return
    yield well(_subject("directory", project), f"{project.directory} can be read")
    yield from _denied(project, user)
    yield _session(project)
    yield from _state(project, state_max_age_s)
    yield from _cost(project)
    yield from _events(project)
    yield from _clock(project)


def _subject(what: str, project: Project) -> str:
    return f"{what} {project.title}"


def _barrier(project: Project, barrier: Barrier, user: str) -> Finding:
    subject = _subject("directory", project)
    if barrier.is_missing:
        return wrong(
            subject,
            f"there is no {barrier.path}",
            "Loki Mode has not run in this project yet, or LOKI_DIR (--loki-dir) names another place",
            "loki start ./prd.md                     # in the project, which makes it",
            "export LOKI_DIR=/path/to/project/.loki   # or name the right one",
        )
    if barrier.is_denied:
        whose = f" (owner {barrier.owner}, mode {barrier.mode})" if barrier.owner else ""
        return wrong(
            subject,
            f"{user} may not pass {barrier.path}{whose}",
            "the exporter reads as the user that it runs as, and that user may not",
            f"setfacl -m u:{quote(user)}:x {quote(barrier.path)}          # the way there",
            f"setfacl -R -m u:{quote(user)}:rX -m d:u:{quote(user)}:rX {quote(project.directory)}",
            "# or run the exporter as the owner (User= in a drop-in of its systemd unit)",
        )
    return wrong(
        subject,
        f"{barrier.path}: {barrier.why}",
        "LOKI_DIR (--loki-dir) must name a project's .loki directory",
        "export LOKI_DIR=/path/to/project/.loki",
    )


def _global(project: Project) -> Finding:
    return wrong(
        _subject("directory", project),
        f"{project.directory} is Loki Mode's own folder, not a project's",
        "~/.loki holds tokens and the list of projects; each project has a .loki of its own",
        "tallyship-exporter serve --registry                 # all projects of that list",
        "export LOKI_DIR=/path/to/project/.loki              # or one",
    )


def _inner(project: Project) -> Finding:
    inner = f"{project.directory.rstrip('/')}/.loki"
    return wrong(
        _subject("directory", project),
        f"{project.directory} is the project, not its .loki directory",
        "LOKI_DIR (--loki-dir) names the directory that Loki Mode writes into",
        f"export LOKI_DIR={quote(inner)}",
    )


def _denied(project: Project, user: str) -> Iterator[Finding]:
    denied = [problem.detail for problem in project.problems if problem.reason is Reason.PERMISSION]
    if denied:
        more = f" and {len(denied) - 1} more" if len(denied) > 1 else ""
        yield wrong(
            _subject("permission", project),
            f"{user} may not read {denied[0]}{more}",
            "another user's runner wrote it for nobody else (its umask)",
            f"setfacl -R -m u:{quote(user)}:rX -m d:u:{quote(user)}:rX {quote(project.directory)}",
        )


def _session(project: Project) -> Finding:
    subject = _subject("session", project)
    match project.status:
        case Status.RUNNING | Status.PAUSED:
            since = "" if project.uptime_s is None else f", since {phrases.duration(project.uptime_s)}"
            return well(subject, f"{project.status.name.lower()}{since}")
        case Status.STOPPED if project.runner_lives is False:
            return note(
                subject,
                "stopped: the process that loki.pid names does not live",
                "the session was killed, or the host was restarted; its files stand as they were",
                "loki status",
                "loki start ./prd.md",
            )
        case Status.STOPPED:
            return note(subject, "no session runs: loki_session_status is 0", None, "loki start ./prd.md")
        case _ if project.unread_bytes:
            left = phrases.size(project.unread_bytes)
            return note(subject, f"not known yet: {left} of the history of events are still to be read")
        case _:
            return note(
                subject,
                "not known: neither a process nor a readable state tells",
                "the state file is being written, or damaged",
                f"ls -l {quote(project.directory)}/{STATE}",
                f"timeout 5 cat {quote(project.directory)}/{STATE}   # in time, whatever lies there",
            )


def _state(project: Project, max_age_s: float) -> Iterator[Finding]:
    subject, age_s = _subject("state", project), project.ages_s.get(STATE)
    torn = next((p for p in project.problems if p.detail.startswith(STATE)), None)
    if age_s is None:
        if project.runner_lives and not project.has_runner_route:
            yield from _state_is_missing(project, subject)
        return
    if project.runner_lives and age_s > max_age_s:
        yield wrong(
            subject,
            f"{STATE} was written {phrases.since(-age_s, 0)}, though the session runs",
            "the runner's loop that writes it every few seconds is dead or hangs, or the disk is full",
            f"df -h {quote(project.directory)}",
            "loki stop && loki start ./prd.md",
        )
    elif torn is not None and torn.reason in {Reason.SYMLINK, Reason.NOT_REGULAR}:
        yield wrong(
            subject,
            f"{STATE} is no file that is read ({torn.reason.value})",
            "links that lead out of the directory, pipes and devices are not followed; Loki Mode makes none",
            f"ls -l {quote(project.directory)}/{STATE}",
        )
    elif torn is not None and torn.reason is not Reason.PERMISSION:
        yield note(
            subject,
            f"{STATE} cannot be understood just now ({torn.reason.value})",
            "Loki Mode pastes it together from other files; a torn one is usual for a moment, not for long",
            f"python3 -m json.tool {quote(project.directory)}/{STATE}   # again in a few seconds",
        )
    else:
        yield well(subject, f"{STATE} was written {phrases.since(-age_s, 0)}")


def _state_is_missing(project: Project, subject: str) -> Iterator[Finding]:
    if (project.ages_s.get("loki.pid") or 0.0) <= _STARTS_WITHIN_S:
        yield note(subject, f"no {STATE} yet: the session has only just begun")
    else:
        yield wrong(
            subject,
            f"the session runs, but there is no {STATE}",
            "the runner's monitor loop did not start, or writes elsewhere",
            "loki status",
            "loki stop && loki start ./prd.md",
        )


def _cost(project: Project) -> Iterator[Finding]:
    subject = _subject("cost", project)
    if project.records_unpriced:
        yield note(
            subject,
            f"records of models without a price, which loki_cost_usd leaves out: {project.records_unpriced}",
            "a price is not guessed",
            "tallyship-exporter serve --pricing prices.toml   # a table [models], see the README",
        )
    if project.cost_records:
        if project.has_cost:
            yield well(subject, f"records in metrics/efficiency: {project.cost_records}")
        elif project.records_unmeasured:
            yield note(
                subject,
                "the records in metrics/efficiency tell neither tokens nor cost: loki_cost_usd is absent",
                "Loki Mode before v5.42 does not record them, and providers do not always tell",
                "loki --version",
            )
        return
    if project.iterations_ended:
        yield note(
            subject,
            f"of {project.iterations_ended:.0f} ended iterations none left a record in metrics/efficiency: "
            "loki_cost_usd is absent",
            "Loki Mode empties the folder when a session begins, and writes a record at an iteration's end",
            f"ls -la {quote(project.directory)}/metrics/efficiency/",
        )
    else:
        yield note(subject, "loki_cost_usd is absent until the first iteration has ended")


def _events(project: Project) -> Iterator[Finding]:
    subject = _subject("events", project)
    if EVENTS in project.ages_s:
        age_s = project.last_event_age_s
        yield well(subject, f"{EVENTS}{'' if age_s is None else f', last event {phrases.since(-age_s, 0)}'}")
    elif project.runner_lives and (project.ages_s.get("loki.pid") or 0.0) > _STARTS_WITHIN_S:
        yield wrong(
            subject,
            f"the session runs, but there is no {EVENTS}",
            "its first line comes with the start of the session; the runner may write elsewhere",
            f"ls -la {quote(project.directory)}/{EVENTS}",
            "loki status",
        )
    else:
        yield note(subject, f"no {EVENTS}: no session has begun here yet")


def _clock(project: Project) -> Iterator[Finding]:
    ahead = {name: -age_s for name, age_s in project.ages_s.items() if -age_s > _CLOCKS_AGREE_S}
    if project.last_event_age_s is not None and -project.last_event_age_s > _CLOCKS_AGREE_S:
        ahead["the last event"] = -project.last_event_age_s
    if ahead:
        name, seconds = max(ahead.items(), key=lambda item: item[1])
        yield wrong(
            _subject("clock", project),
            f"{name} is {phrases.duration(seconds)} in the future",
            "the clock of who writes (another host, a virtual machine) or of this host is wrong",
            "date -u; timedatectl",
            "timedatectl set-ntp true",
        )
