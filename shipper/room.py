"""How many followed files may be open: what the system allows the process, less what all the rest needs."""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import NamedTuple

RESERVE = 64
"""16 connections for pushes, with idle ones, and 16 clients of the pages, saves, searches, inotify, what the
loop sleeps on, the log, and some."""
_LEAST_RESERVE = 32


class Room(NamedTuple):
    """A limit for the process, and what of it is for followed files."""

    limit: int
    max_open: int


def plan(wanted: int, soft: int, hard: int) -> Room:
    """Return the limit of descriptors to be set, at most `hard`, and how many of them files may take."""
    limit = max(soft, min(hard, wanted + RESERVE))
    reserve = min(RESERVE, max(_LEAST_RESERVE, limit // 4))
    return Room(limit, max(1, min(wanted, limit - reserve)))


def make(wanted: int, tell: Callable[..., None]) -> int:
    """Raise the process's limit as far as is needed and allowed; return how many files may be open."""
    soft, hard = map(_finite, resource.getrlimit(resource.RLIMIT_NOFILE))
    room = plan(wanted, soft, hard)
    if room.limit > soft:
        try:
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (room.limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
            )
        except (OSError, ValueError):
            room = plan(wanted, soft, soft)
    if room.max_open < wanted:
        tell(
            "few_descriptors",
            level="warning",
            allowed=room.limit,
            wanted=wanted,
            max_open_files=room.max_open,
            consequence="more files than that have turns; raise the hard limit (ulimit -Hn, LimitNOFILE=)",
        )
    return room.max_open


def _finite(limit: int) -> int:
    return 1 << 30 if limit == resource.RLIM_INFINITY else limit
