"""Some items of lists that run in step. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from shipper.follow.offsets import Offsets

Pick = Callable[[Sequence[Any]], Sequence[Any]]


def picker(indexes: Sequence[int]) -> Pick:
    """Return what takes these items of any list: at least one, in its order."""
    first, last = indexes[0], indexes[-1]
    if last - first == len(indexes) - 1:
        return itemgetter(slice(first, last + 1))
    return itemgetter(*indexes)


def offsets_of(starts: Sequence[int], indexes: Sequence[int]) -> Sequence[int]:
    """Return these offsets; not yet counted where all are not."""
    return starts.chosen(indexes) if isinstance(starts, Offsets) else picker(indexes)(starts)


def every(items: Sequence[Any]) -> Sequence[Any]:
    """Take all items."""
    return items


def extremes(numbers: Sequence[int]) -> tuple[int, int]:
    """Return the least and the greatest. Most ascend: they are sorted in half of the time of two searches."""
    ascending = sorted(numbers)
    return ascending[0], ascending[-1]
