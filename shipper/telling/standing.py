"""One look at the engine: the numbers from which status, health and gauges are made."""

from __future__ import annotations

from collections import deque
from typing import Any

from shipper.engine import Engine
from shipper.follow.inotify import Watcher
from shipper.keeping.deadletter import DeadLetters
from shipper.times import rfc3339

Status = dict[str, Any]
_PACE_S = 60.0
_NAMED = 5
_MARK_EVERY_S = 5.0
_NO_LAG: dict[str, float] = {"files": 0, "bytes": 0, "seconds": 0.0}


def look(
    engine: Engine,
    watcher: Watcher | None,
    dead_letters: DeadLetters,
    source_names: list[str],
    *,
    now_s: float,
    wall_ns: int,
) -> Status:
    """Return how things stand; `now_s` is monotonic."""
    sender = engine.sender
    trouble = sender.last_error
    return {
        "entries_sent": sender.sent,
        "entries_dropped": sender.dropped,
        "last_error": trouble.text or None,
        "last_error_time": rfc3339(trouble.at_ns) if trouble.at_ns else None,
        "files": len(engine.files.all),
        "files_open": engine.files.open_count,
        "unreadable": [f"{path}: {why}" for path, why in sorted(engine.files.unreadable.items())[:_NAMED]],
        "unreadable_count": len(engine.files.unreadable),
        "watches": watcher.watches if watcher else 0,
        "watch_problem": watcher.problem if watcher else "",
        "rescans": engine.files.rescans,
        "truncations": engine.files.truncations,
        "window_entries": engine.window.entries,
        "window_bytes": engine.window.bytes,
        "streams": len(engine.registry.streams),
        "refused_streams": [q.reason for q in sender.queues.values() if q.rounds.open or q.first_failure_s],
        "open_circuits": sum(
            q.rounds.open or q.reason == "dead_letters_full" for q in sender.queues.values()
        ),
        "oldest_unacked_seconds": round(_oldest_s(engine, now_s), 3),
        "dead_letter_problem": dead_letters.problem,
        "dead_letter_file_bytes": dead_letters.size_bytes,
        "save_problem": engine.saving.problem,
        "last_save_age_seconds": round(now_s - engine.saving.saved_at_s, 3) if engine.saves.durable else None,
        "lag": _lag(engine, source_names, wall_ns),
    }


class Pace:
    """Lines a second over about the last minute."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def per_second(self, now_s: float, total: int) -> float | None:
        """Take the total of now; return the rate, None before there is one."""
        if not self._marks or now_s - self._marks[-1][0] >= _MARK_EVERY_S:
            self._marks.append((now_s, total))
        while len(self._marks) > 1 and now_s - self._marks[1][0] >= _PACE_S:
            self._marks.popleft()
        since_s, before = self._marks[0]
        return round((total - before) / (now_s - since_s), 1) if now_s > since_s else None


def _oldest_s(engine: Engine, now_s: float) -> float:
    since_s = engine.sender.oldest_since_s()
    return 0.0 if since_s is None else max(0.0, now_s - since_s)


def _lag(engine: Engine, source_names: list[str], wall_ns: int) -> dict[str, dict[str, float]]:
    lag = {name: _NO_LAG.copy() for name in source_names}
    for tracked in engine.files.all.values():
        entry = lag.get(tracked.source.name) or lag.setdefault(tracked.source.name, _NO_LAG.copy())
        entry["files"] += 1
        settled, size = tracked.read, tracked.size
        if not tracked.account.clear:
            settled = min(floor.lowest for floor in tracked.account.behind().values())
        if settled < size:
            behind = size - settled
            entry["bytes"] += behind
            entry["seconds"] = max(entry["seconds"], (wall_ns - tracked.mtime_ns) / 1e9)
    return lag
