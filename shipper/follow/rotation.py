"""What happens to a file that loses its path or its content: it is sought, read to its end, and let go."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

from shipper.follow import identity
from shipper.follow.content import tail_of
from shipper.follow.descriptors import Descriptors
from shipper.follow.held import is_spent, let_go_at_s, quiet_at_s
from shipper.follow.known import Known
from shipper.follow.phase import Happening, Phase
from shipper.follow.restoring import Restoring
from shipper.follow.search import Search
from shipper.follow.tracked import Tracked
from shipper.follow.tree import Refused, is_away, open_regular

_LOOK_S = 1.0
"""How often the files without a path are looked at that grew within the last minute."""
_LOOK_AT_OLD_S = 10.0
_OLD_S = 60.0


class Rotation:
    """Moves files through their phases."""

    def __init__(
        self,
        known: Known,
        search: Search,
        descriptors: Descriptors,
        restoring: Restoring,
        tell: Callable[..., None],
    ) -> None:
        self._known = known
        self._search = search
        self._descriptors = descriptors
        self._restoring = restoring
        self._tell = tell
        self.truncations = 0
        self._look_at_s = -math.inf
        self._look_at_old_s = -math.inf
        self._away: dict[str, Tracked] = {}

    # ---- paths

    def check_path(self, path: str, now_s: float) -> None:
        """Look whether the file that is known at this path still stands there."""
        tracked = self._known.by_path.get(path)
        if tracked is None:
            return
        self._known.ready[tracked.id] = tracked
        if tracked.stands_at_path():
            return
        del self._known.by_path[path]
        tracked.away = is_away(path, tracked.root, tracked.dev)
        if tracked.away:
            self._away[path] = tracked
        if tracked.fd >= 0 or tracked.away or self._regain(tracked):
            self._known.lost_path(tracked, now_s)
            return
        if not tracked.account.pending:
            self._restoring.miss(tracked)
            return
        self._known.unlist(tracked)
        self._lose(tracked, tracked.unread_bytes, "deleted")
        tracked.happened(Happening.LOST_PATH)
        tracked.happened(Happening.CUT)
        self._known.draining[tracked.id] = tracked

    def moved_here(self, tracked: Tracked, path: str, root: str) -> bool:
        """Go on at another path with a known file, if it is what stands there."""
        if tracked.phase is Phase.GONE or not self._descriptors.hold(tracked, path, root):
            return False
        try:
            here = os.lstat(path)
        except OSError:
            return False
        held = os.fstat(tracked.fd)
        if (here.st_dev, here.st_ino) != (held.st_dev, held.st_ino):
            return False
        if tracked.path != path and self._known.by_path.get(tracked.path) is tracked:
            if tracked.stands_at_path():
                return True  # a hard link: one file, two names
            del self._known.by_path[tracked.path]
        self._known.found_path(tracked, path, root)
        return True

    def came_back(self, path: str, now_s: float) -> bool:
        """Go on with a file that was away, where its place is back and it is another inode now."""
        tracked = self._away.get(path)
        if tracked is None or self._known.draining.get(tracked.id) is not tracked:
            return False
        if not tracked.away or not _may_rest(tracked):
            return False
        self._restoring.rest(tracked, covered=True)
        self._restoring.look_again(os.path.dirname(path), now_s)  # noqa: PTH120 - paths are plain text here
        return path in self._known.by_path

    def _regain(self, tracked: Tracked) -> bool:
        """Find a file that was not held and has lost its path: it may have another name in its directory."""
        self._known.unlist_inode(tracked)
        if tracked.account.clear and not tracked.unread_bytes and not self._descriptors.has_room(tracked):
            return False  # ten thousand files at rest that are rotated at once: there is nothing to read now
        found = self._search.beside(tracked.path, tracked.fingerprint, inode=(tracked.dev, tracked.ino))
        if found is None:
            return False
        self._known.adopt(tracked, found.fd)
        return True

    # ---- content

    def was_cut(self, tracked: Tracked, now_s: float, version: int) -> None:
        """Note that the content that we were reading is gone from the inode.

        Look for a copy, else count what is lost.
        """
        self.truncations += 1
        old_fd = self._known.take_fd(tracked)
        self._known.unlist(tracked)
        # Sought even if nothing is known to be unread: lines may have come between the last look and the cut.
        copy = self._search.beside(tracked.path, tracked.fingerprint, skip=(tracked.dev, tracked.ino))
        if old_fd >= 0 and tracked.phase is Phase.DRAINING:
            self._succeed(tracked, old_fd, now_s, version)
        elif old_fd >= 0:
            os.close(old_fd)
        if copy is not None:
            if copy.overwritten is not None:
                self._was_overwritten(copy.overwritten)
            self._tell("copy_found", path=tracked.path, offset=tracked.read)
            self._known.adopt(tracked, copy.fd)
            tracked.grows = not copy.unpacked
            self._known.lost_path(tracked, now_s)
            return
        self._end_here(tracked)

    def _was_overwritten(self, tracked: Tracked) -> None:
        """Note that what stood in a file is gone, and that it goes on as another one."""
        self.truncations += 1
        fd = self._known.take_fd(tracked)
        if fd >= 0:
            os.close(fd)
        self._known.unlist(tracked)
        self._end_here(tracked)

    def _end_here(self, tracked: Tracked) -> None:
        tracked.happened(Happening.CUT)
        self._known.draining[tracked.id] = tracked
        lost = tracked.unread_bytes
        self._tell(
            "truncated",
            level="warning" if lost else "info",
            path=tracked.path,
            offset=tracked.read,
            lost_bytes=lost,
        )
        self._lose(tracked, lost, "truncated")

    def go_on_in(self, original: Tracked, copy: Tracked, now_s: float, version: int) -> None:
        """Go on with a deleted file in its copy.

        Who still holds the deleted one open may write into it: what it gets from now on is a file of its own.
        """
        path, root = copy.path, copy.root
        try:
            fd = open_regular(path, root)
        except (Refused, OSError):
            return
        self._known.forget(copy)
        old_fd = self._known.take_fd(original)
        end = os.fstat(old_fd).st_size
        heir = self._succeed(original, old_fd, now_s, version)
        heir.advance(end, tail_of(old_fd, end))
        heir.head_bytes, heir.head = 0, identity.digest(b"")  # the next copy is the original's, not its
        self._known.adopt(original, fd)
        self.moved_here(original, path, root)
        self._tell("copy_found", path=path, offset=original.read)

    def _succeed(self, tracked: Tracked, fd: int, now_s: float, version: int) -> Tracked:
        """Return what goes on with what is written into a file without a path after its cut."""
        heir = self._known.make(tracked.source, tracked.path, tracked.root, version)
        self._known.adopt(heir, fd)
        heir.go_on_for(tracked)
        heir.away = tracked.away
        if heir.away:
            self._away[heir.path] = heir
        self._known.lost_path(heir, now_s)
        return heir

    def shrank(self, tracked: Tracked, size: int) -> None:
        """Note that bytes that were seen were cut off before they were read, and nothing of what was."""
        lost = tracked.size - size
        tracked.size = size
        self._lose(tracked, lost, "truncated")

    def lose_floors(self, tracked: Tracked) -> None:
        """Count what must be read again and cannot be."""
        floors = tracked.account.floors
        if floors:
            lost = max(0, tracked.read - min(floor.lowest for floor in floors.values()))
            self._lose(tracked, lost, "truncated")
            floors.clear()
            tracked.account.dirty = True

    def _lose(self, tracked: Tracked, lost: int, reason: str) -> None:
        if lost:
            tracked.account.lost_bytes += lost
            tracked.account.dirty = True
            self._tell("lost", level="warning", path=tracked.path, lost_bytes=lost, reason=reason)

    # ---- the end

    def drain(self, now_s: float, version: int) -> None:
        """Look at the files without a path: read what they got, let go of what has ended."""
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + _LOOK_S
        old_too = now_s >= self._look_at_old_s
        if old_too:
            self._look_at_old_s = now_s + _LOOK_AT_OLD_S
            held = self._known.draining
            self._away = {p: t for p, t in self._away.items() if t.away and held.get(t.id) is t}
        for tracked in list(self._known.draining.values()):
            # Thousands may be held for an hour, and hardly any of them grows.
            if old_too or now_s < (tracked.lost_path_s or 0.0) + _OLD_S:
                self._look(tracked, now_s, version)

    def _look(self, tracked: Tracked, now_s: float, version: int) -> None:
        draining = tracked.phase is Phase.DRAINING
        if draining and tracked.fd >= 0:
            self._look_for_more(tracked, now_s, version)
        if tracked.away and draining:
            at_s = let_go_at_s(tracked) if tracked.fd >= 0 else quiet_at_s(tracked)
            if now_s >= at_s and _may_rest(tracked):
                self._tell("file_away", path=tracked.path, offset=tracked.read)
                self._restoring.rest(tracked, covered=True)
        elif tracked.account.clear and (
            tracked.phase is Phase.GONE or (now_s >= let_go_at_s(tracked) and tracked.read >= tracked.size)
        ):
            tracked.happened(Happening.FINISHED)
            self._known.forget(tracked)
            self._tell("file_done", level="debug", path=tracked.path, offset=tracked.read)

    def _look_for_more(self, tracked: Tracked, now_s: float, version: int) -> None:
        status = os.fstat(tracked.fd)
        # What stands there now may be another content, of which nothing was ours to lose.
        if status.st_size > tracked.size and tracked.is_in(tracked.fd):
            tracked.size = status.st_size
            tracked.lost_path_s = now_s
            tracked.account.dirty = True
            if tracked.unfindable:
                tracked.version = max(tracked.version, version)  # its record comes back
        if status.st_size != tracked.read:
            self._known.ready[tracked.id] = tracked
        tracked.unfindable = status.st_nlink == 0 and not tracked.away and is_spent(tracked, now_s)

    def next_deadline_s(self) -> float:
        """Return when files without a path must be looked at again."""
        return self._look_at_s if self._known.draining else math.inf


def _may_rest(tracked: Tracked) -> bool:
    """Tell whether nothing can be done for a file as long as its place is away."""
    if tracked.fd < 0:
        return not tracked.account.pending
    return tracked.account.clear and max(tracked.read, tracked.scanned) >= tracked.size
