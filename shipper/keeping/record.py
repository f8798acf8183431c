"""What is kept of one file: the record, and its JSON, which is decoded one record at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec


class Behind(msgspec.Struct, array_like=True):
    """Where reading must begin again for the unsettled lines of one stream of a file."""

    stream: int
    chunk: int
    """Offset of a chunk's start, not after `lowest`."""
    state: list[int]
    """Stamp states at `chunk`: four integers for own times, four for times of reading."""
    context: str
    lowest: int
    """Lines of the stream that start before this offset are settled."""
    exact: bool = False
    """A line of the stream starts at `lowest`."""


class Moved(msgspec.Struct, array_like=True):
    """Lines of one stream that an answer of Loki sent elsewhere: `first` to `last`, both offsets of lines."""

    stream: int
    first: int
    last: int
    to: str
    """`backfill`, or `restamped`, or `dead`."""
    stamp: int = 0
    """The stamp, where `to` is `restamped` (first and last are equal then)."""


class Era(msgspec.Struct, array_like=True, frozen=True):
    """A part of a file, up to an offset (and from the end of the part before), and its fixed labels."""

    until: int
    labels: tuple[tuple[str, str], ...]


class FileRecord(msgspec.Struct, omit_defaults=True):
    """All that must be known of a file to go on."""

    id: int
    source: str
    path: str
    dev: int
    ino: int
    slot: int
    head_bytes: int
    head: str
    read: int
    tail: str
    state: list[int]
    context: str = ""
    size: int = 0
    """The largest size seen; what was never read of it is lost if the file is gone."""
    origin: str = ""
    """The path under which it was first seen, if that is another: labels come from it for ever."""
    answer_last: int = 0
    """The latest stamp given because of an answer."""
    behind: list[Behind] = msgspec.field(default_factory=list)
    clocks: list[tuple[int, ...]] = msgspec.field(default_factory=list)
    """(from, to, ns, greatest age in ns, 1 where older lines were dead-lettered).

    The reading time of a chunk in which a decision hung on the clock, and the policy of that time.
    """
    moved: list[Moved] = msgspec.field(default_factory=list)
    cuts: list[int] = msgspec.field(default_factory=list)
    """Where unsettled lines, or those after them, were ended without a newline."""
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    labels: list[Era] = msgspec.field(default_factory=list)
    """Where lines are unsettled: the fixed labels by which each part of the file was sorted."""
    resting_since_s: int = 0
    """Since when, in seconds since 1970, no source covers the file, or its place cannot be looked at."""


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(FileRecord)


def encode_file(record: FileRecord) -> bytes:
    """Return one file's record as it stands in a generation."""
    return _ENCODER.encode(record)


def decode_file(text: bytes | msgspec.Raw) -> FileRecord:
    """Return what `encode_file` was given."""
    return _DECODER.decode(text)


class Records:
    """The records of a generation, decoded one at a time: ten thousand at once are five times their text."""

    def __init__(self, texts: Sequence[msgspec.Raw] = ()) -> None:
        self._texts = texts

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._texts)

    def __iter__(self) -> Iterator[FileRecord]:
        """Go through them, each time anew."""
        return map(decode_file, self._texts)
