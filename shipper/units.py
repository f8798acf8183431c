"""Sizes and durations as people write them."""

from __future__ import annotations

import math
import re

_BYTES = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?b?)\s*", re.IGNORECASE)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_BYTE_FACTOR = {
    "": 1,
    "k": 1000,
    "m": 1000**2,
    "g": 1000**3,
    "t": 1000**4,
    "ki": 1024,
    "mi": 1024**2,
    "gi": 1024**3,
    "ti": 1024**4,
}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_bytes(text: str) -> int:
    """Return bytes of `256KiB`, `1.2MB`, `4096`; raises `ValueError`."""
    match = _BYTES.fullmatch(text)
    factor = match and _BYTE_FACTOR.get(match[2].lower().removesuffix("b"))
    if not match or not factor or math.isinf(float(match[1]) * factor):
        raise ValueError(f"not a size: {text!r} (try 256KiB or 1.2MB)")
    return round(float(match[1]) * factor)


def parse_duration_s(text: str) -> float:
    """Return seconds of `5s`, `1m30s`, `250ms`, `5`; raises `ValueError`."""
    text = text.strip()
    spelt = f"{text}s" if re.fullmatch(r"\d+(\.\d+)?", text) else text
    parts = _DURATION_PART.findall(spelt)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not parts or "".join(number + unit for number, unit in parts) != spelt or math.isinf(seconds):
        raise ValueError(f"not a duration: {text!r} (try 5s, 250ms or 1m30s)")
    return seconds
