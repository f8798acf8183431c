"""A bounded queue that is fair between lanes: whoever asks much waits behind nobody but itself."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Lanes(Generic[T]):
    """Items in lanes, which take turns; within a lane the first comes first."""

    def __init__(self, max_lanes: int, max_per_lane: int) -> None:
        self._max_lanes = max_lanes
        self._max_per_lane = max_per_lane
        self._lanes: OrderedDict[Hashable, deque[T]] = OrderedDict()

    def put(self, lane: Hashable, item: T) -> bool:
        """Add an item to a lane; False if it is full, or too many others are in use."""
        queue = self._lanes.get(lane)
        if queue is None:
            if len(self._lanes) >= self._max_lanes:
                return False
            queue = self._lanes[lane] = deque()
        if len(queue) >= self._max_per_lane:
            return False
        queue.append(item)
        return True

    def take(self) -> T | None:
        """Return the next item, None if there is none; its lane goes to the end of the line."""
        if not self._lanes:
            return None
        lane, queue = self._lanes.popitem(last=False)
        item = queue.popleft()
        if queue:
            self._lanes[lane] = queue
        return item
