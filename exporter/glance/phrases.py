"""Says numbers the way people say them: durations, moments, counts, money; pure."""

from __future__ import annotations

from datetime import UTC, datetime

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_CLOCKS_AGREE_S = 2.0
"""Clocks of one host and cut-off fractions make a difference like this; it is not worth a word."""


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units: `12 s`, `3 min 20 s`, `1 h 05 min`, `2 d 4 h`."""
    whole = int(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S:02} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S:02} min"
    return f"{whole // _DAY_S:,} d {whole % _DAY_S // _HOUR_S} h"


def since(moment_s: float, now_s: float) -> str:
    """Return how long ago a moment was; one that has not come yet is called so, not "0 s ago"."""
    if moment_s > now_s + _CLOCKS_AGREE_S:
        return f"{duration(moment_s - now_s)} in the future"
    return f"{duration(max(0.0, now_s - moment_s))} ago"


def moment(unix_s: float) -> str | None:
    """Return the moment as RFC 3339 in UTC, whole seconds; None beyond the years that a calendar has."""
    try:
        return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None


def count(number: float) -> str:
    """Return a number of things, with thousands set apart."""
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:,g}"


def usd(dollars: float) -> str:
    """Return an amount in US dollars; what would round to nothing keeps its digits."""
    return f"${dollars:,.2f}" if dollars == 0 or abs(dollars) >= 0.01 else f"${dollars:.2g}"  # noqa: PLR2004 (a cent)


def size(bytes_: int) -> str:
    """Return a number of bytes in the unit that fits."""
    number = float(bytes_)
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:  # noqa: PLR2004 (what a KiB is)
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:,.1f} GiB"
