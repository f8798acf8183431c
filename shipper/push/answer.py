"""Status and text of Loki's answer to what must be done: THE table. Pure.

Facts: measured on Loki 3.4 and 3.7.8, for pushes of one stream. The case of the texts differs between
versions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus

from shipper.push.html import is_html, without_tags
from shipper.times import Times
from shipper.units import parse_bytes

_DETAIL_CHARS = 300


class Action(StrEnum):
    """What the sender does next."""

    DELIVERED = "delivered"
    REPEAT = "repeat"
    """The same bytes again, with back-off: nobody knows what was stored."""
    BACK_OFF = "back_off"
    """The same bytes again later; in halves when a whole round ended so, or at once above a stated limit."""
    SPLIT = "split"
    """It can never pass as large as it is."""
    KEEP = "keep"
    """Wrong credentials, tenant or address: slowly, for ever, until a person mends it."""
    BISECT = "bisect"
    """Something in it is refused for good: halves, until the culprit stands alone, then the dead-letter
    file."""
    TOO_FAR_BEHIND = "too_far_behind"
    TOO_OLD = "too_old"
    TOO_NEW = "too_new"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer means for the batch that was pushed."""

    action: Action
    reason: str
    """One of a bounded set, fit for a metric's label."""
    status: int = 0
    """0: there was no answer."""
    detail: str = ""
    all_refused: bool = False
    """The answer says that it refused every line."""
    oldest_ok_ns: int | None = None
    """Lines older than this are the ones refused; to the second."""
    limit_bytes: int | None = None
    """No push above this can pass."""
    retry_after_s: float | None = None
    """Not before so many seconds."""
    max_entry_bytes: int | None = None
    """No line above this can pass."""


REASONS = (
    "unreachable",
    "timeout",
    "not_ready",
    "rate_limited",
    "stream_limit",
    "too_large",
    "blocked",
    "gateway",
    "redirect",
    "auth",
    "not_found",
    "server_error",
    "unexpected_status",
    "too_far_behind",
    "too_old",
    "too_new",
    "line_too_long",
    "invalid",
    "labels",
)

_ROWS: tuple[tuple[int, str, Action, str], ...] = (
    # status, text that must occur (lower case), action, reason; the first row that fits counts
    (429, "maximum active stream limit", Action.BACK_OFF, "stream_limit"),
    (429, "", Action.BACK_OFF, "rate_limited"),
    (413, "", Action.SPLIT, "too_large"),
    (500, "resourceexhausted", Action.SPLIT, "too_large"),
    (500, "received message larger than max", Action.SPLIT, "too_large"),
    (400, "entry too far behind", Action.TOO_FAR_BEHIND, "too_far_behind"),
    (400, "out of order", Action.TOO_FAR_BEHIND, "too_far_behind"),
    (400, "timestamp too old", Action.TOO_OLD, "too_old"),
    (400, "timestamp too new", Action.TOO_NEW, "too_new"),
    (400, "max entry size", Action.BISECT, "line_too_long"),
    (400, "label", Action.BISECT, "labels"),
    (400, "", Action.BISECT, "invalid"),
    (422, "", Action.BISECT, "invalid"),
    (401, "", Action.KEEP, "auth"),
    (403, "", Action.KEEP, "auth"),
    (407, "", Action.KEEP, "auth"),
    (404, "", Action.KEEP, "not_found"),
    (405, "", Action.KEEP, "not_found"),
    (408, "", Action.REPEAT, "timeout"),
)
_BLAMES_LINES = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
_KEPT = {260: "blocked", **dict.fromkeys((301, 302, 303, 307, 308), "redirect")}
"""260 is Loki's own code for an administrator's block: a 2xx, and nothing was stored."""
_ENTRY = re.compile(r"max entry size '?(\d{1,18})'? bytes exceeded", re.IGNORECASE)
_USER = re.compile(r"//[^/@]*@")
_IGNORED = re.compile(r"total ignored: (\d+) out of (\d+)")
_OLDEST = re.compile(r"oldest acceptable timestamp is: (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")
_LIMIT = re.compile(r"\(limit: ([0-9.]+ ?[a-z]*?) ?(?:bytes)?/sec\)", re.IGNORECASE)


def judge(status: int, text: str, *, retry_after_s: float | None = None, location: str = "") -> Verdict:
    """Return what an answer with this status and body means, and these two of its headers."""
    return replace(_judged(status, text, location), retry_after_s=retry_after_s)


def _judged(status: int, text: str, location: str) -> Verdict:
    if status == HTTPStatus.NO_CONTENT:
        return Verdict(Action.DELIVERED, "", status)
    page = is_html(text)
    if page:
        text = without_tags(text)
    detail = _short(text)
    if page and status in _BLAMES_LINES:
        # Loki's answers are plain. What stands before it refuses whatever comes (nginx answers 400 to plain
        # HTTP, and where it wants a certificate): no line is to blame, none may be buried.
        return Verdict(Action.KEEP, "gateway", status, detail)
    lower = text.lower()
    for row_status, needle, action, reason in _ROWS:
        if row_status == status and needle in lower:
            return _with_numbers(Verdict(action, reason, status, detail), text)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Verdict(Action.REPEAT, "server_error", status, detail)
    # Another 2xx is no promise of Loki, a redirect is not followed, other 4xx are no known answers: all are
    # kept.
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        where = _short(_USER.sub("//", location.partition("?")[0])) or "nowhere"
        detail = f"to {where}: not followed, that address must be configured"
    return Verdict(Action.KEEP, _KEPT.get(status, "unexpected_status"), status, detail)


def _short(text: str) -> str:
    return " ".join(text.split())[:_DETAIL_CHARS]


def no_answer(*, timed_out: bool, detail: str) -> Verdict:
    """Return what it means that the connection failed or nothing came in time."""
    return Verdict(Action.REPEAT, "timeout" if timed_out else "unreachable", 0, detail[:_DETAIL_CHARS])


def not_ready(text: str) -> Verdict:
    """Return what it means that Loki has only just started; see `readiness`."""
    detail = f"/ready: {text}"[:_DETAIL_CHARS]
    return Verdict(Action.REPEAT, "not_ready", HTTPStatus.SERVICE_UNAVAILABLE, detail)


def _with_numbers(verdict: Verdict, text: str) -> Verdict:
    ignored = _IGNORED.search(text)
    oldest = _OLDEST.search(text)
    limit = _LIMIT.search(text)
    entry = _ENTRY.search(text)
    return Verdict(
        verdict.action,
        verdict.reason,
        verdict.status,
        verdict.detail,
        all_refused=bool(ignored and ignored[1] == ignored[2]),
        oldest_ok_ns=Times().text_ns(oldest[1]) if oldest else None,
        max_entry_bytes=int(entry[1]) if entry and verdict.reason == "line_too_long" else None,
        limit_bytes=_bytes(limit[1]) if limit and verdict.action is Action.BACK_OFF else None,
    )


def _bytes(text: str) -> int | None:
    try:
        return parse_bytes(text) or None
    except ValueError:
        return None
