"""Looks after the lock of the state directory while the shipper runs, and says what became of it."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from shipper.keeping.lock import Lock

_EVERY_S = 1.0


class Guard:
    """`save` has the positions saved: whoever saves takes a lost lock again, or finds that it cannot."""

    def __init__(
        self, lock: Lock, state_dir: pathlib.Path, tell: Callable[..., None], save: Callable[[], object]
    ) -> None:
        self._lock = lock
        self._state_dir = state_dir
        self._tell = tell
        self._save = save
        self._times_taken = lock.times_taken
        self._look_at_s = 0.0
        self._told = False

    @property
    def lost(self) -> str:
        """Why nothing may be read, pushed or saved any more; empty where all is well."""
        return self._lock.usurped

    def look(self, now_s: float) -> None:
        """Have a lost lock noticed within a second."""
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + _EVERY_S
            if not self._lock.stands():
                self._save()
        if self._lock.times_taken != self._times_taken:
            self._times_taken = self._lock.times_taken
            self._tell(
                "state_directory_made_anew",
                level="warning",
                path=str(self._state_dir),
                consequence="it had been removed; what is known of the files is saved in the new one",
            )
        if self.lost and not self._told:
            self._told = True
            self._tell(
                "state_directory_taken_away",
                level="error",
                error=self.lost,
                consequence="nothing is read, pushed or saved any more; end this shipper or the other one",
            )
