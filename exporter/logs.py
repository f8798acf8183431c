"""One line an event on stderr, key=value or JSON; repeats are rate-limited.

Values are escaped, so that no file name or error text can make a second line. Nothing that a file holds is
logged beyond names, sizes and positions: agents' files are full of secrets.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from typing import Any, Literal

LogFormat = Literal["logfmt", "json"]

_NEEDS_QUOTES = re.compile(r'[\s"=\\\x00-\x1f\x7f-\x9f]')


def log_event(logger: logging.Logger, level: int, event: str, **fields: object) -> None:
    """Log one event with its fields.

    The message has the fields in it, too, for programs that embed us and log in a form of their own.
    """
    parts = (f"{key}={_quoted(value)}" for key, value in fields.items())
    logger.log(level, "%s", " ".join([event, *parts]), extra={"event": event, "fields": fields})


def set_up_logging(log_format: LogFormat, level: int = logging.INFO) -> None:
    """Send all logging of this process to stderr, one line an event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _LogfmtFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


class RepeatLimiter:
    """Lets the same thing through once in `every_s` seconds, and tells how many were held back since."""

    def __init__(
        self,
        every_s: float = 300.0,
        monotonic: Callable[[], float] = time.monotonic,
        max_keys: int = 10_000,
    ) -> None:
        self._every_s = every_s
        self._monotonic = monotonic
        self._max_keys = max_keys
        self._last: dict[Hashable, tuple[float, int]] = {}

    def admit(self, key: Hashable) -> int | None:
        """Return how many repeats of `key` were held back since the last one let through; None: hold back."""
        now_s = self._monotonic()
        last = self._last.get(key)
        if last is not None and now_s - last[0] < self._every_s:
            self._last[key] = (last[0], last[1] + 1)
            return None
        if len(self._last) >= self._max_keys:
            self._last.clear()  # rather a repeated line than unbounded memory
        self._last[key] = (now_s, 0)
        return last[1] if last is not None else 0


def printable(text: str) -> str:
    """Return text for a terminal: on one line, with all that an agent could hide in a name made visible."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _parts(record: logging.LogRecord) -> dict[str, Any]:
    when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    parts: dict[str, Any] = {
        "ts": when.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "event": getattr(record, "event", None) or record.getMessage(),
        **getattr(record, "fields", {}),
    }
    if record.exc_info:
        parts["trace"] = logging.Formatter().formatException(record.exc_info)
    return parts


class _LogfmtFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{key}={_quoted(value)}" for key, value in _parts(record).items())


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_parts(record), default=str)


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or _NEEDS_QUOTES.search(text) else text
