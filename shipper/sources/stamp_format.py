"""The formats that a rule can name for times: each a function from a JSON value to nanoseconds."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from shipper.times import MAX_NS, Times, epoch_ns, number_ns

TimeOf = Callable[[object], "int | None"]
UNITS_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
NAMES = ("auto", "rfc3339", *UNITS_NS)
_BEGAN = datetime(1970, 1, 1, tzinfo=UTC)
_MEMO_LIMIT = 4096
_TEXT_CHARS = 64
_NEEDED = (r"%[Yy]", r"%[mbBj]", r"%[dj]", r"%[HI]")


def time_format(text: str) -> TimeOf:
    """Return what reads a format: a name, or strptime's directives; raises `ValueError`."""
    times = Times()
    if text == "auto":
        return times.value_ns
    if text == "rfc3339":
        return lambda value: times.text_ns(value) if isinstance(value, str) and value[4:5] == "-" else None
    if text in UNITS_NS:
        return _epoch(UNITS_NS[text])
    return _strptime(text)


def _epoch(unit_ns: int) -> TimeOf:
    def time_of(value: object) -> int | None:
        if isinstance(value, str):
            return epoch_ns(value, unit_ns)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return number_ns(value, unit_ns)

    return time_of


def _strptime(directives: str) -> TimeOf:
    if "%" not in directives:
        raise ValueError(f"must be one of {', '.join(NAMES)}, or strptime's directives")
    if not all(re.search(part, directives) for part in _NEEDED):
        raise ValueError("must have year, month, day and hour (%Y, %m, %d and %H)")
    try:
        datetime.strptime(_BEGAN.strftime(directives), directives)  # noqa: DTZ007 - only whether it can be used
    except (ValueError, re.error) as error:
        raise ValueError(f"cannot be used: {error}") from error
    memo: dict[str, int | None] = {}

    def time_of(value: object) -> int | None:
        if not isinstance(value, str) or len(value) > _TEXT_CHARS:
            return None
        if value not in memo:
            if len(memo) >= _MEMO_LIMIT:
                memo.clear()
            memo[value] = _parsed(value, directives)
        return memo[value]

    return time_of


def _parsed(text: str, directives: str) -> int | None:
    try:
        at = datetime.strptime(text, directives)  # noqa: DTZ007 - without a zone it is UTC, below
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    ns = (at - _BEGAN) // timedelta(microseconds=1) * 1000
    return ns if 0 < ns <= MAX_NS else None
