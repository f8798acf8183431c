"""Spellings that both processes must share, so that metrics and logs of one host can be joined."""

from __future__ import annotations

import re

MAX_LABEL_CHARS = 128
OTHER = "other"

EVENT_KINDS = frozenset(
    {
        # Loki Mode v5
        "session_start",
        "session_end",
        "session_stop",
        "session_pause",
        "session_resume",
        "iteration_start",
        "iteration_complete",
        "phase_change",
        "council_vote",
        "code_review_start",
        "code_review_complete",
        "budget_exceeded",
        "watchdog_alert",
        "rollback",
        # Loki Mode v9
        "stage_complete",
        "budget_warning",
        "capability_degraded",
        "checkpoint.metadata.dropped",
        "claude_hook",
    }
)
"""The kinds of `events.jsonl` records that get a name of their own; all else is `other`."""

_BLANK_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_HOOK_PREFIX = "claude_hook_"


def event_kind(type_: object, event: object = None) -> str:
    """Return the bounded kind of an events.jsonl record from its `type`, or `event` where `type` is missing.

    v5's rollback has `event` and no `type`; v9 makes a type of each hook (`claude_hook_<name>`), which all
    count as `claude_hook`.
    """
    name = type_ if type_ is not None else event
    if not isinstance(name, str):
        return OTHER
    if name in EVENT_KINDS:
        return name
    return "claude_hook" if name.startswith(_HOOK_PREFIX) else OTHER


def label_value(text: str, limit_chars: int = MAX_LABEL_CHARS) -> str:
    """Return text fit for a label: no blanks or control characters, no lone surrogates, bounded length.

    Blanks become `_`, because scripts that people already have split exposition lines on blanks.
    """
    clean = _BLANK_OR_CONTROL.sub("_", _SURROGATE.sub("\ufffd", text.strip()))
    return clean[:limit_chars]


def machine_name(user: str, host: str) -> str:
    """Return `user@host`, the form in which llm-proxy names a machine."""
    return label_value(f"{user}@{host}")
