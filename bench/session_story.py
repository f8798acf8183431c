"""The story of a Loki Mode session: who writes which file, when and how; pure, steps of writes come out.

Three writers that know nothing of each other share the files, as in Loki Mode: the runner, the parser of the
provider's stream, and the monitor loop, which also empties `agents.json` at every turn.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

import session_files as files
from session_files import Iteration, Session, Usage

Way = Literal["append", "rename", "in place", "remove"]
"""How a file is written: a line at its end; a temporary file renamed; truncated and written; unlinked."""


@dataclass(frozen=True)
class Write:
    """One write to one file of the `.loki/` directory."""

    path: str
    way: Way
    text: str = ""


@dataclass(frozen=True)
class Step:
    """What one writer does at one moment (Unix seconds)."""

    at_s: float
    writes: tuple[Write, ...]


Actor = Generator[tuple[list[Write], float]]
"""Yields what a writer writes now, and for how many seconds it then does nothing."""

PAUSE_EVERY = 6
ITERATION_LIMIT = 1_000
_TOOLS = ("Read", "Edit", "Bash", "Grep", "TodoWrite", "Task")
_PHASES = {1: "PLANNING", 2: "DEVELOPMENT", 6: "QUALITY_ASSURANCE"}
_HELPERS = (
    ("code-reviewer", "sonnet", "Review API layer"),
    ("general-purpose", "haiku", 'Write tests for "todo" route'),
    ("explorer", "haiku", "Find the callers"),
)


def begin(pid: int, project: str, path: str, now_s: float) -> Session:
    """Return a session that is about to start."""
    session = Session(pid, project, path, started_s=now_s, now_s=now_s)
    session.pending = [
        {"id": f"task-{n}", "type": "eng-backend", "payload": {"action": action}}
        for n, action in enumerate(files.PLAN, start=1)
    ]
    return session


def play(session: Session, random: Random, *, speed: float = 1.0, torn_ratio: float = 0.1) -> Iterator[Step]:
    """Yield the steps in the order of time, for ever or until `ITERATION_LIMIT`; `session` follows them.

    `speed`: so many times faster than life. `torn_ratio`: so often does the monitor read a queue file in the
    moment in which it is empty, which makes its own file invalid until its next turn (measured: 2 of 15).
    """
    actors = (_runner(session, random), _monitor(session, random, torn_ratio))
    agenda = [(session.now_s, order, actor) for order, actor in enumerate(actors)]
    while agenda:
        session.now_s, order, actor = heapq.heappop(agenda)
        turn = next(actor, None)
        if turn is None:
            return  # the runner has ended, and the monitor with it
        writes, rest_s = turn
        if writes:
            yield Step(session.now_s, tuple(writes))
        heapq.heappush(agenda, (session.now_s + rest_s / speed, order, actor))


def end(session: Session, now_s: float, reason: str | None) -> Step:
    """Return the runner's last writes: by the reason why it was stopped, or a clean end of its own.

    The state file is not written again, as in Loki Mode: it goes on claiming a running session.
    """
    session.now_s = now_s
    told = {"provider": files.PROVIDER, "iterations": session.iteration} if reason is None else {}
    last_words = files.event(
        session, "session_end", result=0, **told, **({"reason": reason} if reason else {})
    )
    farewell = files.audit(
        session, "session_stop", "Session ended", f"result=0,iterations={session.iteration}"
    )
    return Step(
        now_s,
        (
            Write("events.jsonl", "append", last_words),
            Write("logs/agent-audit.jsonl", "append", farewell),
            *((Write("PAUSE", "remove"),) if session.is_paused else ()),
            Write("loki.pid", "remove"),
        ),
    )


def _runner(session: Session, random: Random) -> Actor:
    yield _initial_files(session), 0.5
    start = files.event(
        session,
        "session_start",
        provider=files.PROVIDER,
        prd="prd.md",
        parallel=False,
        complexity="standard",
        pid=session.pid,
    )
    yield [Write("events.jsonl", "append", start)], 0.5
    while session.iteration < ITERATION_LIMIT:
        session.iteration += 1
        if session.iteration % PAUSE_EVERY == 0:
            yield from _pause(session)  # a pause uses up the number
            continue
        yield from _iterate(session, random)


def _initial_files(session: Session) -> list[Write]:
    return [
        Write("state/provider", "in place", f"{files.PROVIDER}\n"),
        *(_queue(name, []) for name in ("in-progress", "completed", "failed", "dead-letter")),
        _queue("pending", session.pending),
        Write("state/orchestrator.json", "in place", files.orchestrator(session)),
        Write("pricing.json", "in place", files.pricing(session)),
        Write("metrics/budget.json", "in place", files.budget(session)),
        Write("loki.pid", "in place", f"{session.pid}\n"),
    ]


def _iterate(session: Session, random: Random) -> Actor:
    began_s = session.now_s
    number = session.iteration
    entry = files.iteration_entry(session, "in_progress")
    session.in_progress = [entry]
    tier = random.choice(("planning", "development", "fast"))
    yield (
        [
            Write(
                "events.jsonl",
                "append",
                files.event(
                    session, "iteration_start", iteration=number, provider=files.PROVIDER, prd="prd.md"
                ),
            ),
            Write("queue/current-task.json", "in place", files.text(entry)),
            _queue("in-progress", session.in_progress),
            Write(
                "logs/agent-audit.jsonl",
                "append",
                files.audit(
                    session,
                    "cli_invoke",
                    f"Starting iteration {number}",
                    f"provider={files.PROVIDER},tier={tier}",
                ),
            ),
        ],
        0.4,
    )
    yield from _stream(session, random)
    yield _iteration_end(session, random, began_s), 0.5
    yield from _judgement(session, random)


def _stream(session: Session, random: Random) -> Actor:
    """Play the provider's stream: tools are called, todos listed, helpers spawned and done."""
    main = _agent(session, "orchestrator-main", "orchestrator", files.MODEL, "Initializing...")
    main["tool_count"] = 0
    agents = [main]
    helpers = iter(random.sample(_HELPERS, random.randint(1, len(_HELPERS))))
    for _ in range(random.randint(5, 9)):
        writes = []
        tool = random.choice(_TOOLS)
        main["current_task"], main["tool_count"] = f"Using {tool}...", main["tool_count"] + 1
        helper = next(helpers, None) if tool == "Task" or main["tool_count"] == 2 else None
        if helper is not None:
            tool_id = f"toolu_{session.iteration:02}{len(agents):02}{random.getrandbits(32):08x}"
            agents.append(_agent(session, tool_id, *helper))
        if tool == "TodoWrite":
            actions = random.sample(files.PLAN, random.randint(1, 3))
            session.in_progress = [
                {"id": f"todo-{n}", "type": "todo", "payload": {"action": action}}
                for n, action in enumerate(actions)
            ]
            writes.append(_queue("in-progress", session.in_progress))
        session.agents = agents
        writes.append(Write("state/agents.json", "in place", files.text(agents)))
        writes.append(Write("metrics/tool-usage.jsonl", "append", files.tool_use(session, tool)))
        yield writes, random.uniform(0.5, 1.8)
    for agent in agents:
        agent.update(status="completed", completed_at=_z(session.now_s))
    main["current_task"], main["tasks_completed"] = "Session complete", [f"{main['tool_count']} tools used"]
    session.agents = agents
    yield [Write("state/agents.json", "in place", files.text(agents))], 0.3


def _iteration_end(session: Session, random: Random, began_s: float) -> list[Write]:
    is_good = random.random() < 0.85
    status, exit_code = ("completed", 0) if is_good else ("failed", 1)
    number = session.iteration
    done = Iteration(number, status, session.now_s, session.now_s - began_s, _usage(random))
    session.history.append(done)
    # The runner takes its own entry off; a todo list that the agent left in its place stays.
    session.in_progress = [entry for entry in session.in_progress if entry["type"] == "todo"]
    finished = files.iteration_entry(session, status, exit_code)
    writes = [
        Write("context/tracking.json", "rename", files.tracking(session)),
        Write(f"metrics/efficiency/iteration-{number}.json", "in place", files.efficiency(session, done)),
        Write("metrics/budget.json", "in place", files.budget(session)),
        Write("queue/current-task.json", "in place", "{}"),
        _queue("in-progress", session.in_progress),
    ]
    if is_good:
        session.completed = [*session.completed, finished][-files.KEPT_ENTRIES :]
        session.pending = session.pending[1:]
        writes += [_queue("completed", session.completed), _queue("pending", session.pending)]
    else:
        session.failed = [*session.failed, finished][-files.KEPT_ENTRIES :]
        writes.append(_queue("failed", session.failed))
    ended = files.event(
        session,
        "iteration_complete",
        iteration=number,
        status=status,
        exitCode=exit_code,
        provider=files.PROVIDER,
    )
    return [*writes, Write("events.jsonl", "append", ended)]


def _judgement(session: Session, random: Random) -> Actor:
    """Play what follows an iteration now and then: a review, a vote of the council, another phase."""
    number = session.iteration
    events = []
    if number % 2 == 0:
        review = f"review-{_stamp_id(session.now_s)}-{number}"
        events.append(files.event(session, "code_review_start", review_id=review, iteration=number))
        verdict = random.choice(("PASS", "PASS", "FAIL"))
        events.append(
            files.event(
                session,
                "code_review_complete",
                review_id=review,
                verdict=verdict,
                blocking=verdict == "FAIL",
                iteration=number,
            )
        )
    if number % 3 == 0:
        approve = random.randint(0, 3)
        result = "APPROVED" if approve >= 2 else "REJECTED"
        vote = {"iteration": number, "approve": approve, "reject": 3 - approve, "threshold": 2}
        events.append(files.event(session, "council_vote", **vote, result=result))
    writes = [Write("events.jsonl", "append", line) for line in events]
    if number in _PHASES:
        before, session.phase = session.phase, _PHASES[number]
        change = {"from": before, "to": session.phase, "iteration": number}
        writes.append(Write("events.jsonl", "append", files.event(session, "phase_change", **change)))
        writes.append(Write("state/orchestrator.json", "in place", files.orchestrator(session)))
    yield writes, 0.6


def _pause(session: Session) -> Actor:
    session.is_paused = True
    asked = files.control_event(session, "session_pause", pid=session.pid)
    yield [Write("PAUSE", "in place"), Write("events.jsonl", "append", asked)], 5.0
    session.is_paused = False
    resumed = files.control_event(session, "session_resume", pid=session.pid)
    yield [Write("PAUSE", "remove"), Write("events.jsonl", "append", resumed)], 0.5


def _monitor(session: Session, random: Random, torn_ratio: float) -> Actor:
    yield [], 0.8  # it is forked after the pid file is written
    while True:
        # No folder .agent/sub-agents, the normal case: the loop writes an empty list over the parser's.
        session.agents = []
        pasted = "" if random.random() < torn_ratio else files.text(session.in_progress)
        yield (
            [
                Write("state/agents.json", "in place", "[]\n"),
                Write("dashboard-state.json", "rename", files.dashboard_state(session, pasted)),
            ],
            random.uniform(1.9, 2.4),
        )


def _queue(name: str, entries: list[files.Entry]) -> Write:
    return Write(f"queue/{name}.json", "in place", files.text(entries))


def _agent(session: Session, tool_id: str, type_: str, model: str, task: str) -> files.Entry:
    # Loki Mode shortens the id to the first 8 characters of the tool's, so it is not unique.
    agent_id = tool_id if type_ == "orchestrator" else f"agent-{tool_id[:8]}"
    return {
        "agent_id": agent_id,
        "tool_id": tool_id,
        "agent_type": type_,
        "model": model,
        "current_task": task,
        "status": "active",
        "spawned_at": _z(session.now_s),
        "tasks_completed": [],
    }


def _usage(random: Random) -> Usage:
    return Usage(
        random.randint(900, 30_000),
        random.randint(2_000, 16_000),
        random.randint(20_000, 150_000),
        random.randint(10_000, 60_000),
    )


def _z(epoch_s: float) -> str:
    return files.exact_stamp(epoch_s).replace("+00:00", "Z")


def _stamp_id(epoch_s: float) -> str:
    """Return the time in the form that Loki Mode puts into ids."""
    return files.stamp(epoch_s).replace("-", "").replace(":", "")
