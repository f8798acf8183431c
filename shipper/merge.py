"""Which file of a group is read next, and how far: oldest line first. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

SLACK_NS = 10 * 60 * 10**9
"""Files are read this far past each other: within Loki's window of an hour, and cheap when all are up to
date."""

T = TypeVar("T")


class Turn(NamedTuple):
    """Place of the file to be read, and the own time past which another file's turn comes."""

    place: int
    until_ns: float


def next_turn(heads_ns: Iterable[int]) -> Turn | None:
    """Choose among files by the time of the next line of each (0: it has none, and goes at once)."""
    first: tuple[int, int] | None = None
    second: int | None = None
    for index, head in enumerate(heads_ns):
        if first is None or head < first[0]:
            second = first[0] if first is not None else second
            first = (head, index)
        elif second is None or head < second:
            second = head
    if first is None:
        return None
    return Turn(first[1], float("inf") if second is None else second + SLACK_NS)
