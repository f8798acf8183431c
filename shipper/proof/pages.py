"""What to ask Loki next, by what it answered last: pages, ranges and their limits. Pure.

Measured on Loki 3.7.8: where 128 entries that follow each other have more than 4 MiB, the answer is a 500, or
a 200 that ends before them and says nothing of it. So only a small page that is not full ends a range.
And the last entry of a chunk that left the ingester is not shown where the query begins at its very
nanosecond, if that is a whole millisecond. So each query begins a nanosecond earlier.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

PAGE = 5000
"""Loki's `max_entries_limit_per_query`."""
_GROW_AFTER = 4
_SPLIT_NOT_BELOW_NS = 10**9
_MAX_LIMIT = re.compile(r"limit > max_entries_limit(?:_per_query)? \(\d+ > (\d+)\)")
_TOO_LARGE = ("message larger than max", "resourceexhausted", "max entries limit", "response too large")
_TOO_LONG = (
    "query time range exceeds the limit",
    "query timed out",
    "query_timeout",
    "deadline exceeded",
    "read too many bytes",
    "too many chunks",
    "max_chunks_per_query",
)


class Incomplete(Exception):  # noqa: N818 - an outcome, not an error of ours
    """Loki does not show all there is, whatever is asked."""


class Next(Enum):
    """What to do after a refusal."""

    AT_ONCE = auto()
    """Ask again: for less."""
    LATER = auto()
    """Ask the same again after a pause."""
    NEVER = auto()
    """It will not be answered."""


class Ask(NamedTuple):
    """A range query: from `start_ns` to before `end_ns`, the first `limit` entries."""

    start_ns: int
    end_ns: int
    limit: int


class Walk:
    """Walks through a range of time, oldest first, and sees each entry once.

    So many entries as `sure` fit into any answer.
    """

    def __init__(self, start_ns: int, end_ns: int, *, page: int = PAGE, sure: int = 13) -> None:
        self._most = page
        self._sure = min(sure, page)
        self._limit = page
        self._fits = 0
        """How many pages in a row were taken at this limit."""
        self._todo: list[tuple[int, int]] = [(start_ns, end_ns)] if start_ns < end_ns else []
        """Ranges, the next one last."""

    @property
    def ask(self) -> Ask | None:
        """The next query; None when all has been seen."""
        if not self._todo:
            return None
        start_ns, end_ns = self._todo[-1]
        return Ask(start_ns - 1, end_ns, self._limit)

    def took(self, stamps: Sequence[int]) -> slice:
        """Go on after an answer with entries of these times, in order; return which of them to keep.

        A page may end among entries of one nanosecond: those of its last one are asked for again.
        """
        start_ns, end_ns = self._todo[-1]
        first = next((i for i, stamp in enumerate(stamps) if stamp >= start_ns), len(stamps))
        full = len(stamps) >= self._limit
        if not full and (self._limit <= self._sure or (first < len(stamps) and end_ns - start_ns == 1)):
            self._todo.pop()
            self._grow()
            return slice(first, None)
        if not full:
            self._limit = self._sure
            self._fits = 0
        if first == len(stamps):
            if full:
                raise Incomplete(f"{self._limit} entries or more share the nanosecond {start_ns - 1}")
            return slice(0)
        last = stamps[-1]
        keep = next(i for i, stamp in enumerate(stamps) if stamp == last)
        if keep > first or not full:
            self._todo[-1] = (last, end_ns)
            if full:
                self._grow()
            return slice(first, keep)
        if end_ns - start_ns == 1:
            raise Incomplete(f"{self._limit} entries or more share the nanosecond {last}")
        self._todo.pop()
        if last + 1 < end_ns:
            self._todo.append((last + 1, end_ns))
        self._todo.append((last, last + 1))
        self._limit = self._most
        return slice(0)

    def refused(self, status: int, text: str) -> Next:
        """Decide what a refusal means; ask for less where that helps."""
        lower = text.lower()
        if any(needle in lower for needle in _TOO_LARGE):
            return self._shrink(text)
        if status in (400, 408, 500, 504) and any(needle in lower for needle in _TOO_LONG):
            return self._split()
        if status in (408, 429) or status >= 500:  # noqa: PLR2004 - the server's own troubles
            return Next.LATER
        return Next.NEVER

    def too_slow(self) -> Next:
        """Decide what to do when no answer came in time."""
        return self._split()

    def _shrink(self, text: str) -> Next:
        stated = _MAX_LIMIT.search(text)
        limit = int(stated[1]) if stated else self._limit // 2
        if limit < 1 or limit >= self._limit:
            return Next.NEVER
        if stated:
            self._most = limit
        self._limit = limit
        self._fits = 0
        return Next.AT_ONCE

    def _split(self) -> Next:
        start_ns, end_ns = self._todo[-1]
        if end_ns - start_ns <= _SPLIT_NOT_BELOW_NS:
            return Next.LATER
        middle = (start_ns + end_ns) // 2
        self._todo[-1:] = [(middle, end_ns), (start_ns, middle)]
        return Next.AT_ONCE

    def _grow(self) -> None:
        self._fits += 1
        if self._fits >= _GROW_AFTER and self._limit < self._most:
            self._limit = min(self._most, self._limit * 2)
            self._fits = 0
