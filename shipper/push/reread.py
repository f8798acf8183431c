"""Something made from files, made anew when they change; what cannot be used leaves the old one in force."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
_LOOK_EVERY_S = 1.0


class Reread(Generic[T]):
    """`make` reads the files and raises `ValueError` or `OSError`; the first time that goes to the caller.

    `told` hears a sentence each time that changed files cannot be used. Any thread may ask.
    """

    def __init__(
        self,
        files: Sequence[str],
        make: Callable[[], T],
        told: Callable[[str], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = [file for file in files if file]
        self._make = make
        self._told = told
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._look_at_s = monotonic() + _LOOK_EVERY_S
        # Before the files are read: what changes meanwhile is seen as a change.
        self._seen = self._look()
        self._current = make()
        self.version = 1

    def current(self) -> T:
        """Return what the files say now, or said when they could last be used."""
        if self._files and self._monotonic() >= self._look_at_s:
            with self._lock:
                self._refresh()
        return self._current

    def _refresh(self) -> None:
        self._look_at_s = self._monotonic() + _LOOK_EVERY_S
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._current = self._make()
        except (ValueError, OSError) as error:
            self._told(str(error))
        else:
            self.version += 1

    def _look(self) -> list[tuple[int, ...]]:
        return [_identity(file) for file in self._files]


def _identity(file: str) -> tuple[int, ...]:
    try:
        status = os.stat(file)  # noqa: PTH116 - text, as it was configured
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
