"""What the shipper says of its health: from a status to checks. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from shared.healthcheck import State

Status = dict[str, Any]
LOOP = "loop"
_FATAL = {
    "auth",
    "not_found",
    "unexpected_status",
    "gateway",
    "redirect",
    "blocked",
    "dead_letters_full",
}
"""What a person must mend."""
_LAG_DEGRADED_S = 300.0
_ERROR_DEGRADED_S = 600.0
_HANGS_S = 30.0
"""The loop tells how it stands at least every ten seconds, whatever it does."""


class Turning(NamedTuple):
    """What is known of the loop from outside of it."""

    told_s_ago: float
    error: str = ""
    error_s_ago: float | None = None


def checks(status: Status, turning: Turning) -> list[tuple[str, State, str]]:
    """Return `(name, state, sentence)` for each thing that can go wrong."""
    return [
        _loki(status),
        _positions(status),
        _dead_letters(status),
        _files(status),
        _watching(status),
        _progress(status),
        _configuration(status),
        _loop(turning),
    ]


def _loop(turning: Turning) -> tuple[str, State, str]:
    if turning.told_s_ago > _HANGS_S:
        return LOOP, State.FAILING, f"has not ended a turn for {turning.told_s_ago:.0f} s"
    if turning.error_s_ago is not None and turning.error_s_ago <= _ERROR_DEGRADED_S:
        return LOOP, State.DEGRADED, f"an internal error {turning.error_s_ago:.0f} s ago: {turning.error}"
    return LOOP, State.OK, "turns"


def _configuration(status: Status) -> tuple[str, State, str]:
    if status["reload_problem"]:
        return "configuration", State.DEGRADED, f"the new one is refused: {status['reload_problem']}"
    return "configuration", State.OK, "in force"


def _loki(status: Status) -> tuple[str, State, str]:
    reasons = status["refused_streams"]
    if not reasons:
        return "loki", State.OK, "Loki takes what is sent" if status["entries_sent"] else "nothing sent yet"
    fatal = sorted(set(reasons) & _FATAL)
    if fatal:
        return "loki", State.FAILING, f"{', '.join(fatal)}: {status['last_error']}"
    return "loki", State.DEGRADED, f"{len(reasons)} streams are refused: {status['last_error']}"


def _positions(status: Status) -> tuple[str, State, str]:
    problem = status["save_problem"]
    if problem:
        return "positions", State.FAILING, f"cannot be saved: {problem}"
    return "positions", State.OK, "saved"


def _dead_letters(status: Status) -> tuple[str, State, str]:
    if status["dead_letter_problem"]:
        return "dead_letters", State.FAILING, status["dead_letter_problem"]
    count = status["entries_dropped"]
    if count:
        return (
            "dead_letters",
            State.DEGRADED,
            f"{count} lines were refused for good and lie in the dead-letter file",
        )
    return "dead_letters", State.OK, "none"


def _files(status: Status) -> tuple[str, State, str]:
    count = status["unreadable_count"]
    if count:
        return "files", State.DEGRADED, f"{count} cannot be read: {'; '.join(status['unreadable'])}"
    return "files", State.OK, f"{status['files']} are followed"


def _watching(status: Status) -> tuple[str, State, str]:
    if status["watch_problem"]:
        return "watching", State.DEGRADED, status["watch_problem"]
    return "watching", State.OK, "told of changes at once"


def _progress(status: Status) -> tuple[str, State, str]:
    age_s = status["oldest_unacked_seconds"]
    if age_s > _LAG_DEGRADED_S:
        return "progress", State.DEGRADED, f"a line has waited {age_s:.0f} s for its acknowledgement"
    return "progress", State.OK, "lines are acknowledged as they come"
