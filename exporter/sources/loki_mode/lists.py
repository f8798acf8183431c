"""Parses the lists that Loki Mode keeps as files of their own: the task queues and the agents; pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from exporter.files.document import ShapeError
from exporter.files.jsonvalue import TornJsonError, as_list, as_mapping, parse_json

AgentCounts = tuple[int, int]
"""Active agents, and all that are registered."""


def parse_queue(text: bytes) -> int:
    """Return how many tasks a queue file holds: a list, or an object with the list `tasks`.

    Raises `TornJsonError` when the text is no JSON, `ShapeError` when it is neither form.
    """
    try:
        return len(_ENTRIES.decode(text))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass  # the object form, or an odd byte: the tolerant reader decides
    value = parse_json(text)
    tasks = as_list(as_mapping(value).get("tasks") if isinstance(value, dict) else value)
    if tasks is None:
        raise ShapeError("neither a list nor an object with the list `tasks`")
    return len(tasks)


def parse_agents(text: bytes) -> AgentCounts:
    """Return the agents counted in `state/agents.json`; errors as `parse_queue`.

    No writer makes an object of it, but `{}` is read as an empty list.
    """
    value = parse_json(text)
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        raise ShapeError("no list of agents")
    return count_agents(value)


def count_agents(agents: list[Any]) -> AgentCounts:
    """Count each `tool_id` once; `agent_id` holds only its first 8 characters and is not unique.

    The last entry of a `tool_id` counts. An entry without one is an agent of its own.
    """
    by_id: dict[object, bool] = {}
    for position, agent in enumerate(agents):
        if isinstance(agent, dict):
            tool_id = agent.get("tool_id")
            key = tool_id if isinstance(tool_id, str) and tool_id else position
            by_id[key] = agent.get("status") == "active"
    return sum(by_id.values()), len(by_id)


def parse_pid(text: bytes) -> int:
    """Return the pid in a pid file, also a nonsensical one <= 0; raises `TornJsonError` for anything else."""
    digits = text.strip(b"\0 \t\r\n")
    if not _PID.fullmatch(digits):
        raise TornJsonError("no pid in it")
    return int(digits)


_PID = re.compile(rb"-?[0-9]{1,20}")
_ENTRIES = msgspec.json.Decoder(list[msgspec.Raw])
