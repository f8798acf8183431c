"""How far a file's stamps have come, and what was decided of lines that may have to be read again."""

from __future__ import annotations

from collections.abc import Iterable

from shipper.entries.ledger import Floor
from shipper.entries.stamp import FRESH, StampState, packed, unpacked
from shipper.entries.streams import Stream
from shipper.keeping.record import Behind, Era, FileRecord, Moved


class Course:
    """What, besides the cursor, reading needs to give each line what it got, or would have got, before."""

    __slots__ = ("clock_state", "clocks", "context", "cuts", "eras", "moved", "own_state")

    def __init__(self) -> None:
        self.own_state: StampState = FRESH
        self.clock_state: StampState = FRESH
        self.context = ""
        self.cuts: list[int] = []
        """Where a line was ended without a newline, because nothing came after it for a while."""
        self.clocks: list[tuple[int, ...]] = []
        self.moved: list[Moved] = []
        self.eras: list[Era] = []
        """Parts of the file whose lines were sorted by other labels, before a change of the configuration."""

    @property
    def is_plain(self) -> bool:
        """True where the record of a settled file holds all of it."""
        return not (self.clocks or self.moved or self.cuts or self.eras)

    def take(self, record: FileRecord) -> None:
        """Go on as a record says."""
        # What is as at the beginning, of thousands of files, is one object.
        self.own_state, self.clock_state = (FRESH if s == FRESH else s for s in unpacked(record.state))
        self.context = record.context
        self.clocks = list(record.clocks)
        self.moved = list(record.moved)
        self.cuts = list(record.cuts)
        self.eras = list(record.labels)

    def forget_before(self, lowest: int, *, settled: bool) -> None:
        """Keep nothing of lines that are not read again: those before `lowest`, or all that are `settled`."""
        if self.clocks and self.clocks[0][1] <= lowest:
            self.clocks = [clock for clock in self.clocks if clock[1] > lowest]
        if self.moved:
            self.moved = [moved for moved in self.moved if moved.last >= lowest and not settled]
        if self.cuts:
            self.cuts = [cut for cut in self.cuts if cut > lowest]
        if self.eras:
            self.eras = [era for era in self.eras if era.until > lowest]

    def go_on_from(self, other: Course) -> None:
        """Go on where another file is."""
        self.own_state, self.clock_state, self.context = other.own_state, other.clock_state, other.context


def behind_of(floors: Iterable[tuple[Stream, Floor]]) -> list[Behind]:
    """Return where reading must begin again, as a record keeps it."""
    return [
        Behind(
            stream.index,
            floor.chunk.start,
            packed(floor.chunk.own_state, floor.chunk.clock_state),
            floor.chunk.context,
            floor.lowest,
            floor.exact,
        )
        for stream, floor in floors
    ]
