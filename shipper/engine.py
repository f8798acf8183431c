"""The order of the rooms: answers, files, reading, pushing, saving. One turn is one call of `pump`."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from shipper.entries.streams import Registry
from shipper.follow.files import Files
from shipper.follow.inotify import Watcher
from shipper.keeping import positions
from shipper.keeping.deadletter import DeadLetters
from shipper.keeping.positions import Data, Positions
from shipper.keeping.saving import Saver, Saving
from shipper.push.retry import RetryPolicy
from shipper.reading.reader import Reader
from shipper.redact.redactor import Redactor
from shipper.sending.sender import Sender
from shipper.sending.transport import Transport
from shipper.sources.base import Source, caps_of
from shipper.state import Clock, Common, Meter, Options, Tell

ENDED_SETTLED = "ended_settled"
"""Among the totals of the positions: the run that saved them ended with nothing unacknowledged."""
_IDLE_S = 1.0


class Balance(NamedTuple):
    """Of one file: `read = acked + dead + in_flight`, always."""

    path: str
    read: int
    acked: int
    dead: int
    in_flight: int
    lost_bytes: int


class Engine:
    """Ships. Everything that touches the world comes in as an argument."""

    def __init__(  # noqa: PLR0917 - the engine's wiring comes in as arguments
        self,
        sources: Sequence[Source],
        options: Options,
        state_dir: pathlib.Path,
        transport: Transport,
        saver: Saver,
        dead_letters: DeadLetters,
        clock: Clock,
        chance: Callable[[], float],
        tell: Tell,
        meter: Meter,
        *,
        watcher: Watcher | None = None,
        retries: RetryPolicy | None = None,
        max_open: int = 512,
        redactor: Redactor | None = None,
    ) -> None:
        self._common = common = Common(options, Registry(caps_of(sources)), clock, tell, meter, redactor)
        self._clock = clock
        self._state_dir = state_dir
        self._tell = tell
        self._meter = meter
        self.registry = common.registry
        self.window = common.window
        self.saves = common.saves
        self.entry_limit = common.entry_limit
        self.files = Files(
            sources,
            tell,
            self._wall_s,
            max_open=max_open,
            watcher=watcher,
            scratch=state_dir,
            state_dir=state_dir,
        )
        self.sender = Sender(common, transport, dead_letters, retries or RetryPolicy(), chance)
        self._reader = Reader(common, self.files, self.sender)
        self.saving = Saving(common, saver, self._contents)
        self.stopping = False
        self._read_more = False
        self._known_files = (0, 0)
        self.repeats_nothing = False
        """Known at the start: whatever was pushed before was taken, and the positions say so."""

    def start(self, *, look_only: bool = False) -> list[str]:
        """Load the positions and find all files; return warnings. Must come before the first `pump`.

        `look_only`: nothing on disk is changed.
        """
        loaded, records = positions.load_lean(self._state_dir, self._wall_s, look_only=look_only)
        found, source, warnings = loaded
        for warning in warnings:
            self._meter.add("positions_damaged")
            self._tell("positions_damaged", level="warning", detail=warning)
        used: set[int] = set()
        for record in records:
            used.update(behind.stream for behind in record.behind)
            used.update(moved.stream for moved in record.moved)
        self.registry.restore(found.labels, found.streams, used)
        self.entry_limit.restore(found.totals)
        if look_only:
            self.files.look_only()
        now_s = self._clock.monotonic()
        numbers = (found.next_id, found.next_slot)
        self.files.restore(records, self.registry.streams, self.sender.floored, now_s, numbers)
        del records  # their text is as large as the file
        self.files.rescan(now_s, self.saves.next)
        ended_settled = bool(found.totals.get(ENDED_SETTLED))
        self.repeats_nothing = not warnings and (ended_settled or not source)
        if ended_settled:
            for tracked in self.files.all.values():
                # The first push waits for a save that does not say so any more.
                tracked.version = max(tracked.version, self.saves.next)
        return warnings

    def reconfigure(
        self,
        sources: Sequence[Source],
        *,
        options: Options,
        retries: RetryPolicy,
        max_open: int,
        redactor: Redactor | None,
    ) -> None:
        """Go on in another way from the next `pump` on. Nothing that was read or decided is given up."""
        self._common.options, self._common.redactor = options, redactor
        self.registry.recap(caps_of(sources))
        self.entry_limit.reconfigure(options.max_entry_bytes, self.saves.now())
        self.sender.reconfigure(retries)
        self.files.reconfigure(sources, max_open=max_open)
        self.saves.dirty = True

    def pump(self) -> float:
        """Do what can be done now.

        Return the seconds after which there is something to do, if nothing happens.
        """
        now_s = self._clock.monotonic()
        self.saving.look(now_s)
        self.sender.turn(now_s)
        if not self.stopping:
            self.files.poll(now_s, self.saves.next)
            self._read_more = self._reader.read(now_s)
            self.sender.hurry = self.files.crowded
            self.sender.turn(now_s)
        known = (len(self.files.all), len(self.files.resting))
        if known != self._known_files:
            self._known_files = known
            self.saves.dirty = True
        self.saving.turn(now_s, hurry=self.sender.flushing)
        return self._pause(now_s)

    def stop(self) -> None:
        """Read no more; push what is in memory without waiting for full batches."""
        self.stopping = True
        self.sender.flushing = self.sender.ending = True
        self.saves.dirty = True

    @property
    def settled(self) -> bool:
        """True when all that was read is acked or dead-lettered, and saved durably."""
        return self.sender.idle and self.saving.settled

    @property
    def acknowledged(self) -> bool:
        """True when, besides, no line has left memory to be read again: a parked stream's have."""
        return self.settled and self._all_clear

    @property
    def _all_clear(self) -> bool:
        return all(tracked.account.clear for tracked in self.files.all.values())

    @property
    def caught_up(self) -> bool:
        """True when, besides, no file holds a whole line that was not read."""
        files = self.files
        unread = files.ready or files.copies or files.unreadable or files.missing or files.unfinished
        return self.acknowledged and not (unread or self.window.entries)

    def balances(self) -> list[Balance]:
        """Return the balance of each file."""
        return [
            Balance(t.path, a.lines_read, a.lines_acked, a.lines_dead, a.in_flight, a.lost_bytes)
            for t in self.files.all.values()
            for a in (t.account,)
        ]

    def close(self) -> None:
        """Give all descriptors back."""
        for tracked in self.files.all.values():
            tracked.close()

    def _contents(self) -> Data:
        """Return what is to be saved now."""
        totals = self.entry_limit.saved()
        if self.stopping and self.sender.idle and self._all_clear:
            totals[ENDED_SETTLED] = 1
        apart_from_files = Positions(
            {name: sorted(values) for name, values in self.registry.values.items()},
            [stream.labels for stream in self.registry.streams],
            [],
            *self.files.next_numbers,
            totals,
        )
        return positions.pieces(apart_from_files, self.files.records())

    def _wall_s(self) -> float:
        return self._clock.time_ns() / 1e9

    def _pause(self, now_s: float) -> float:
        if self._read_more and not self.window.full:
            return 0.0
        deadline = min(self.sender.next_deadline_s(), now_s + _IDLE_S)
        if not self.stopping:
            deadline = min(deadline, self.files.next_deadline_s())
        deadline = min(deadline, self.saving.next_s(hurry=self.sender.flushing))
        return max(0.0, deadline - now_s)
