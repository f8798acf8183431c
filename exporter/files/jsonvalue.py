"""Reads JSON that somebody else wrote, and turns its values into what we mean, or None."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

_MAX_COUNT = 2**63
"""More tokens than that are nonsense, and sums of nonsense would overflow a float."""

_NUMERIC = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", re.ASCII)
_FAST = msgspec.json.Decoder()


class TornJsonError(ValueError):
    """The text is no JSON: cut short, empty, too deep, or never was any."""


def parse_json(text: bytes) -> Any:
    """Return the value of a JSON text; raises `TornJsonError` for anything else.

    Tolerant where writers are: bytes that are no UTF-8 become U+FFFD, and `NaN` and `Infinity`, which
    Python's writer emits, are read (and are then no usable numbers).
    """
    try:
        return _FAST.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # the tolerant, slower way below decides
    try:
        return json.loads(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise TornJsonError(str(error) or "empty") from None


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return the object, or an empty one where the value is something else."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any] | None:
    """Return the list, or None where the value is something else."""
    return value if isinstance(value, list) else None


def as_text(value: Any) -> str | None:
    """Return non-blank text, or None."""
    return value if isinstance(value, str) and value.strip() else None


def as_number(value: Any) -> float | None:
    """Return a finite number, also from a numeric string; None for anything else, booleans included."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not _NUMERIC.fullmatch(value):
        return None  # Python takes more for a number than anybody writes: `1_0`, digits of other scripts
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def as_count(value: Any) -> int | None:
    """Return a whole number from 0 to 2**63, also from a numeric string; None for anything else."""
    if type(value) is int:
        return value if 0 <= value <= _MAX_COUNT else None
    number = as_number(value)
    if number is None or not 0 <= number <= _MAX_COUNT or not number.is_integer():
        return None
    return int(number)


def as_time(value: Any) -> float | None:
    """Return Unix seconds from RFC 3339 text; a time without zone is UTC. None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        when = datetime.fromisoformat(value)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return when.timestamp()
    except (ValueError, OverflowError):
        return None
