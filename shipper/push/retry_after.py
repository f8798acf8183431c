"""What a gateway's `Retry-After` says, in seconds or as a date. Pure."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

CAP_S = 300.0
"""A gateway that says more is asked again all the same: it would hold a stream for a day."""


def retry_after_s(text: str, now_epoch_s: float) -> float | None:
    """Return the seconds to wait, at most five minutes; None where nothing usable is said."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), CAP_S)
    try:
        moment = parsedate_to_datetime(text)
        return min(max(0.0, moment.timestamp() - now_epoch_s), CAP_S)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
