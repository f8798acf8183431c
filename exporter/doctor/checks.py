"""Judges what was gathered: facts in, findings out; pure. It follows the way of a number to Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote

from exporter.doctor.checks_project import check_project
from exporter.doctor.facts import Answer, Facts, Listener
from exporter.doctor.findings import Finding, note, well, wrong
from exporter.web.listen import Address
from exporter.web.neighbour import Neighbour
from shared.healthcheck import State


def examine(facts: Facts) -> list[Finding]:
    """Return every finding, in the order of the way: switch, directory, files, port, exporter, reach."""
    return [
        *_enabled(facts),
        *_configured(facts),
        *_projects(facts),
        *_pids(facts),
        *_port(facts),
        *_exporter(facts),
        *_reach(facts),
    ]


def _enabled(facts: Facts) -> Iterator[Finding]:
    if not facts.is_enabled:
        yield wrong(
            "switch",
            "LOKI_METRICS_ENABLED is false: the exporter ends at once",
            "the variable is set in this environment (for a service: in its environment file)",
            "export LOKI_METRICS_ENABLED=true",
        )
    else:
        yield well("switch", "metrics are not switched off")


def _configured(facts: Facts) -> Iterator[Finding]:
    if not facts.projects:
        yield wrong(
            "projects",
            f"{' '.join(facts.patterns) or 'the registry'} matches no directory",
            "the pattern is not the right one, or the shell has put nothing in its place",
            "ls -d /srv/*/.loki                                 # what is there",
            "tallyship-exporter serve --loki-dir '/srv/*/.loki'  # with quotes",
        )
    if not _is_nowhere(facts):
        return
    known = [f"export LOKI_DIR={quote(directory)}" for directory in facts.registered[:3]]
    if known:
        known.append("tallyship-exporter serve --registry                 # or all that Loki Mode knows")
    yield wrong(
        "LOKI_DIR",
        "is not set, and there is no ./.loki here",
        "without it the exporter reads the .loki of the directory in which it was started",
        *(known or ["export LOKI_DIR=/path/to/project/.loki"]),
    )


def _is_nowhere(facts: Facts) -> bool:
    """Whether nobody said which directory, and the one of this place is not there."""
    barrier = facts.projects[0].barrier if facts.is_default_dir and facts.projects else None
    return barrier is not None and barrier.is_missing


def _projects(facts: Facts) -> Iterator[Finding]:
    if not _is_nowhere(facts):
        for project in facts.projects:
            yield from check_project(project, facts.user, facts.state_max_age_s)


def _pids(facts: Facts) -> Iterator[Finding]:
    if facts.pids_hidden:
        yield note(
            "pids",
            "the host's processes cannot be seen from here: a killed session shows as running for a while",
            "a container has pids of its own",
            "docker run --pid=host ...",
            "tallyship-exporter serve --pids visible   # if this container does share them",
        )


def _port(facts: Facts) -> Iterator[Finding]:
    who, address = facts.answer.who, facts.address
    if who is None:
        yield wrong(
            "port",
            f"nobody listens on {address}",
            "the exporter does not run, or listens elsewhere",
            f"{_serve(facts)}",
            "systemctl start tallyship-exporter && journalctl -u tallyship-exporter -n 20",
        )
    elif who is Neighbour.EXPORTER:
        yield well("port", f"{address} is the exporter's{_by(facts.listeners)}")
    else:
        yield _taken(facts, who)


def _taken(facts: Facts, who: Neighbour) -> Finding:
    free = Address(facts.address.host, facts.address.port + 1)
    mend = [
        f"{_serve(facts)} --web.listen-address {free}",
        f"# and in prometheus.yml: targets: ['{Address(free.host or 'localhost', free.port)}']",
    ]
    cause = "the exporter cannot listen there as long as that runs"
    if who is Neighbour.LOKI_DASHBOARD:
        mend.append("loki dashboard stop                                  # or, if nobody uses it")
        cause = "57374 is the usual port of Loki Mode's dashboard, too, which shows metrics of its own"
    return wrong("port", f"{facts.address} is taken {who.value}{_by(facts.listeners)}", cause, *mend)


def _by(listeners: Sequence[Listener]) -> str:
    """Return who that is, as far as it may be known."""
    if not listeners:
        return ""
    known = [f"{li.process.name}, pid {li.process.pid}" for li in listeners if li.process is not None]
    if known:
        return f" ({'; '.join(dict.fromkeys(known))})"
    return f" (a process of {listeners[0].user}; as root, doctor can say which)"


def _serve(facts: Facts) -> str:
    """Return the command that would serve what was asked for here."""
    directories = " ".join(f"--loki-dir {quote(pattern)}" for pattern in facts.patterns)
    return f"tallyship-exporter serve {directories or '--registry'}"


def _exporter(facts: Facts) -> Iterator[Finding]:
    answer = facts.answer
    if answer.who is not Neighbour.EXPORTER:
        return
    yield from _health(answer)
    yield from _page(facts, answer)
    yield from _same_user(facts)


def _health(answer: Answer) -> Iterator[Finding]:
    if answer.report is None:
        return
    bad = [check for check in answer.report.checks if check.state is not State.OK]
    for check in bad:
        yield wrong(
            f"health {check.name}",
            check.detail,
            "so the running exporter says; it may see other files than you do",
            "journalctl -u tallyship-exporter -n 50",
        )
    if not bad:
        yield well("health", f"ok, {len(answer.report.checks)} checks")


def _page(facts: Facts, answer: Answer) -> Iterator[Finding]:
    if answer.is_user_refused:
        yield wrong(
            "metrics",
            "the exporter refused this user or password, or this token",
            "it is not the one whose hash stands in its web configuration file",
            "tallyship-exporter hash-password NAME            # for basic_auth_users",
            "tallyship-exporter hash-password --bearer NAME   # for tallyship_bearer_tokens",
        )
    elif answer.needs_user:
        yield note(
            "metrics",
            "the exporter wants a user, so its page was not looked at",
            None,
            "tallyship-exporter doctor --user NAME --password-file FILE",
            "tallyship-exporter doctor --token-file FILE",
        )
    elif answer.needs_certificate:
        yield note(
            "metrics",
            "the exporter wants a client's certificate, so its page was not looked at",
            None,
            "tallyship-exporter doctor --ca-file FILE --cert-file FILE --key-file FILE",
        )
    elif answer.page_failure is not None:
        yield wrong(
            "metrics",
            answer.page_failure,
            "the exporter answers, but not with its metrics at this path",
            *(
                ("tallyship-exporter doctor --ca-file FILE   # who vouches for its certificate",)
                * answer.is_tls
            ),
            f"curl -i {'https' if answer.is_tls else 'http'}://{_local(facts.address)}{facts.telemetry_path}",
        )
    elif not any(name.startswith("loki_") for name in answer.samples):
        process = next((li.process for li in facts.listeners if li.process is not None), None)
        told = "" if process is None or process.loki_dir is None else f" (its LOKI_DIR is {process.loki_dir})"
        yield wrong(
            "metrics",
            f"the running exporter has no number of Loki Mode{told}",
            "it was started for another directory than this one, or cannot read it",
            _serve(facts),
        )
    else:
        many = sum(name.startswith("loki_") for name in answer.samples)
        yield well("metrics", f"{facts.telemetry_path} has {many} metrics of Loki Mode")
    if answer.denied_files:
        yield wrong(
            "permission",
            f"the running exporter has met {answer.denied_files:.0f} files that it may not read"
            f"{''.join(f' (it runs as {li.user})' for li in facts.listeners[:1])}",
            "its user is not the one who wrote them",
            "journalctl -u tallyship-exporter | grep permission",
        )


def _same_user(facts: Facts) -> Iterator[Finding]:
    other = next((li.user for li in facts.listeners if li.uid != facts.uid), None)
    if other is not None:
        yield note(
            "user",
            f"the exporter runs as {other}, these checks as {facts.user}: what they may read can differ",
            None,
            f"sudo -u {quote(other)} tallyship-exporter doctor",
        )


def _local(address: Address) -> Address:
    return Address("localhost" if address.is_any else address.host, address.port)


def _reach(facts: Facts) -> Iterator[Finding]:
    """Judge whether another host can scrape: by the address that is listened on, else by the wanted one."""
    ours = facts.listeners if facts.answer.who is Neighbour.EXPORTER else ()
    is_loopback = all(li.is_loopback for li in ours) if ours else _is_loopback(facts.address.host)
    if is_loopback:
        tell = wrong if facts.wants_remote else note
        yield tell(
            "reach",
            f"only this host can scrape {facts.address}",
            "it is a loopback address; a Prometheus on another host, or in a container, gets no connection",
            f"{_serve(facts)} --web.listen-address :{facts.address.port} --web.config.file web.yml",
            "# with TLS and users in web.yml; under systemd also IPAddressAllow= in a drop-in",
        )
    elif facts.has_web_config or facts.answer.is_tls or facts.answer.needs_user:
        yield well("reach", f"other hosts can reach {facts.address}, if no firewall is between")
    else:
        yield note(
            "reach",
            f"whoever reaches {facts.address} can read the metrics",
            "it listens for other hosts without TLS and users",
            f"{_serve(facts)} --web.listen-address {facts.address} --web.config.file web.yml",
        )


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host in {"::1", "localhost"}
