"""What a comparison found, for people and for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shipper.proof.book import Outcome
from shipper.proof.on_disk import Found
from shipper.proof.verify import Gap, Report, Window
from shipper.times import rfc3339

WIDTH = 100
_WORDS = {
    Outcome.THERE: "there",
    Outcome.BACKFILLED: "there, in a backfill stream",
    Outcome.RESTAMPED: "there, with the time of reading (restamped)",
    Outcome.ELSEWHERE: "there, under labels of an earlier configuration",
    Outcome.ALTERED: "there, with another text (masked by other rules than now)",
    Outcome.DEAD: "in the dead-letter file",
    Outcome.UNSEEN: "not yet visible (older than 3 h and not flushed, as far as can be known)",
    Outcome.MISSING: "missing",
}


def text(report: Report, found: Found, window: Window) -> Iterator[str]:
    """Yield the lines of the summary."""
    yield (
        f"{report.lines} lines of {report.files} files in {report.streams} kinds of streams, "
        f"{_time(window.since_ns)} to {_until(window)}"
    )
    for outcome, words in _WORDS.items():
        number = report.outcomes.get(outcome, 0)
        if number or outcome in (Outcome.THERE, Outcome.MISSING):
            yield f"{number:>12}  {words}"
    if report.under_way:
        yield f"{report.under_way:>12}  under way: read, not acknowledged yet"
    if found.unread_bytes:
        yield f"{found.unread_bytes:>12}  bytes not read yet, {found.unknown_files} files not known yet"
    for record in found.gone:
        yield f"{record.path}: what was read of it is not there any more, and is not compared"
    for record in found.uncovered:
        yield f"{record.path}: none of the sources is about it, and it is not compared"


def gap_text(gap: Gap) -> str:
    """Return a gap as one line: file, offset, and the line, cut to a width."""
    part = f" (part {gap.meta['part']} of {gap.meta['parts']})" if gap.meta and "part" in gap.meta else ""
    line = gap.text if len(gap.text) <= WIDTH else f"{gap.text[: WIDTH - 1]}…"
    return f"{gap.file.path}:{gap.offset}{part}: {_printable(line)}"


def gap_json(gap: Gap) -> dict[str, Any]:
    """Return a gap for programs."""
    return {
        "file": gap.file.path,
        "offset": gap.offset,
        "stream": dict(gap.labels),
        "timestamp": None if "restamped" in gap.labels else str(gap.stamp),
        "line": gap.text[:WIDTH],
    }


def as_json(report: Report, found: Found, window: Window) -> dict[str, Any]:
    """Return the summary for programs."""
    return {
        "since": rfc3339(window.since_ns),
        "until": None if window.until_ns is None else rfc3339(window.until_ns),
        "files": report.files,
        "lines": report.lines,
        **{outcome.name.lower(): report.outcomes.get(outcome, 0) for outcome in _WORDS},
        "under_way": report.under_way,
        "unread_bytes": found.unread_bytes,
        "not_on_disk": [record.path for record in found.gone],
        "not_covered": [record.path for record in found.uncovered],
    }


def _until(window: Window) -> str:
    return "now" if window.until_ns is None else _time(window.until_ns)


def _time(ns: int) -> str:
    return f"{rfc3339(ns)[:19]}Z"


def _printable(line: str) -> str:
    """Return it without control characters: a log line must not write on somebody's terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in line)
