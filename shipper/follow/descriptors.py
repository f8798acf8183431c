"""How many files are held open, and which are closed to make room for others."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from itertools import islice

from shipper.follow.held import QUIET_S, is_spent, quiet_at_s
from shipper.follow.known import Known
from shipper.follow.phase import Happening, Phase
from shipper.follow.tracked import Tracked
from shipper.follow.tree import Refused, open_regular


class Descriptors:
    """Keeps to the limit. What stands at its path can be closed, and opened again when it is its turn."""

    def __init__(self, known: Known, tell: Callable[..., None], limit: int) -> None:
        self._known = known
        self._tell = tell
        self.limit = limit
        self._none_to_close = False
        self._now_s = -math.inf

    @property
    def count(self) -> int:
        """How many are held."""
        return len(self._known.open)

    @property
    def crowded(self) -> bool:
        """True when none is left."""
        return self.count >= self.limit

    def begin_turn(self, now_s: float) -> None:
        """Try again to make room: within a turn that was in vain, it is not tried twice."""
        self._none_to_close = False
        self._now_s = now_s

    def has_room(self, tracked: Tracked) -> bool:
        """Tell whether another may be taken for this file, after closing what can be if that is needed."""
        if self.crowded and not self._none_to_close:
            self.close_idle(make_room=True)
            if self.crowded:
                self._none_to_close = True
                self._tell(
                    "no_descriptor_left",
                    level="warning",
                    path=tracked.path,
                    open=self.count,
                    consequence="it waits for another to be settled; raise max_open_files if that lasts",
                )
        return not self.crowded

    def open(self, tracked: Tracked) -> int | None:
        """Return a new descriptor of what stands at the file's path, or None, told, where that is refused."""
        unreadable = self._known.unreadable
        unreadable.pop(tracked.path, None)
        try:
            return open_regular(tracked.path, tracked.root)
        except Refused as refused:
            self._tell("refused_file", level="warning", path=tracked.path, error=str(refused))
        except FileNotFoundError:
            return None
        except OSError as error:
            unreadable[tracked.path] = error.strerror or str(error)
            self._tell("unreadable_file", level="warning", path=tracked.path, error=error.strerror)
        return None

    def hold(self, tracked: Tracked, path: str, root: str) -> bool:
        """Hold a file that was closed while idle, if it is what stands at `path`."""
        if tracked.fd >= 0:
            return True
        try:
            fd = open_regular(path, root)
        except (Refused, OSError):
            return False
        if not tracked.is_in(fd):
            os.close(fd)
            return False
        self._known.adopt(tracked, fd)
        return True

    def let_go(self, tracked: Tracked) -> None:
        """Close a file that stands at its path and is not being read."""
        if tracked.phase is Phase.FOLLOWING and tracked.account.clear and tracked.fd >= 0:
            self._known.close(tracked)

    def close_idle(self, *, make_room: bool = False) -> None:
        """Close files above the limit, the least recently written first.

        What stands at its path loses nothing by it. Then those without a path go that are quiet, the longest
        so first: what would still be written into them is not read.
        """
        limit = self.limit - 1 if make_room else self.limit
        if self.count <= limit:
            return
        following = [t for t in self._known.open.values() if t.phase is Phase.FOLLOWING]
        following.sort(key=lambda t: t.mtime_ns)
        # A few more than must be, so that a storm of new files does not sort the list for each of them.
        more = self.limit // 8
        idle = (t for t in following if t.account.clear and max(t.read, t.scanned) >= t.size)
        self._close_first(self.count - limit + more, idle)
        if self.count > limit:
            self._let_held_go(self.count - limit)
        if make_room and self.count > limit:
            # One that has more to read, or unsettled lines.
            rest = sorted((t for t in following if t.fd >= 0), key=lambda t: not t.account.clear)
            self._close_first(self.count - limit + more, rest)

    def _close_first(self, count: int, files: Iterable[Tracked]) -> None:
        """Close the first that stand at their paths; where they stand is asked of few more than these."""
        for tracked in islice(filter(Tracked.stands_at_path, files), count):
            self._known.close(tracked)

    def _let_held_go(self, excess: int) -> None:
        spent = [t for t in self._known.open.values() if is_spent(t, self._now_s) and not _has_more(t)]
        spent.sort(key=quiet_at_s)
        for tracked in spent[:excess]:
            self._tell(
                "held_file_let_go",
                level="warning",
                path=tracked.path,
                quiet_s=round(self._now_s - quiet_at_s(tracked) + QUIET_S),
                consequence="what is written into it from now on is not read; raise max_open_files",
            )
            if tracked.away:
                self._known.close(tracked)  # its record comes to rest at the next look
            else:
                tracked.happened(Happening.FINISHED)
                self._known.forget(tracked)


def _has_more(tracked: Tracked) -> bool:
    return os.fstat(tracked.fd).st_size != tracked.read
