"""`dry-run`: everything but the push and the save; what would be pushed is written as text."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable

import orjson

from shipper.entries.streams import Stream
from shipper.keeping.deadletter import DeadLetters
from shipper.keeping.positions import Data
from shipper.push.answer import judge
from shipper.sending.transport import Answered, Push


class Printed:
    """A `Transport` that writes each stream's labels once they change, then each line with its time."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._ended: list[Answered] = []
        self._last: Stream | None = None
        self.entries = 0
        self.bytes = 0

    def submit(self, push: Push) -> None:
        """Write what would be sent, and take it."""
        batch = push.batch
        if batch.stream is not self._last:
            self._last = batch.stream
            self._write(f"{batch.stream!r}\n")
        for segment, first, last in batch.slices:
            for index in range(first, last):
                meta = segment.metas[index]
                note = f"  {orjson.dumps(meta).decode()}" if meta else ""
                self._write(f"  {segment.stamps[index]} {segment.texts[index]}{note}\n")
        self.entries += batch.entries
        self.bytes += len(batch.body)
        self._ended.append(Answered(push, judge(204, ""), 0.0, len(batch.body)))

    def answers(self) -> Iterable[Answered]:
        """Return everything as taken."""
        ended, self._ended = self._ended, []
        return ended


class Unsaved:
    """A `Saver` that saves nothing."""

    def __init__(self) -> None:
        self._number: int | None = None

    def submit(self, data: Data, number: int) -> None:
        """Throw it away."""
        _ = data
        self._number = number

    def done(self) -> tuple[int, str] | None:
        """Say that it went well."""
        number, self._number = self._number, None
        return None if number is None else (number, "")


class Shown(DeadLetters):
    """Dead letters that are only shown."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__(pathlib.Path("/nonexistent"), 0)
        self._show = write

    def write(self, records: list[dict[str, object]]) -> bool:
        """Write the records as text."""
        for record in records:
            self._show(f"dead letter: {orjson.dumps(record).decode()}\n")
        return True


class Silent:
    """A `Meter` that counts nothing."""

    def add(self, name: str, amount: float = 1, label: str = "") -> None:
        """Do nothing."""

    def observe_push(self, seconds: float) -> None:
        """Do nothing."""
