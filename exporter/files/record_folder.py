"""A folder of small record files: each is read again only when it was touched.

An unchanged folder costs a listing and one stat a file (1.5 us each and a third of that to compare them), so
that thousands of records do not slow a scrape.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Generic, TypeVar, cast

from exporter.files.document import read_text
from exporter.files.jsonvalue import TornJsonError
from exporter.files.tree import Reason, Refused, Tree

T = TypeVar("T")

_marks = attrgetter("st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
"""What must be equal for a file of this folder to count as untouched (see `tree.signature`)."""

MAX_RECORDS = 20_000
"""A folder with more names than this is refused: a sum over some of its records would be a wrong number."""

READ_BUDGET_S = 0.2
"""What reading touched records may take of a scrape; the rest is left for the next one."""

_TICK_NS = 50_000_000


@dataclass(frozen=True, slots=True)
class Records(Generic[T]):
    """The good records by file name. `is_changed`: since the last reading. `problems`: new ones only.

    `newest_mtime_s` is that of the youngest good record, None without one. `is_complete` False: there are
    more that this reading had no time for.
    """

    by_name: Mapping[str, T]
    is_changed: bool
    newest_mtime_s: float | None
    problems: tuple[Refused, ...] = ()
    is_complete: bool = True


@dataclass(slots=True)
class _Entry(Generic[T]):
    reported: tuple[int, ...] | None = None  # the damage that was already told
    mtime_s: float = 0.0
    is_good: bool = False
    value: T | None = None
    good_at_s: float = float("-inf")


@dataclass(slots=True)
class RecordFolder(Generic[T]):
    """The files `prefix*suffix` in the folder at `path` of a tree; `parse` raises `TornJsonError`.

    A torn record keeps its last good value for `keep_s` seconds. Not thread-safe.
    """

    path: str
    prefix: str
    suffix: str
    parse: Callable[[bytes], T]
    keep_s: float
    limit_bytes: int
    monotonic: Callable[[], float] = time.monotonic
    _names: list[str] = field(default_factory=list)
    _wanted: list[str] = field(default_factory=list)
    _seen: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _entries: dict[str, _Entry[T]] = field(default_factory=dict)
    _good: dict[str, T] = field(default_factory=dict)
    _newest_mtime_s: float | None = None
    _pending: set[str] = field(default_factory=set)
    _is_reported: bool = False

    def read(self, tree: Tree, now_s: float) -> Records[T]:
        """Return the records as they are in `tree` now; an absent folder has none."""
        until_s = self.monotonic() + READ_BUDGET_S
        names, folder_fd = self._listed(tree), tree.dir_fd(self.path)
        if isinstance(names, Refused) or isinstance(folder_fd, Refused):
            return self._refused(names if isinstance(names, Refused) else None)
        self._is_reported = False
        if names != self._names:
            self._names = names
            self._wanted = [n for n in names if n.startswith(self.prefix) and n.endswith(self.suffix)]
        entries, seen = self._entries, self._seen
        touched = []
        present = len(self._wanted)
        for name in self._wanted:
            try:
                found = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
            except OSError:
                present -= 1  # vanished since the listing
                continue
            if _marks(found) != seen.get(name):
                touched.append((name, found))
        is_gone = present != len(entries) + sum(1 for name, _ in touched if name not in entries)
        if not touched and not is_gone and not self._pending:
            return Records(self._good, is_changed=False, newest_mtime_s=self._newest_mtime_s)
        problems: list[Refused] = []
        is_complete = self._reread_all(tree, touched, now_s, until_s, problems)
        if is_gone:
            kept = set(names)
            for name in [name for name in entries if name not in kept]:
                del entries[name]
                seen.pop(name, None)
        return self._collected(now_s, tuple(problems), is_complete=is_complete)

    def _listed(self, tree: Tree) -> list[str] | Refused:
        names = tree.names(self.path, MAX_RECORDS + 1)
        if isinstance(names, Refused) or len(names) <= MAX_RECORDS:
            return names
        return Refused(Reason.TOO_LARGE, f"{self.path} has more than {MAX_RECORDS} files")

    def _reread_all(
        self,
        tree: Tree,
        touched: list[tuple[str, os.stat_result]],
        now_s: float,
        until_s: float,
        problems: list[Refused],
    ) -> bool:
        """Read touched records while there is time; return whether that was all of them."""
        for name, found in touched:
            if self.monotonic() > until_s:
                return False
            problem = self._reread(tree, name, found, now_s)
            if problem is not None:
                problems.append(problem)
        return True

    def _refused(self, problem: Refused | None) -> Records[T]:
        """Answer for a folder that cannot be listed: gone is empty, anything else is reported once."""
        is_changed = bool(self._good)
        self._entries.clear()
        self._seen.clear()
        self._good, self._newest_mtime_s = {}, None
        self._pending.clear()
        if problem is None or problem.reason is Reason.MISSING or self._is_reported:
            return Records({}, is_changed, None)
        self._is_reported = True
        return Records({}, is_changed, None, (problem,))

    def _reread(self, tree: Tree, name: str, found: os.stat_result, now_s: float) -> Refused | None:
        entry = self._entries.setdefault(name, _Entry())
        touched: tuple[int, ...] = _marks(found)
        if abs(now_s * 1e9 - found.st_mtime_ns) > _TICK_NS:
            self._seen[name] = touched
        else:
            self._seen.pop(name, None)  # young: it may be written again within the tick
        problem = self._parsed(tree, name, entry)
        entry.is_good = problem is None
        if problem is None:
            entry.good_at_s, entry.mtime_s = now_s, found.st_mtime
            return None
        # A record read again because it was young is the same damage, not another one.
        is_known = entry.reported == touched or problem.reason is Reason.MISSING
        entry.reported = touched
        return None if is_known else problem

    def _parsed(self, tree: Tree, name: str, entry: _Entry[T]) -> Refused | None:
        path = f"{self.path}/{name}"
        text = read_text(tree, path, self.limit_bytes)
        if isinstance(text, Refused):
            return text
        try:
            entry.value = self.parse(text)
        except TornJsonError as error:
            return Refused(Reason.TORN, f"{path}: {error}")
        return None

    def _collected(self, now_s: float, problems: tuple[Refused, ...], *, is_complete: bool) -> Records[T]:
        good: dict[str, T] = {}
        self._pending.clear()
        newest = None
        for name, entry in self._entries.items():
            if not entry.is_good:
                if now_s - entry.good_at_s > self.keep_s:
                    entry.value = None
                    continue
                self._pending.add(name)
            good[name] = cast("T", entry.value)  # good or held; the parser's own answer may be None
            newest = entry.mtime_s if newest is None else max(newest, entry.mtime_s)
        self._good, self._newest_mtime_s = good, newest
        return Records(
            good, is_changed=True, newest_mtime_s=newest, problems=problems, is_complete=is_complete
        )
