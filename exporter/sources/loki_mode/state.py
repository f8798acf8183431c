"""Parses `dashboard-state.json`, which the runner's monitor loop pastes together every few seconds: pure.

Only the fields that count are decoded; the rest (`context` alone grows with every iteration) is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from exporter.files.document import ShapeError
from exporter.files.jsonvalue import as_count, as_list, as_mapping, as_text, as_time, parse_json

_TASK_KEYS = {
    "pending": "pending",
    "in_progress": "inProgress",
    "completed": "completed",
    "failed": "failed",
    "review": "review",
}
_DEMO_TASK_KEYS = {"pending": "pending_tasks", "completed": "completed_tasks", "failed": "failed_tasks"}


@dataclass(frozen=True, slots=True)
class State:
    """What the state file tells; None (or a missing key) where it tells nothing.

    `tasks`: number by status. `agents`: the list as it stands; `agent_counts` (active, total) in demo mode.
    """

    mode: str | None = None
    timestamp_s: float | None = None
    started_s: float | None = None
    iteration: int | None = None
    project: str | None = None
    version: str | None = None
    phase: str | None = None
    provider: str | None = None
    tasks: Mapping[str, int] = field(default_factory=dict)
    agents: list[Any] | None = None
    agent_counts: tuple[int, int] | None = None
    quality_gates: Mapping[str, str] = field(default_factory=dict)


class _Raw(msgspec.Struct, gc=False):
    mode: Any = None
    timestamp: Any = None
    startedAt: Any = None  # noqa: N815 (the file's spelling, as below)
    iteration: Any = None
    project: Any = None
    version: Any = None
    phase: Any = None
    provider: Any = None
    tasks: Any = None
    agents: Any = None
    qualityGates: Any = None  # noqa: N815
    pending_tasks: Any = None
    completed_tasks: Any = None
    failed_tasks: Any = None
    running_agents: Any = None
    total_agents: Any = None


_DECODER = msgspec.json.Decoder(_Raw)


def parse_state(text: bytes) -> State:
    """Return the state; raises `TornJsonError` for text that is no JSON, `ShapeError` for no object."""
    raw = _decode(text)
    active, total = as_count(raw.running_agents), as_count(raw.total_agents)
    return State(
        mode=as_text(raw.mode),
        timestamp_s=as_time(raw.timestamp),
        started_s=as_time(raw.startedAt),
        iteration=as_count(raw.iteration),
        project=as_text(as_mapping(raw.project).get("name")),
        version=as_text(raw.version),
        phase=as_text(raw.phase),
        provider=as_text(raw.provider),
        tasks=_tasks(raw),
        agents=as_list(raw.agents),
        agent_counts=(active, total) if active is not None and total is not None else None,
        quality_gates={
            name: gate for name, gate in as_mapping(raw.qualityGates).items() if isinstance(gate, str)
        },
    )


def _decode(text: bytes) -> _Raw:
    try:
        return _DECODER.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass  # perhaps only an odd byte: the tolerant reader decides
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ShapeError("no object")
    return _Raw(**{name: value.get(name) for name in _Raw.__struct_fields__})


def _tasks(raw: _Raw) -> dict[str, int]:
    """Return the tasks by status: lengths of the lists, or the demo command's plain numbers."""
    lists = as_mapping(raw.tasks)
    if raw.tasks is not None:
        return {
            status: len(entries)
            for status, key in _TASK_KEYS.items()
            if (entries := as_list(lists.get(key))) is not None
        }
    numbers = {status: as_count(getattr(raw, key)) for status, key in _DEMO_TASK_KEYS.items()}
    return {status: number for status, number in numbers.items() if number is not None}
