"""What stands on the page at `/`: every project at a glance, as HTML made on the server.

Whatever comes from files (names, phases, paths) is escaped, and kept apart from what is around it with
`<bdi>`: a name may be written from right to left, or pretend to be. What is unknown is a dash that says so.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from html import escape

from exporter.collector import SourceCollector
from exporter.glance import phrases
from exporter.glance.overview import TASK_STATUSES, Session, SourceOverview, left_out, overview
from exporter.selfmetrics import package_version
from exporter.sources.loki_mode.discovery import MAX_PROJECTS
from exporter.sources.loki_mode.session import Status
from exporter.web.landing import document

REFRESH_S = 15
_UNKNOWN = '<abbr title="unknown">&ndash;</abbr>'
_STATUS = {
    Status.RUNNING: ("running", "good"),
    Status.PAUSED: ("paused", "warn"),
    Status.STOPPED: ("stopped", "soft"),
    None: ("unknown", "warn"),
}
_ORDER = ("down", "unknown", "running", "paused", "stopped")
_BUDGET_IS_LOW_AT, _BUDGET_IS_CRITICAL_AT = 0.8, 0.9
"""The parts of the budget at which the shipped alerts warn."""


def landing_page(
    collector: SourceCollector, telemetry_path: str, lone_title: str, clock: Callable[[], float] = time.time
) -> str:
    """Return the page, as of a reading that is as fresh as a scrape's; may take as long as one.

    `lone_title` names a single project, whose metrics carry no name.
    """
    for _ in collector.collect():
        pass
    accounts = collector.accounts()
    return page(
        overview(accounts, lone_title),
        telemetry_path,
        package_version(),
        clock(),
        projects_left_out=left_out(accounts),
    )


def page(
    sources: Sequence[SourceOverview],
    telemetry_path: str,
    version: str,
    now_s: float,
    *,
    projects_left_out: int = 0,
) -> str:
    """Return the whole document, what wants a look first; `now_s` is Unix seconds."""
    cards = "".join(_card(source, now_s) for source in sorted(sources, key=_place))
    if not any(source.is_project for source in sources):
        cards = f"{_NOTHING}{cards}"
    body = (
        f"<h1>Tallyship exporter</h1>\n<p class=soft>{_summary(sources, now_s)}</p>\n"
        f"{_left_out(projects_left_out)}"
        f"<nav>{_links(telemetry_path)}</nav>\n<main>\n{cards}</main>\n"
        f"<footer>Version {escape(version)}. A dash is a number that nothing tells. "
        f"This page asks again every {REFRESH_S} s.</footer>\n"
    )
    return document("Tallyship exporter", body, refresh_s=REFRESH_S)


_NOTHING = (
    "<article><h2>No project found</h2><p>What was configured matches no directory. "
    "<code>tallyship-exporter doctor</code>, with the same settings, says what to do.</p></article>\n"
)


def _links(telemetry_path: str) -> str:
    # Relative, so that they still lead here from behind a proxy that adds a path of its own.
    links = ((telemetry_path, "Metrics"), ("/health", "Health report"), ("/-/ready", "Readiness"))
    return "".join(f'<a href=".{escape(path)}">{text}</a>' for path, text in links)


def _summary(sources: Sequence[SourceOverview], now_s: float) -> str:
    projects = [source for source in sources if source.is_project]
    found = Counter(_standing(source)[0] for source in projects)
    many = "1 project" if len(projects) == 1 else f"{len(projects)} projects"
    parts = ", ".join(f"{found[word]} {word}" for word in _ORDER if found[word])
    read = f". Read {phrases.since(min(s.read_at_s for s in sources), now_s)}" if sources else ""
    return f"{many}{': ' if parts else ''}{parts}{read}."


def _left_out(projects: int) -> str:
    """Return the line on projects that have no card: who looks for one must learn why it is not here."""
    if not projects:
        return ""
    many = (
        "1 more was found and is" if projects == 1 else f"{phrases.count(projects)} more were found and are"
    )
    return f"<p class=warn>{many} left out: no more than {MAX_PROJECTS} are read.</p>\n"


def _place(source: SourceOverview) -> int:
    """Return where the card stands; within a place, the sources' own order holds."""
    word = _standing(source)[0]
    return _ORDER.index(word) if word in _ORDER else len(_ORDER)


def _standing(source: SourceOverview) -> tuple[str, str]:
    """Return the word for a source and its colour."""
    if not source.is_up:
        return "down", "bad"
    if not source.is_project:
        return "up", "good"
    return _STATUS[None if source.session is None else source.session.status]


def _card(source: SourceOverview, now_s: float) -> str:
    word, tone = _standing(source)
    heading = (
        f"<article>\n<header><h2><bdi>{escape(source.title)}</bdi></h2>"
        f'<strong class="badge {tone}">{word}</strong></header>\n'
    )
    session = "" if source.session is None else _session(source.session, now_s)
    return f"{heading}{session}{_health(source)}</article>\n"


def _session(session: Session, now_s: float) -> str:
    known = [f"<bdi>{escape(text)}</bdi>" for text in session.info.values() if text]
    about = f"<p class=soft>{' · '.join(known)}</p>\n" if known else ""
    facts = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>\n" for name, value in _facts(session, now_s))
    return f"{about}<dl>\n{facts}</dl>\n"


def _facts(session: Session, now_s: float) -> Iterator[tuple[str, str]]:
    yield "Iteration", _iteration(session)
    yield "Tasks", _tasks(session)
    yield "Agents", f"{_count(session.agents_active)} active of {_count(session.agents_total)}"
    yield "Cost", _cost(session)
    yield "Uptime", _UNKNOWN if session.uptime_s is None else phrases.duration(session.uptime_s)
    yield "Last event", _last_event(session, now_s)


def _iteration(session: Session) -> str:
    now, most = session.iteration, session.iteration_max
    bar = (
        ""
        if now is None or not most
        else f'<progress max="{most:.0f}" value="{min(now, most):.0f}"></progress>'
    )
    return f"{_count(now)} of {_count(most)}{bar}"


def _tasks(session: Session) -> str:
    words = (
        f"<span class=unbroken>{_count(session.tasks.get(s))} {s.replace('_', ' ')}</span>"
        for s in TASK_STATUSES
    )
    return ", ".join(words)


def _cost(session: Session) -> str:
    cost, limit, used = session.cost_usd, session.budget_limit_usd, session.budget_used_usd
    spent = _UNKNOWN if cost is None else phrases.usd(cost)
    if not limit:
        return spent
    text = f"{spent} of {phrases.usd(limit)}"
    if cost is not None:
        low, high = limit * _BUDGET_IS_LOW_AT, limit * _BUDGET_IS_CRITICAL_AT
        tone = " class=bad" if cost > high else " class=warn" if cost > low else ""
        text = f"<span{tone}>{text}, {cost / limit:.0%}</span>"
        text += (
            f'<meter max="{limit}" low="{low}" high="{high}" optimum="0" value="{min(cost, limit)}"></meter>'
        )
    if session.is_budget_exceeded:
        text += "<small class=bad>Loki Mode says: budget exceeded</small>"
    elif used is not None:
        text += f"<small>Loki Mode's own count: {phrases.usd(used)}</small>"
    return text


def _last_event(session: Session, now_s: float) -> str:
    total = "" if session.events is None else f"<small>{phrases.count(session.events)} events in all</small>"
    if session.last_event_s is None:
        return f"{_UNKNOWN}{total}"
    said, exact = phrases.since(session.last_event_s, now_s), phrases.moment(session.last_event_s)
    if exact is None:
        return f"{said}{total}"
    return f'<time datetime="{exact}" title="{exact}">{said}</time>{total}'


def _health(source: SourceOverview) -> str:
    """Return how the source stands; what went wrong since the exporter began is told, not alarmed about."""
    if not source.is_up:
        return f"<p class=bad>Source down: <bdi>{escape(source.down_reason or 'no reason known')}</bdi></p>\n"
    said = ["Source up"]
    if source.unread_bytes:
        said.append(f"{phrases.size(source.unread_bytes)} of history still to read")
    if source.errors:
        many = ", ".join(f"{escape(reason)} {phrases.count(n)}" for reason, n in source.errors.items())
        said.append(f"files not read since the start: {many}")
    for number, what in (
        (source.lines_rejected, "lines that are no JSON"),
        (source.records_unmeasured, "records that tell no cost"),
        (source.records_unpriced, "records of a model without a price"),
    ):
        if number:
            said.append(f"{what}: {phrases.count(number)}")
    return f"<p class=soft>{'; '.join(said)}</p>\n"


def _count(number: float | None) -> str:
    return _UNKNOWN if number is None else phrases.count(number)
