"""What the rooms of the shipper share.

The settings, the window, the number of the next save, the clock, and what is told of events.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from shipper.entries.parts import MIN_ENTRY_BYTES
from shipper.entries.sorting import Policy
from shipper.entries.streams import Registry
from shipper.redact.redactor import Redactor
from shipper.sending.batch import Limits


class Clock(Protocol):
    """Time comes in as an argument."""

    def monotonic(self) -> float:
        """Return seconds that only grow."""

    def time_ns(self) -> int:
        """Return nanoseconds since 1970."""


class Tell(Protocol):
    """Says what happened: one line of log, and whatever counter belongs to it."""

    def __call__(self, event: str, *, level: str = "info", **fields: object) -> None:
        """Tell of one event."""


class Meter(Protocol):
    """Counts. The names are those of the metrics, without prefix and `_total`."""

    def add(self, name: str, amount: float = 1, label: str = "") -> None:
        """Add to a counter."""

    def observe_push(self, seconds: float) -> None:
        """Note how long a push took."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the engine needs of the configuration."""

    limits: Limits = field(default_factory=Limits)
    batch_wait_s: float = 5.0
    max_stream_rate_bps: float = 1_200_000
    window_entries: int = 10_000
    window_bytes: int = 8 << 20
    policy: Policy = field(default_factory=lambda: Policy(7 * 24 * 3600 * 10**9))
    structured_metadata: bool = True
    max_line_bytes: int = 64 << 20
    max_entry_bytes: int = 256 << 10
    """A longer line is split into entries of at most so many bytes of text."""
    save_every_s: float = 0.25


@dataclass(slots=True)
class Window:
    """Lines in memory: read, and neither acked nor dead-lettered."""

    max_entries: int
    max_bytes: int
    entries: int = 0
    bytes: int = 0

    @property
    def full(self) -> bool:
        """True when nothing more is read; a chunk may have gone past the limits, a single long line does."""
        return self.entries >= self.max_entries or self.bytes >= self.max_bytes

    @property
    def half_full(self) -> bool:
        """True when refused streams must make room."""
        return self.entries * 2 >= self.max_entries or self.bytes * 2 >= self.max_bytes


@dataclass(slots=True)
class EntryLimit:
    """The longest entry that Loki takes, as far as is known: the setting, or less where an answer said so."""

    configured_bytes: int
    bytes: int = 0
    version: int = 0
    """The save that must be durable before anything is pushed that was split by it."""
    proven_bytes: int = 0
    """The longest part that was taken since the start; before a longer one, nothing of its line is sent."""

    def __post_init__(self) -> None:
        self.bytes = self.bytes or max(MIN_ENTRY_BYTES, self.configured_bytes)

    def learn(self, stated_bytes: int, version: int) -> bool:
        """Take over a limit that Loki stated; False where it is none that is lower."""
        limit_bytes = max(MIN_ENTRY_BYTES, stated_bytes)
        if limit_bytes >= self.bytes:
            return False
        self.bytes = limit_bytes
        self.version = version
        # A gateway counts compressed bytes: that a longer one passed proves nothing of others.
        self.proven_bytes = 0
        return True

    def halved_below(self, entry_bytes: int) -> int:
        """Return the limit, halved until an entry of this size would be split, if it can be at all."""
        limit_bytes = self.bytes
        while limit_bytes >= entry_bytes > MIN_ENTRY_BYTES:
            limit_bytes = max(MIN_ENTRY_BYTES, limit_bytes // 2)
        return limit_bytes

    def reconfigure(self, configured_bytes: int, version: int) -> None:
        """Begin again with another setting."""
        if configured_bytes != self.configured_bytes:
            self.configured_bytes = configured_bytes
            self.bytes = max(MIN_ENTRY_BYTES, configured_bytes)
            self.version = version

    def saved(self) -> dict[str, int]:
        """Return what must be durable."""
        return {"max_entry_bytes": self.bytes, "max_entry_bytes_set": self.configured_bytes}

    def restore(self, totals: dict[str, int]) -> None:
        """Take over what an earlier run learnt, as long as the setting is the same."""
        if totals.get("max_entry_bytes_set") == self.configured_bytes:
            self.bytes = max(MIN_ENTRY_BYTES, min(self.bytes, totals.get("max_entry_bytes", self.bytes)))


@dataclass(slots=True)
class Saves:
    """Which save holds what. What is decided now will be in save `next`; pushes wait for `durable`."""

    next: int = 1
    durable: int = 0
    dirty: bool = True
    urgent: bool = False
    """A push waits for the next save."""

    def now(self) -> int:
        """Return the number of the save that will hold what was decided just now."""
        self.dirty = True
        return self.next


@dataclass(slots=True, eq=False)
class Common:
    """One for a whole engine: where a setting or the redactor is replaced here, it is for all rooms."""

    options: Options
    registry: Registry
    clock: Clock
    tell: Tell
    meter: Meter
    redactor: Redactor | None = None
    window: Window = field(init=False)
    saves: Saves = field(init=False, default_factory=Saves)
    entry_limit: EntryLimit = field(init=False)

    def __post_init__(self) -> None:
        self.window = Window(self.options.window_entries, self.options.window_bytes)
        self.entry_limit = EntryLimit(self.options.max_entry_bytes)
