"""Text or number to nanoseconds since 1970, or None where it is no usable time."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

MAX_NS = 2**63 - 1
_SECOND_NS = 10**9
_BEGAN = datetime(1970, 1, 1, tzinfo=UTC)
_CACHE_LIMIT = 4096
_DAY_S = 86_400
# Beside RFC 3339: a blank for the T and before the zone, a comma, any number of digits, and zones as
# PostgreSQL (+02), Go (+0200) and shells (UTC) write them. Without a zone it is UTC.
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:)(\d\d)(?:[.,](\d+))?"
    r"(?: ?(?:[Zz]|UTC|GMT|([+-])([01]\d|2[0-3])(?::?([0-5]\d))?))?",
    re.ASCII,
)
_SECONDS_NS = {f"{second:02d}": second * _SECOND_NS for second in range(60)}
_FRACTION_NS = tuple(10 ** (9 - digits) for digits in range(10))
_BARE_CHARS = len("2026-11-21T05:06:07Z")
_EPOCH = re.compile(r"(\d{1,19})(?:[.,](\d+))?", re.ASCII)
# A number is a time in seconds, milliseconds, microseconds or nanoseconds by its size: each range starts in
# 1973 and ends in the year 5138 of the unit before.
_TOO_LARGE = 10**20
_UNITS_NS = ((10**11, _SECOND_NS), (10**14, 10**6), (10**17, 10**3), (_TOO_LARGE, 1))


class Times:
    """Parses times; remembers minutes seen lately, because lines that follow each other share them."""

    __slots__ = ("_minutes",)

    def __init__(self) -> None:
        self._minutes: dict[str, int | None] = {}

    def text_ns(self, text: str) -> int | None:
        """Return the nanoseconds of an RFC 3339 time (without a zone: UTC) or of an epoch in digits."""
        second_ns = _SECONDS_NS.get(text[17:19])
        if second_ns is None or text[-1] != "Z":
            if text[-6:] == "+00:00" and text[-7].isdigit():
                return self.text_ns(f"{text[:-6]}Z")  # as Python writes it
            return _parse(text)
        minute_ns = self._minutes.get(text[:17], -1)
        if minute_ns == -1:
            minute_ns = self._minute(text[:17])
        if minute_ns is None:
            return _parse(text)
        digits = text[20:-1]
        ns = minute_ns + second_ns
        if digits:
            if text[19] != "." or not (digits.isdigit() and digits.isascii()):
                return _parse(text)
            ns += int(digits[:9]) * _FRACTION_NS[min(len(digits), 9)]
        elif len(text) != _BARE_CHARS:
            return None  # a point without digits
        return ns if ns <= MAX_NS else None

    def value_ns(self, value: object) -> int | None:
        """Return the nanoseconds of a decoded JSON value: text, or a number of seconds to nanoseconds."""
        if isinstance(value, str):
            return self.text_ns(value)
        if isinstance(value, bool):
            return None
        if isinstance(value, int | float):
            return number_ns(value)
        return None

    def _minute(self, text: str) -> int | None:
        """Return the nanoseconds of `2026-11-21T05:06:`, or None; a minus stands where a date has one."""
        ns = _parse(f"{text}00") if text[4] == "-" else None
        if len(self._minutes) >= _CACHE_LIMIT:
            self._minutes.clear()
        self._minutes[text] = ns
        return ns


class Seen(dict[object, int | None]):
    """The times of texts seen lately, for files in which many lines share one."""

    def __init__(self, time_of: Callable[[object], int | None]) -> None:
        super().__init__()
        self._time_of = time_of

    def __missing__(self, value: object) -> int | None:
        own = self._time_of(value)
        # A number is not remembered: to a dict, 1 equals true, and one of them is a time.
        if isinstance(value, str):
            if len(self) >= _CACHE_LIMIT:
                self.clear()
            self[value] = own
        return own


def number_ns(value: float, unit_ns: int | None = None) -> int | None:
    """Return the nanoseconds of an epoch whose size tells its unit; None for 0, negatives, NaN."""
    if not 0 < value < _TOO_LARGE:
        return None
    unit_ns = unit_ns or _unit_ns(value)
    ns = value * unit_ns if isinstance(value, int) else round(value * unit_ns)
    return ns if 0 < ns <= MAX_NS else None


def epoch_ns(text: str, unit_ns: int | None = None) -> int | None:
    """Return the nanoseconds of an epoch in digits, with or without decimals; none of them is lost."""
    match = _EPOCH.fullmatch(text)
    if match is None:
        return None
    whole, fraction = int(match[1]), int((match[2] or "0")[:9].ljust(9, "0"))
    unit_ns = unit_ns or _unit_ns(whole)
    ns = whole * unit_ns + fraction * unit_ns // _SECOND_NS
    return ns if 0 < ns <= MAX_NS else None


def _unit_ns(value: float) -> int:
    return next(unit_ns for below, unit_ns in _UNITS_NS if value < below)


def rfc3339(ns: int) -> str:
    """Return the time in UTC with nanoseconds, for people and metadata."""
    seconds, rest = divmod(ns, _SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def hour(ns: int) -> str:
    """Return the UTC hour of a time, as `2026-11-21T05`."""
    return f"{datetime.fromtimestamp(ns // _SECOND_NS, UTC):%Y-%m-%dT%H}"


def _parse(text: str) -> int | None:
    match = _RFC3339.fullmatch(text)
    if match is None:
        return epoch_ns(text)
    date, clock, second, fraction, sign, hours, minutes = match.groups()
    leap = second == "60"
    try:
        at = datetime.fromisoformat(f"{date}T{clock}{'59' if leap else second}+00:00")
    except ValueError:
        return None
    seconds = int((at - _BEGAN).total_seconds()) + leap
    if sign:
        offset_s = int(hours) * 3600 + int(minutes or 0) * 60
        seconds += -offset_s if sign == "+" else offset_s
    if leap and seconds % _DAY_S:
        return None  # a leap second is one at midnight UTC only; POSIX counts it as the second after it
    ns = seconds * _SECOND_NS + int((fraction or "0")[:9].ljust(9, "0"))
    return ns if 0 < ns <= MAX_NS else None
