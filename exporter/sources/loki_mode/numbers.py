"""Turns `Facts` and the verdict on the session into rows of numbers: pure. What is unknown has no row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from exporter.files.document import Standing
from exporter.source import Family, Histogram, Row
from exporter.sources.loki_mode import families as f
from exporter.sources.loki_mode.cost import Costs
from exporter.sources.loki_mode.events import DURATION_BUCKETS_S, OUTCOMES, VOTES, EventTotals
from exporter.sources.loki_mode.extras import PROVENANCES, VERDICTS, Receipt
from exporter.sources.loki_mode.files import Facts
from exporter.sources.loki_mode.lists import AgentCounts, count_agents
from exporter.sources.loki_mode.session import Evidence, Session, SessionFile, StateFile, Status
from shared.models import OTHER, label_value

DEFAULT_MAX_ITERATIONS = 1000
TASK_STATUSES = ("pending", "in_progress", "completed", "failed")
OTHER_QUEUES = ("review", "blocked", "dead_letter")
GATE_STATUSES = frozenset({"pending", "running", "passed", "failed", "skipped", "warning"})
MAX_GATES = 20

_WHOLE_NUMBER = re.compile(r"\s*\+?0*[1-9][0-9]{0,17}\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Derived:
    """What the source worked out from the facts before the rows are made.

    `agents`: active and registered. `max_iterations` None: what was configured is no whole number >= 1.
    """

    session: Session
    costs: Costs
    agents: AgentCounts | None
    max_iterations: int | None


def evidence(facts: Facts, now_s: float, *, pids_visible: bool, state_max_age_s: float) -> Evidence:
    """Return what of the facts speaks of the session."""
    state, session = facts.state.value, facts.session.value
    orchestrator = facts.orchestrator.value
    events = facts.events.totals
    return Evidence(
        now_s=now_s,
        pid_files=facts.pid_files,
        pids_visible=pids_visible,
        is_pause_file=facts.is_pause_file,
        state=None
        if state is None
        else StateFile(
            state.mode,
            _written_s(state.timestamp_s, facts.state.mtime_s, now_s + state_max_age_s),
            state.iteration,
            state.started_s,
        ),
        state_is_torn=facts.state.standing is Standing.BROKEN,
        session=None
        if session is None
        else SessionFile(session.status, session.started_s, facts.is_session_pid_dead and pids_visible),
        session_is_torn=facts.session.standing is Standing.BROKEN,
        init_started_s=orchestrator.started_s if orchestrator is not None else None,
        marks=events.marks if events is not None else None,
        state_max_age_s=state_max_age_s,
    )


def _written_s(stated_s: float | None, mtime_s: float | None, limit_s: float) -> float | None:
    """Return when the state was written: as it states itself, unless that lies in the future."""
    return stated_s if stated_s is not None and stated_s <= limit_s else mtime_s


def state_written_s(facts: Facts) -> float | None:
    """Return when the state was written, by its own word or else by its mtime."""
    state = facts.state.value
    return state.timestamp_s if state is not None and state.timestamp_s is not None else facts.state.mtime_s


def max_iterations(environments: Iterable[Mapping[str, str] | None]) -> int | str:
    """Return the limit from the first environment that sets it, else 1000.

    Text that is no whole number >= 1 comes back as it is: the limit is then unknown.
    """
    for environ in environments:
        text = (environ or {}).get("LOKI_MAX_ITERATIONS")
        if text is not None and text.strip():
            return int(text) if _WHOLE_NUMBER.fullmatch(text) else text
    return DEFAULT_MAX_ITERATIONS


def agents_of_state(facts: Facts) -> AgentCounts | None:
    """Return the agents by the state's copy of their file, which is some seconds old."""
    state = facts.state.value
    if state is None:
        return None
    if state.agent_counts is not None:
        return state.agent_counts
    return None if state.agents is None else count_agents(state.agents)


def rows(facts: Facts, derived: Derived) -> Iterator[Row]:
    """Yield every number that is known, in the order of the families."""
    session = derived.session
    yield from _known(f.SESSION_STATUS, session.status)
    yield from _known(f.ITERATION_CURRENT, session.iteration)
    yield from _known(f.ITERATION_MAX, derived.max_iterations)
    for status in TASK_STATUSES:
        yield from _known(f.TASKS, _tasks(facts, status), status=status)
    yield from _agents(derived)
    yield from _known(f.COST, derived.costs.total_usd)
    if facts.events.totals is not None:
        yield Row(f.EVENTS, {}, facts.events.totals.events)
    yield from _known(f.UPTIME, session.uptime_s)
    yield from _session_info(facts, session)
    if facts.events.totals is not None and facts.events.was_there:
        yield from _events(facts.events.totals)
    yield from _costs(derived.costs)
    yield from _small_files(facts)
    yield from _state_extras(facts)
    if facts.receipts is not None:
        yield from _receipts(facts.receipts)


def _known(family: Family, value: float | None, **labels: str) -> Iterator[Row]:
    if value is not None:
        yield Row(family, labels, value)


def _tasks(facts: Facts, status: str) -> int | None:
    """Return the tasks of a status: by the queue file, which is newer, else by the state's copy of it."""
    in_queue = facts.queues[status].value
    if in_queue is not None:
        return in_queue
    return None if facts.state.value is None else facts.state.value.tasks.get(status)


def _agents(derived: Derived) -> Iterator[Row]:
    active, registered = derived.agents if derived.agents is not None else (None, None)
    if derived.session.status is Status.STOPPED and registered is not None:
        active = 0  # a killed session leaves agents behind that call themselves active
    yield from _known(f.AGENTS_ACTIVE, active)
    yield from _known(f.AGENTS, registered)


def _session_info(facts: Facts, verdict: Session) -> Iterator[Row]:
    """Yield what is known of the session; a state that an earlier session wrote has the last word."""
    state, orchestrator, session = facts.state.value, facts.orchestrator.value, facts.session.value
    by_state = [state.phase, state.provider, state.version] if state else [None, None, None]
    of_session = session.provider if session and verdict.is_of(session.started_s) else None
    beside = [
        orchestrator.phase if orchestrator else None,
        of_session or facts.provider.value or (session.provider if session else None),
        orchestrator.version if orchestrator else None,
    ]
    pairs = zip(by_state, beside, strict=True)
    if not verdict.is_of(state_written_s(facts), slack_s=2.0):
        pairs = zip(beside, by_state, strict=True)
    known = dict(zip(("phase", "provider", "version"), (one or other for one, other in pairs), strict=True))
    labels = {name: label_value(value) for name, value in known.items() if value}
    if labels:
        yield Row(f.SESSION_INFO, labels, 1)


def _events(totals: EventTotals) -> Iterator[Row]:
    for kind in sorted(totals.kinds):
        yield Row(f.EVENTS_BY_KIND, {"kind": kind}, totals.kinds[kind])
    yield from _known(f.LAST_EVENT, totals.last_s)
    for outcome in OUTCOMES:
        yield Row(f.ITERATIONS, {"outcome": outcome}, totals.outcomes.get(outcome, 0))
    durations = Histogram(DURATION_BUCKETS_S, totals.duration_counts, totals.duration_sum_s)
    yield Row(f.ITERATION_DURATION, {}, durations)
    for vote in VOTES:
        yield Row(f.COUNCIL_VOTES, {"vote": vote}, totals.votes.get(vote, 0))


def _costs(costs: Costs) -> Iterator[Row]:
    for model in sorted(costs.tokens):
        for kind, count in costs.tokens[model].items():
            yield Row(f.TOKENS, {"model": model, "kind": kind}, count)
    for model, cost in costs.by_model_usd.items():
        yield Row(f.MODEL_COST, {"model": model}, cost)


def _small_files(facts: Facts) -> Iterator[Row]:
    tracking, budget = facts.tracking.value, facts.budget.value
    if tracking is not None:
        yield from _known(f.TRACKED_COST, tracking.total_cost_usd)
    if budget is not None:
        yield from _known(f.BUDGET_LIMIT, budget.limit_usd)
        yield from _known(f.BUDGET_USED, budget.used_usd)
        yield from _known(f.BUDGET_EXCEEDED, budget.is_exceeded)
    if tracking is not None:
        yield from _known(f.CONTEXT_WINDOW, tracking.window_ratio)
        yield from _known(f.COMPACTIONS, tracking.compactions)
    for queue in OTHER_QUEUES:
        yield from _known(f.QUEUE_TASKS, facts.queues[queue].value, queue=queue)


def _state_extras(facts: Facts) -> Iterator[Row]:
    state = facts.state.value
    if state is None:
        return
    gates: dict[tuple[str, str], None] = {}
    for position, gate in enumerate(sorted(state.quality_gates)):
        status = state.quality_gates[gate]
        name = label_value(gate) if position < MAX_GATES else OTHER
        gates[name, status if status in GATE_STATUSES else OTHER] = None  # two spellings can become one label
    for name, status in gates:
        yield Row(f.QUALITY_GATE, {"gate": name, "status": status}, 1)


def _receipts(receipts: tuple[Receipt, ...]) -> Iterator[Row]:
    for verdict in VERDICTS:
        yield Row(f.RECEIPTS, {"verdict": verdict}, sum(r.verdict == verdict for r in receipts))
    for kind in PROVENANCES:
        yield Row(f.RECEIPT_PROVENANCE, {"kind": kind}, sum(kind in r.provenances for r in receipts))
