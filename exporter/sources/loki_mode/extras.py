"""Parses the smaller files beside the state: budget, context tracking, sessions, receipts; pure.

What a file of that version does not hold is None, and then absent from the page, not 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exporter.files.document import ShapeError
from exporter.files.jsonvalue import (
    TornJsonError,
    as_count,
    as_mapping,
    as_number,
    as_text,
    as_time,
    parse_json,
)

VERDICTS = ("verified", "with_gaps", "not_verified", "unknown")
PROVENANCES = {"attestation": "attestation", "gpg": "gpg_signature"}
"""Kinds of checkable provenance, with the key of `verification` in a receipt that stands for each."""

_VERDICT_BY_HEADLINE = {
    "VERIFIED": "verified",
    "VERIFIED WITH GAPS": "with_gaps",
    "NOT VERIFIED": "not_verified",
}


@dataclass(frozen=True, slots=True)
class Budget:
    """`metrics/budget.json`: there only when a budget is set. USD."""

    limit_usd: float | None
    used_usd: float | None
    is_exceeded: bool | None


@dataclass(frozen=True, slots=True)
class Tracking:
    """`context/tracking.json`: never reset, so its total is the one cost figure over all sessions."""

    total_cost_usd: float | None
    window_ratio: float | None
    compactions: int | None


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """`session.json` of skill mode (`startedAt`) and of the demo command (`started`)."""

    status: str | None
    started_s: float | None
    pid: int | None
    provider: str | None


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """`state/orchestrator.json`; `started_s` is the first init of the project, not of the session."""

    version: str | None
    phase: str | None
    started_s: float | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """One `proofs/*/proof.json` of v9.20 on."""

    verdict: str
    provenances: tuple[str, ...]


def parse_budget(text: bytes) -> Budget:
    """Return the budget; raises `TornJsonError` or `ShapeError`, as all parsers here."""
    value = _object(text)
    limit = _amount(value.get("budget_limit"))
    exceeded = value.get("exceeded")
    return Budget(
        limit if limit is not None else _amount(value.get("limit")),
        _amount(value.get("budget_used")),
        exceeded if isinstance(exceeded, bool) else None,
    )


def parse_tracking(text: bytes) -> Tracking:
    """Return the context tracker's totals."""
    value = _object(text)
    totals, current = as_mapping(value.get("totals")), as_mapping(value.get("current"))
    percent = _amount(current.get("context_window_pct"))
    return Tracking(
        _amount(totals.get("total_cost_usd")),
        None if percent is None else round(percent / 100, 6),
        as_count(totals.get("compaction_count")),
    )


def parse_session_info(text: bytes) -> SessionInfo:
    """Return what the session file tells."""
    value = _object(text)
    started = value.get("startedAt")
    return SessionInfo(
        as_text(value.get("status")),
        as_time(started if started is not None else value.get("started")),
        as_count(value.get("pid")),
        as_text(value.get("provider")),
    )


def parse_orchestrator(text: bytes) -> Orchestrator:
    """Return what the orchestrator file tells."""
    value = _object(text)
    return Orchestrator(
        as_text(value.get("version")), as_text(value.get("currentPhase")), as_time(value.get("startedAt"))
    )


def parse_provider(text: bytes) -> str:
    """Return the one word in `state/provider`."""
    word = text.decode("utf-8", "replace").strip()
    if not word:
        raise TornJsonError("empty")
    return word


def parse_receipt(text: bytes) -> Receipt:
    """Return the receipt's verdict and the provenance records it carries."""
    value = _object(text)
    headline = as_mapping(value.get("honesty")).get("headline")
    verdict = _VERDICT_BY_HEADLINE.get(headline, "unknown") if isinstance(headline, str) else "unknown"
    records = as_mapping(value.get("verification"))
    return Receipt(verdict, tuple(kind for kind, key in PROVENANCES.items() if records.get(key)))


def _amount(value: Any) -> float | None:
    """Return a finite amount; none of these files has a use for a negative one."""
    number = as_number(value)
    return number if number is not None and number >= 0 else None


def _object(text: bytes) -> Mapping[str, Any]:
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ShapeError("no object")
    return value
