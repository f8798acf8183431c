"""What a source of numbers must provide: this screen is all that a new folder under `sources/` has to meet.

A source reads its files when asked and answers with a `SourceReading`: rows of numbers and an account of
itself. It does not know who asks, makes no metric objects, and never raises for what a file holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from exporter.files.tree import Refused

Labels = Mapping[str, str]


class Kind(Enum):
    """The type of a metric family."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family: its name as it stands on the page (a counter's with `_total`), type and help."""

    name: str
    kind: Kind
    help: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations by bucket (not cumulative; one more than bounds, for +Inf), and their sum."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float


@dataclass(frozen=True, slots=True)
class Row:
    """One number: its family, its labels, its value (for INFO the labels are the value)."""

    family: Family
    labels: Labels
    value: float | Histogram


@dataclass(frozen=True, slots=True)
class SourceReading:
    """What a source found.

    `is_up`: it could be read at all. `down_reason` says why not. `mtimes_s`: by file, only of what parsed.
    `problems`: those met for the first time, already logged by nobody. `warnings`: sentences, each told once.
    `unread_bytes`: history still to read.
    """

    rows: Sequence[Row] = ()
    is_up: bool = True
    down_reason: str | None = None
    mtimes_s: Mapping[str, float] = field(default_factory=dict)
    problems: Sequence[Refused] = ()
    warnings: Sequence[str] = ()
    lines_rejected: int = 0
    records_unpriced: int = 0
    records_unmeasured: int = 0
    unread_bytes: int = 0


class Source(Protocol):
    """One thing to read: one project's directory, one log tree."""

    @property
    def name(self) -> str:
        """The kind of source, the value of the label `source`."""

    @property
    def labels(self) -> Labels:
        """Labels that tell this source from others of its kind; may be empty."""

    @property
    def families(self) -> Sequence[Family]:
        """Every family that a reading may have rows of, in the order of the page."""

    def read(self, now_s: float) -> SourceReading:
        """Read what there is now (Unix seconds); takes well under a second, however much there is."""

    def catch_up(self) -> int:
        """Read a slice of a long history outside a scrape; return the bytes that are left."""

    def close(self) -> None:
        """Give back descriptors."""
