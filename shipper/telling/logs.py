"""One line an event, to stderr for journald.

Repeats are rate-limited and counted. No line of a log file is ever in it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")
_BURST = 5
_PERIOD_S = 60.0
_VALUE_CHARS = 500
_KINDS_REMEMBERED = 1000


class Log:
    """A `Tell`: writes events as key=value or JSON. At most five of a kind a minute.

    `suppressed` counts the rest.
    """

    def __init__(
        self,
        out: TextIO | None = None,
        *,
        form: str = "text",
        level: str = "info",
        now_s: Callable[[], float] = time.monotonic,
        suppressed: Callable[[], None] = lambda: None,
        masked: Callable[[str], str] = str,
    ) -> None:
        self._out = out or sys.stderr
        self.configure(form=form, level=level, masked=masked)
        self._now_s = now_s
        self._suppressed = suppressed
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def configure(self, *, form: str, level: str, masked: Callable[[str], str]) -> None:
        """Write in this form from now on, nothing below the level, and no secret that `masked` knows."""
        self._masked = masked
        self._json = form == "json"
        self._floor = LEVELS.index(level)

    def __call__(self, event: str, *, level: str = "info", **fields: object) -> None:
        """Write one event."""
        if LEVELS.index(level) < self._floor or not self._due(event, str(fields.get("reason", ""))):
            return
        if self._json:
            line = json.dumps({"level": level, "event": event, **fields}, default=str)
        else:
            pairs = (f"{name}={_quoted(value)}" for name, value in fields.items() if value not in ("", None))
            line = " ".join((f"level={level}", f"event={event}", *pairs))
        try:
            self._out.write(self._masked(line) + "\n")
            self._out.flush()
        except (OSError, ValueError):
            # Nobody listens to the log any more; shipping goes on.
            self._suppressed()

    def _due(self, event: str, reason: str) -> bool:
        now_s = self._now_s()
        since, count = self._seen.get((event, reason), (now_s, 0))
        if now_s - since >= _PERIOD_S:
            since, count = now_s, 0
        if len(self._seen) >= _KINDS_REMEMBERED:
            self._seen.clear()
        self._seen[event, reason] = (since, count + 1)
        if count >= _BURST:
            self._suppressed()
            return False
        return True


def _quoted(value: object) -> str:
    text = str(value)[:_VALUE_CHARS]
    if text and not any(c in text for c in ' "=\n\r\t') and text.isprintable():
        return text
    return json.dumps(text)
