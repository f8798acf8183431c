"""Lines that go to the dead-letter file: what is written of them, and how many there were."""

from __future__ import annotations

from shipper.entries.streams import Stream
from shipper.follow.tracked import Tracked
from shipper.keeping.deadletter import DeadLetters
from shipper.sources.base import Meta
from shipper.state import Common
from shipper.times import rfc3339


class Burial:
    """Writes dead letters. Who buries a line settles it."""

    def __init__(self, common: Common, dead_letters: DeadLetters) -> None:
        self._common = common
        self._dead = dead_letters
        self.dropped = 0
        """Entries dead-lettered since the start."""

    def bury(self, records: list[dict[str, object]]) -> bool:
        """Write dead letters durably; False when that is not possible now."""
        if self._dead.write(records):
            return True
        self._common.tell(
            "dead_letters_full", level="error", error=self._dead.problem, consequence="the stream waits"
        )
        return False

    def dead_record(  # noqa: PLR0917 - what a dead letter says
        self,
        tracked: Tracked,
        offset: int,
        stream: Stream | None,
        reason: str,
        status: int,
        line: bytes,
        *,
        detail: str = "",
        stamp: int = 0,
        meta: Meta | None = None,
    ) -> dict[str, object]:
        """Return a dead letter: all that it takes to send the line once more."""
        return {
            "reason": reason,
            "status": status,
            "detail": detail,
            "file": tracked.path,
            "file_id": tracked.id,
            "offset": offset,
            "stream": stream.labels if stream is not None else None,
            "timestamp": str(stamp) if stamp else None,
            "metadata": meta,
            "time": rfc3339(self._common.clock.time_ns()),
            "line": str(line, "utf-8", "replace"),
        }
