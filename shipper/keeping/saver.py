"""Saves positions in a thread, so that an fsync of some milliseconds never holds up reading."""

from __future__ import annotations

import pathlib
import queue
import threading
from collections.abc import Callable

from shipper.keeping import positions
from shipper.keeping.lock import Lock


class BackgroundSaver:
    """Writes one save at a time; `wake` is called from the thread when it has ended."""

    def __init__(self, directory: pathlib.Path, lock: Lock, wake: Callable[[], None]) -> None:
        self._directory = directory
        self._lock = lock
        self._wake = wake
        self._jobs: queue.SimpleQueue[tuple[positions.Data, int] | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="save", daemon=True)
        self._thread.start()

    def submit(self, data: positions.Data, number: int) -> None:
        """Start to write."""
        self._jobs.put((data, number))

    def done(self) -> tuple[int, str] | None:
        """Return the save that has ended, and its problem."""
        try:
            return self._ended.get_nowait()
        except queue.Empty:
            return None

    def close(self) -> None:
        """End the thread once its work is done."""
        self._jobs.put(None)
        self._thread.join(timeout=5)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            data, number = job
            self._ended.put((number, self._save(data)))
            del job, data  # thousands of records, of which some change before the next save
            self._wake()

    def _save(self, data: positions.Data) -> str:
        """Return what went wrong. Where the lock was lost in between, it is not said to be saved."""
        problem = self._lock.problem()
        if problem:
            return problem
        try:
            positions.save(self._directory, data)
        except OSError as error:
            problem = f"{self._directory}: {error.strerror or error}"
        if not self._lock.stands():
            return problem or f"{self._directory}: the lock was lost meanwhile"
        self._lock.saved()
        return problem
