"""Where lines begin: counted from their sizes when somebody asks, which for most lines nobody does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import add, itemgetter
from typing import overload


class Offsets(Sequence[int]):
    """The offsets of lines that follow each other, or of some of them. Counted once."""

    __slots__ = ("_count", "_each", "_first", "_indexes", "_of", "_sizes")

    def __init__(self, first: int, sizes: Sequence[int]) -> None:
        """`first`: where the first line begins; `sizes`: the bytes of each, without its newline."""
        self._first = first
        self._sizes = sizes
        self._count = len(sizes)
        self._of: Offsets | None = None
        self._indexes: Sequence[int] = ()
        self._each: Sequence[int] | None = None

    def chosen(self, indexes: Sequence[int]) -> Offsets:
        """Return some of them, at least one."""
        chosen = Offsets(0, ())
        chosen._count, chosen._of, chosen._indexes = len(indexes), self, indexes
        return chosen

    @property
    def each(self) -> Sequence[int]:
        """All of them."""
        if self._each is None:
            if self._of is None:
                self._each = list(
                    map(add, accumulate(self._sizes[:-1], initial=self._first), range(self._count))
                )
            elif self._count > 1:
                self._each = itemgetter(*self._indexes)(self._of.each)
            else:
                self._each = (self._of.each[self._indexes[0]],)
            self._sizes = self._indexes = ()
            self._of = None
        return self._each

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...

    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        return self.each[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self.each) == list(other)

    # It equals a list of the same offsets, which has no hash either.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Offsets({list(self.each)!r})"
