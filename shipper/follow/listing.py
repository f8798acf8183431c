"""A directory's regular files by inode and by how they begin: read once for all that is sought there."""

from __future__ import annotations

import os
from collections.abc import Callable

from shipper.follow import identity

_MOST_FILES = 5000


class Listing:
    """What the directory held when it was listed. `head_of` returns the first bytes of a path's content."""

    def __init__(self, directory: str, head_of: Callable[[str], bytes]) -> None:
        self._directory = directory
        self._head_of = head_of
        self.changed_ns = _changed_ns(directory)
        self._inodes: dict[str, int] = {}
        self._by_inode: dict[int, list[str]] = {}
        self._heads: dict[str, bytes] | None = None
        self._by_head: dict[int, dict[str, list[str]]] = {}
        try:
            with os.scandir(directory) as entries:
                names = [entry for _, entry in zip(range(_MOST_FILES), entries, strict=False)]
                self._inodes = {e.path: e.inode() for e in names if e.is_file(follow_symlinks=False)}
        except OSError:
            return
        for path, inode in self._inodes.items():
            self._by_inode.setdefault(inode, []).append(path)

    def __len__(self) -> int:
        """Return how many files there are."""
        return len(self._inodes)

    def is_of_now(self, directory: str) -> bool:
        """Tell whether no name has come or gone since."""
        return self.changed_ns == _changed_ns(directory)

    def like(self, wanted: identity.Fingerprint, inode: int | None, base: str) -> list[str]:
        """Return the paths that have the inode, or begin like what is wanted, the likest first."""
        here = self._by_inode.get(inode, []) if inode is not None else []
        if not wanted.head_bytes:
            return here
        table = self._by_head.get(wanted.head_bytes)
        if table is None:
            table = self._by_head[wanted.head_bytes] = self._table(wanted.head_bytes)
        named = f"{self._directory}/{base}"
        like = sorted(table.get(wanted.head, []), key=lambda path: (not path.startswith(named), path))
        return here + [path for path in like if path not in here]

    def _table(self, head_bytes: int) -> dict[str, list[str]]:
        if self._heads is None:
            self._heads = {path: self._head_of(path) for path in self._inodes}
        table: dict[str, list[str]] = {}
        for path, head in self._heads.items():
            if len(head) >= head_bytes:
                table.setdefault(identity.digest(head[:head_bytes]), []).append(path)
        return table


def _changed_ns(directory: str) -> int:
    try:
        return os.stat(directory).st_mtime_ns  # noqa: PTH116 - paths are plain text here, thousands of them
    except OSError:
        return 0
