"""What the files of a Loki Mode session hold at one moment: pure, a `Session` in, texts out.

The formats are those of Loki Mode v5.46 with the claude provider, quirks included: the state's `iteration`
stays 0 (its writer is a forked shell with a frozen counter), `completed` keeps the last 50 entries, and the
tracker's costs are estimates at sonnet prices.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

VERSION = "5.46.0"
PROVIDER = "claude"
MODEL = "sonnet"
BUDGET_USD = 25.0
WINDOW_TOKENS = 200_000
KEPT_ENTRIES = 50
PLAN = (
    "Set up the project",
    "Design the schema",
    "Implement CRUD",
    "Write API tests",
    "Add pagination",
    "Validate the input",
    "Log each request",
    "Document the endpoints",
    "Add authentication",
    "Measure the slow queries",
    "Cache the lists",
    "Review the error paths",
)

Entry = dict[str, Any]


@dataclass(frozen=True)
class Usage:
    """What one iteration used: tokens by kind and the cost in USD that the runner wrote down."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_creation_tokens: int

    @property
    def cost_usd(self) -> float:
        """The tracker's estimate: sonnet's prices per million tokens, cache tokens included."""
        micro_usd = (
            3.0 * self.input_tokens
            + 15.0 * self.output_tokens
            + 0.3 * self.cache_read_tokens
            + 3.75 * self.cache_creation_tokens
        )
        return round(micro_usd / 1e6, 4)


@dataclass(frozen=True)
class Iteration:
    """One finished iteration."""

    number: int
    status: str
    ended_s: float
    duration_s: float
    usage: Usage


@dataclass
class Session:
    """The session as its writers see it at `now_s` (Unix seconds); the actors of the story change it."""

    pid: int
    project: str
    path: str
    started_s: float
    now_s: float
    phase: str = "BOOTSTRAP"
    iteration: int = 0
    is_paused: bool = False
    pending: list[Entry] = field(default_factory=list)
    in_progress: list[Entry] = field(default_factory=list)
    completed: list[Entry] = field(default_factory=list)
    failed: list[Entry] = field(default_factory=list)
    agents: list[Entry] = field(default_factory=list)
    history: list[Iteration] = field(default_factory=list)

    @property
    def cost_usd(self) -> float:
        """The sum of what the runner wrote down."""
        return round(sum(iteration.usage.cost_usd for iteration in self.history), 4)


def text(value: Any) -> str:
    """Return JSON as the runner lays it out in files that it writes whole."""
    return json.dumps(value, indent=2) + "\n"


def stamp(epoch_s: float) -> str:
    """Return the time as the bash writers put it, to the second."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def exact_stamp(epoch_s: float) -> str:
    """Return the time as the Python writers put it."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="microseconds")


def event(session: Session, type_: str, **data: Any) -> str:
    """Return a line of `events.jsonl` as the bash emitter writes it: no blanks."""
    return _line({"timestamp": stamp(session.now_s), "type": type_, "data": data})


def control_event(session: Session, type_: str, **data: Any) -> str:
    """Return a line of `events.jsonl` as the dashboard's control API writes it: blanks, microseconds."""
    return json.dumps({"timestamp": exact_stamp(session.now_s), "type": type_, "data": data}) + "\n"


def audit(session: Session, action: str, description: str, details: str) -> str:
    """Return a line of `logs/agent-audit.jsonl`."""
    entry = {
        "timestamp": stamp(session.now_s),
        "action": action,
        "description": description,
        "details": details,
        "iteration": session.iteration,
        "pid": session.pid,
    }
    return json.dumps(entry) + "\n"


def tool_use(session: Session, tool: str) -> str:
    """Return a line of `metrics/tool-usage.jsonl`."""
    return _line({"timestamp": stamp(session.now_s), "tool": tool, "event": "PostToolUse"})


def orchestrator(session: Session) -> str:
    """Return `state/orchestrator.json`, written at the first init of a project."""
    metrics = {"tasksCompleted": 0, "tasksFailed": 0, "retries": 0}
    return text(
        {
            "version": VERSION,
            "currentPhase": session.phase,
            "startedAt": stamp(session.started_s),
            "agents": {},
            "metrics": metrics,
        }
    )


def pricing(session: Session) -> str:
    """Return the project's `pricing.json`."""
    prices = {"opus": (5.0, 25.0), "sonnet": (3.0, 15.0), "haiku": (1.0, 5.0)}
    models = {
        key: {"input": in_usd, "output": out_usd, "label": key.capitalize(), "provider": PROVIDER}
        for key, (in_usd, out_usd) in prices.items()
    }
    day = stamp(session.now_s)[:10]
    return text({"provider": PROVIDER, "updated": day, "source": "static", "models": models})


def budget(session: Session) -> str:
    """Return `metrics/budget.json`."""
    used = session.cost_usd
    return text(
        {
            "limit": BUDGET_USD,
            "budget_limit": BUDGET_USD,
            "budget_used": used,
            "exceeded": used >= BUDGET_USD,
        }
    )


def efficiency(session: Session, iteration: Iteration) -> str:
    """Return the record of one iteration, `metrics/efficiency/iteration-N.json`."""
    return text(
        {
            "iteration": iteration.number,
            "model": MODEL,
            "phase": session.phase,
            "duration_ms": round(iteration.duration_s * 1000),
            "provider": PROVIDER,
            "status": iteration.status,
            "input_tokens": iteration.usage.input_tokens,
            "output_tokens": iteration.usage.output_tokens,
            "cost_usd": iteration.usage.cost_usd,
            "timestamp": stamp(iteration.ended_s),
        }
    )


def tracking(session: Session) -> str:
    """Return `context/tracking.json`."""
    return text(_tracking(session))


def iteration_entry(session: Session, status: str, exit_code: int | None = None) -> Entry:
    """Return the queue entry of the iteration that is going on, or has just ended."""
    number = session.iteration
    entry: Entry = {"id": f"iteration-{number}", "type": "iteration", "title": f"Iteration {number}"}
    if exit_code is None:
        return {**entry, "status": status, "startedAt": stamp(session.now_s), "provider": PROVIDER}
    ended = {"completedAt": stamp(session.now_s), "exitCode": exit_code, "provider": PROVIDER}
    return {**entry, "status": status, **ended}


def dashboard_state(session: Session, pasted_in_progress: str) -> str:
    """Return `dashboard-state.json`: JSON only if what is pasted into it, unparsed, is JSON itself."""
    mark = "in-progress goes here"
    state = {
        "timestamp": stamp(session.now_s),
        "version": VERSION,
        "project": {"name": session.project, "path": session.path},
        "mode": "paused" if session.is_paused else "autonomous",
        "provider": PROVIDER,
        "phase": session.phase,
        "complexity": "standard",
        "iteration": 0,
        "startedAt": stamp(session.started_s),
        "rarv": {"currentStep": 0, "stages": ["reason", "act", "reflect", "verify"]},
        "tasks": {
            "pending": session.pending,
            "inProgress": mark,
            "review": [],
            "completed": session.completed[-KEPT_ENTRIES:],
            "failed": session.failed[-KEPT_ENTRIES:],
        },
        "agents": session.agents,
        "metrics": {
            "tasksCompleted": 0,
            "tasksFailed": 0,
            "cpuUsage": 41,
            "memoryUsage": 12,
            "resourceStatus": "ok",
        },
        "memory": {"episodic": 0, "semantic": 0, "procedural": 0},
        "qualityGates": _quality_gates(session),
        "council": {"initialized": True, "enabled": True, **dict.fromkeys(_COUNTED_VOTES, 0)},
        "checklist": None,
        "appRunner": {"status": "not_initialized"},
        "playwright": None,
        "budget": json.loads(budget(session)),
        "context": _tracking(session) if session.history else None,
        "tokens": _tokens(session),
        "notifications": dict.fromkeys(("total", "unacknowledged", "critical", "warning", "info"), 0),
    }
    return text(state).replace(json.dumps(mark), pasted_in_progress.rstrip("\n"))


_COUNTED_VOTES = ("total_votes", "approve_votes", "reject_votes")
"""Seen at 0 after three votes: only the events tell of them."""


def _line(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"


def _tracking(session: Session) -> Entry:
    current = session.history[-1].usage if session.history else Usage(0, 0, 0, 0)
    total_tokens = current.input_tokens + current.cache_read_tokens
    totals = {
        "total_input": sum(i.usage.input_tokens for i in session.history),
        "total_output": sum(i.usage.output_tokens for i in session.history),
        "total_cost_usd": session.cost_usd,
        "compaction_count": 0,
        "iterations_tracked": len(session.history),
    }
    return {
        "session_id": "5f0c0e0a-7b5d-4a39-9a57-3f1d4b1c0d11",
        "provider": PROVIDER,
        "updated_at": exact_stamp(session.now_s),
        "current": {
            **vars(current),
            "total_tokens": total_tokens,
            "context_window_pct": round(100 * total_tokens / WINDOW_TOKENS, 2),
            "estimated_cost_usd": session.cost_usd,
        },
        "compactions": [],
        "per_iteration": [
            {
                "iteration": i.number,
                **vars(i.usage),
                "cost_usd": i.usage.cost_usd,
                "timestamp": exact_stamp(i.ended_s),
                "compacted": False,
            }
            for i in session.history
        ],
        "totals": totals,
    }


def _tokens(session: Session) -> Entry | None:
    if not session.history:
        return None
    totals = _tracking(session)["totals"]
    return {
        "input": totals["total_input"],
        "output": totals["total_output"],
        "cost_usd": totals["total_cost_usd"],
    }


def _quality_gates(session: Session) -> Entry:
    gates = ("staticAnalysis", "codeReview", "antiSycophancy", "testCoverage", "securityScan", "performance")
    passed = min(len(session.history) // 2, len(gates))
    return {gate: "passed" if index < passed else "pending" for index, gate in enumerate(gates)}
