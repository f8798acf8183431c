"""Range queries on the Loki in memory, answered as the real one (3.7.8) answers them, with its oddities.

A result over 4 MiB is refused or ends early; the last entry of a stream at a whole millisecond is not shown
where the query begins at its very nanosecond.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from receiver import Model

_MATCHER = re.compile(r'(\w+)(=~|=)"((?:[^"\\]|\\.)*)"')
RESULT_LIMIT_BYTES = 4 << 20
BATCH = 128


class Queried:
    """`fetch` for the proof's queries. `silent`: an answer over 4 MiB ends early instead of being a 500."""

    def __init__(self, model: Model, *, silent: bool = False) -> None:
        self.model = model
        self.silent = silent
        self.asked: list[dict[str, str]] = []
        self.hidden: Callable[[int], bool] = lambda _stamp: False
        """Which entries are not shown yet."""

    def __call__(self, path: str) -> tuple[int, bytes]:
        """Answer."""
        words = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        self.asked.append(words)
        wanted, _, filters = words["query"].partition("}")
        if urlsplit(path).path.endswith("/label/backfill/values"):
            return 200, json.dumps({"status": "success", "data": self._held_hours(wanted)}).encode()
        start, end, limit = int(words["start"]), int(words["end"]), int(words["limit"])
        entries = sorted(
            (stamp, line, labels, meta)
            for labels, kept in self.model.entries.items()
            if _matches(wanted, dict(labels))
            for (stamp, line), meta in kept.items()
            if start <= stamp < end
            and not (stamp == start == max(kept)[0] and stamp % 10**6 == 0)
            and not self.hidden(stamp)
            and _filtered(filters, meta)
            for meta in [tuple(sorted(meta.items()))]
        )[:limit]
        shown = []
        for first in range(0, len(entries), BATCH):
            batch = entries[first : first + BATCH]
            if sum(len(line) for _, line, _, _ in batch) > RESULT_LIMIT_BYTES:
                if self.silent:
                    break
                return (
                    500,
                    b"rpc error: code = ResourceExhausted desc = trying to send message larger than max",
                )
            shown += batch
        result = [
            {"stream": dict(labels), "values": [[str(stamp), line, {"structuredMetadata": dict(meta)}]]}
            for stamp, line, labels, meta in shown
        ]
        return 200, json.dumps({"status": "success", "data": {"result": result}}).encode()

    def _held_hours(self, wanted: str) -> list[str]:
        """Return the hours of the backfill streams that are not flushed; what is not shown is not."""
        return [
            dict(labels)["backfill"]
            for labels, kept in self.model.entries.items()
            if "backfill" in dict(labels) and _matches(wanted, dict(labels))
            if any(self.hidden(stamp) for stamp, _ in kept)
        ]


def _matches(selector: str, labels: dict[str, str]) -> bool:
    for name, operator, text in _MATCHER.findall(selector):
        value, known = json.loads(f'"{text}"'), labels.get(name, "")
        if known != value if operator == "=" else not re.fullmatch(value, known):
            return False
    return True


def _filtered(filters: str, meta: dict[str, str]) -> bool:
    return all(meta.get(name) == value for name, _, value in _MATCHER.findall(filters))
