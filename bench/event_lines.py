"""Makes long event histories for measurements: lines of 281 bytes, in blocks of 10,000."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LINE_BYTES = 281
BLOCK_LINES = 10_000
MIX = (
    "of 10 lines 3 are iteration_start, 3 iteration_complete (1 in 8 failed), and 1 each code_review_start, "
    "code_review_complete, phase_change, council_vote; a session_start every 2,000 lines"
)
_ITERATIONS_A_SESSION = 600
_BEGAN_S = 1_795_000_000


def write_history(path: Path, lines: int) -> None:
    """Write so many lines, a multiple of `BLOCK_LINES`."""
    if lines % BLOCK_LINES:
        raise ValueError(f"{lines} is no multiple of {BLOCK_LINES}")
    block = b"".join(event_lines(BLOCK_LINES))
    with path.open("wb", buffering=0) as file:
        for _ in range(lines // BLOCK_LINES):
            file.write(block)


def event_lines(count: int) -> Iterator[bytes]:
    """Yield lines of the mix, each of `LINE_BYTES` with its newline, three seconds apart."""
    for index in range(count):
        tens, place = divmod(index, 10)
        type_, data = _event(place, (3 * tens + min(place // 2, 2)) % _ITERATIONS_A_SESSION + 1)
        when = datetime.fromtimestamp(_BEGAN_S + 3 * index, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        # What pads the line stands where a long path or message would: within data, at its end.
        bare = _compact({"timestamp": when, "type": type_, "data": {**data, "note": ""}})
        note = _NOTE[: LINE_BYTES - 1 - len(bare)]
        yield _compact({"timestamp": when, "type": type_, "data": {**data, "note": note}}) + b"\n"


def _event(place: int, number: int) -> tuple[str, dict[str, Any]]:
    """Return type and data of the line at one of ten places: three iterations, and what follows them."""
    if place in {0, 2, 4}:
        if place == 0 and number == 1:
            return "session_start", {"provider": "claude", "prd": "prd.md", "parallel": False, "pid": 4242}
        return "iteration_start", {"iteration": number, "provider": "claude", "prd": "prd.md"}
    if place in {1, 3, 5}:
        status, code = ("failed", 1) if number % 8 == 0 else ("completed", 0)
        return "iteration_complete", {"iteration": number, "status": status, "exitCode": code}
    review = {"review_id": f"review-20261121T010000Z-{number}", "iteration": number}
    return (
        ("code_review_start", review),
        ("code_review_complete", {**review, "verdict": "PASS", "blocking": False}),
        ("phase_change", {"from": "DEVELOPMENT", "to": "QUALITY_ASSURANCE", "iteration": number}),
        (
            "council_vote",
            {"iteration": number, "approve": 2, "reject": 1, "threshold": 2, "result": "APPROVED"},
        ),
    )[place - 6]


_NOTE = "the agent's own words on what it did and why " * 8


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
