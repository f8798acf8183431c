"""What a person wants to know of each source at a glance, out of the rows of its last reading: pure.

None is "unknown", and stays so: nothing is worked out here that the metrics do not say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from exporter.selfmetrics import SourceAccount
from exporter.source import Family, Histogram, Row
from exporter.sources.loki_mode import families as f
from exporter.sources.loki_mode.project_search import LEFT_OUT
from exporter.sources.loki_mode.session import Status

TASK_STATUSES = ("pending", "in_progress", "completed", "failed")


@dataclass(frozen=True, slots=True)
class Session:
    """A Loki Mode project's session. Times: `uptime_s` in seconds, `last_event_s` in Unix seconds.

    `info`: phase, provider and version, as far as known; `tasks` by status, as far as known.
    """

    status: Status | None
    info: Mapping[str, str]
    iteration: float | None
    iteration_max: float | None
    tasks: Mapping[str, float]
    agents_active: float | None
    agents_total: float | None
    cost_usd: float | None
    budget_limit_usd: float | None
    budget_used_usd: float | None
    is_budget_exceeded: bool
    uptime_s: float | None
    events: float | None
    last_event_s: float | None


@dataclass(frozen=True, slots=True)
class SourceOverview:
    """One source: what it is called, how it stands, and its session (None while it is down).

    `is_project`: it is one of Loki Mode's; another kind of source has no session at any time.
    `errors`: files that could not be read since the exporter began, by reason, without zeros.
    """

    title: str
    kind: str
    is_up: bool
    down_reason: str | None
    read_at_s: float
    session: Session | None
    is_project: bool = True
    unread_bytes: int = 0
    lines_rejected: int = 0
    records_unpriced: int = 0
    records_unmeasured: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)


def overview(accounts: Sequence[SourceAccount], lone_title: str) -> list[SourceOverview]:
    """Return one overview a source, in their order; `lone_title` names a source that has no label."""
    return [_of_source(account, lone_title) for account in accounts if not _is_about_us(account)]


def left_out(accounts: Sequence[SourceAccount]) -> int:
    """Return how many projects were found and are not read, because there are too many."""
    rows = (row for account in accounts for row in account.reading.rows)
    return sum(
        int(row.value) for row in rows if row.family is LEFT_OUT and not isinstance(row.value, Histogram)
    )


def _is_about_us(account: SourceAccount) -> bool:
    """Whether a source is well and tells of nobody but the exporter, as the search for projects does."""
    if f.SESSION_STATUS in account.source.families:
        return False
    reading = account.reading
    return reading.is_up and all(row.family.name.startswith("tallyship_") for row in reading.rows)


def _of_source(account: SourceAccount, lone_title: str) -> SourceOverview:
    reading = account.reading
    is_project = f.SESSION_STATUS in account.source.families
    return SourceOverview(
        title=" ".join(account.source.labels.values()) or (lone_title if is_project else account.source.name),
        kind=account.source.name,
        is_up=reading.is_up,
        down_reason=reading.down_reason,
        read_at_s=account.read_at_s,
        session=_session(reading.rows) if is_project else None,
        is_project=is_project,
        unread_bytes=reading.unread_bytes,
        lines_rejected=reading.lines_rejected,
        records_unpriced=reading.records_unpriced,
        records_unmeasured=reading.records_unmeasured,
        errors={reason.value: count for reason, count in account.errors.items() if count},
    )


def _session(rows: Sequence[Row]) -> Session | None:
    if not rows:
        return None
    known: dict[Family, Row] = {row.family: row for row in rows}

    def number(family: Family) -> float | None:
        row = known.get(family)
        return None if row is None or isinstance(row.value, Histogram) else row.value

    status = number(f.SESSION_STATUS)
    info = known.get(f.SESSION_INFO)
    return Session(
        status=None if status is None else Status(int(status)),
        info={}
        if info is None
        else {name: info.labels.get(name, "") for name in ("phase", "provider", "version")},
        iteration=number(f.ITERATION_CURRENT),
        iteration_max=number(f.ITERATION_MAX),
        tasks={
            row.labels["status"]: row.value
            for row in rows
            if row.family is f.TASKS and not isinstance(row.value, Histogram)
        },
        agents_active=number(f.AGENTS_ACTIVE),
        agents_total=number(f.AGENTS),
        cost_usd=number(f.COST),
        budget_limit_usd=number(f.BUDGET_LIMIT),
        budget_used_usd=number(f.BUDGET_USED),
        is_budget_exceeded=bool(number(f.BUDGET_EXCEEDED)),
        uptime_s=number(f.UPTIME),
        events=number(f.EVENTS),
        last_event_s=number(f.LAST_EVENT),
    )
