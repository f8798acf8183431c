"""Saves positions in a thread, so that an fsync of some milliseconds never holds up reading."""

from __future__ import annotations

import pathlib
import queue
import threading
from collections.abc import Callable

from shipper import positions


class BackgroundSaver:
    """Writes one save at a time; `wake` is called from the thread when it has ended."""

    def __init__(self, directory: pathlib.Path, wake: Callable[[], None]) -> None:
        self._directory = directory
        self._wake = wake
        self._jobs: queue.SimpleQueue[tuple[bytes, int] | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="save", daemon=True)
        self._thread.start()

    def submit(self, data: bytes, number: int) -> None:
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
            problem = ""
            try:
                positions.save(self._directory, data)
            except OSError as error:
                problem = f"{self._directory}: {error.strerror or error}"
            self._ended.put((number, problem))
            self._wake()
