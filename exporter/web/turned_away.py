"""Remembers whose password could not be checked for want of room, so that a second try is known as one.

Who scrapes sends the same password again; who guesses sends another. A table with one place for each digest,
which the next digest of the same place takes over: its size is fixed whatever a flood sends, and nobody
without the key can aim at a place. After `m` others one is still known with a chance of `exp(-m / PLACES)`:
three quarters after fifteen seconds of 5,000 guesses a second, and there is another scrape after that.
"""

from __future__ import annotations

from array import array

PLACES = 1 << 18
"""Two MiB, taken when somebody is turned away for the first time."""


class TurnedAway:
    """Keyed digests of 16 bytes or more, as many as there are places for."""

    def __init__(self, places: int = PLACES) -> None:
        self._places = places
        self._tags: array[int] | None = None

    def add(self, digest: bytes) -> None:
        """Remember it, in place of whichever was there."""
        if self._tags is None:
            self._tags = array("Q", bytes(8 * self._places))
        place, tag = self._entry(digest)
        self._tags[place] = tag

    def __contains__(self, digest: bytes) -> bool:
        """Whether it was added and is not forgotten yet."""
        if self._tags is None:
            return False
        place, tag = self._entry(digest)
        return self._tags[place] == tag

    def _entry(self, digest: bytes) -> tuple[int, int]:
        place = int.from_bytes(digest[8:16], "big") % self._places
        return place, int.from_bytes(digest[:8], "big") or 1  # 0 is an empty place
