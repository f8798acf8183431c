"""Positions on disk: two generations, each with a checksum; a bad file never stops the start.

The form is pinned by tests; docs/shipper.md describes it. A save writes both generations, one after another,
so that what has been saved is in both, and a crash in the middle leaves one of them whole.
"""

from __future__ import annotations

import os
import pathlib
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from shipper.keeping.own_files import open_own, read_own

VERSION = 1
GENERATIONS = ("positions.json", "positions.prev.json")
_HEADER = b'{"v":%d,"crc":%d}\n'


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


class Positions(msgspec.Struct):
    """One generation's content."""

    labels: dict[str, list[str]] = msgspec.field(default_factory=dict)
    streams: list[dict[str, str]] = msgspec.field(default_factory=list)
    files: list[FileRecord] = msgspec.field(default_factory=list)
    next_id: int = 1
    next_slot: int = 0
    totals: dict[str, int] = msgspec.field(default_factory=dict)


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


class Loaded(NamedTuple):
    """What `load` found."""

    positions: Positions
    source: str
    """The generation that was used, or empty for a fresh start."""
    warnings: list[str]


class _Content(msgspec.Struct):
    """A generation's content, of which the records are text yet."""

    labels: dict[str, list[str]] = msgspec.field(default_factory=dict)
    streams: list[dict[str, str]] = msgspec.field(default_factory=list)
    files: list[msgspec.Raw] = msgspec.field(default_factory=list)
    next_id: int = 1
    next_slot: int = 0
    totals: dict[str, int] = msgspec.field(default_factory=dict)


Data = bytes | Sequence[bytes]
"""A generation, whole or in pieces."""
_PIECES = 256
"""So many are written at once: tens of kilobytes, of which nothing is left in the heap."""
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_Content)
_RECORDS = msgspec.json.Decoder(FileRecord)


def encode(positions: Positions) -> bytes:
    """Return a generation's bytes."""
    return b"".join(pieces(positions, map(encode_file, positions.files)))


def pieces(positions: Positions, files: Iterable[bytes]) -> list[bytes]:
    """Return a generation in pieces; `files` are records already encoded, in place of `positions.files`."""
    head = _ENCODER.encode(
        {
            "labels": positions.labels,
            "streams": positions.streams,
            "next_id": positions.next_id,
            "next_slot": positions.next_slot,
            "totals": positions.totals,
        }
    )
    found = [head[:-1] + b',"files":[']
    for file in files:
        found += (file, b",\n")
    if len(found) > 1:
        found.pop()
    found.append(b"]}\n")
    checksum = 0
    for joined in _joined(found):
        checksum = zlib.crc32(joined, checksum)
    return [_HEADER % (VERSION, checksum), *found]


def encode_file(record: FileRecord) -> bytes:
    """Return one file's record as it stands in a generation."""
    return _ENCODER.encode(record)


def decode_file(text: bytes | msgspec.Raw) -> FileRecord:
    """Return what `encode_file` was given."""
    return _RECORDS.decode(text)


def decode(data: bytes) -> Positions:
    """Return what `encode` wrote; raises `ValueError` for anything else."""
    found, records = _decode(data)
    found.files = list(records)
    return found


def _decode(data: bytes) -> tuple[Positions, Records]:
    end = data.find(b"\n")
    if end < 0:
        raise ValueError("no header line")
    header, content = data[:end], memoryview(data)[end + 1 :]
    try:
        found: Any = msgspec.json.decode(header)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError("the header is no JSON") from error
    if not isinstance(found, dict) or found.get("v") != VERSION:
        raise ValueError("not positions of this version")
    if found.get("crc") != zlib.crc32(content):
        raise ValueError("the checksum does not fit")
    try:
        whole = _DECODER.decode(content)
        records = Records(whole.files)
        for _ in records:
            pass  # one that is none makes this no usable generation
    except RecursionError as error:
        raise ValueError("the content is no positions") from error
    return Positions(whole.labels, whole.streams, [], whole.next_id, whole.next_slot, whole.totals), records


def load(
    directory: pathlib.Path, now_s: Callable[[], float] = time.time, *, look_only: bool = False
) -> Loaded:
    """Return a usable generation; a bad one is set aside as `*.corrupt-SECONDS` and named in a warning.

    `look_only`: nothing is renamed.
    """
    loaded, records = load_lean(directory, now_s, look_only=look_only)
    loaded.positions.files = list(records)
    return loaded


def load_lean(
    directory: pathlib.Path, now_s: Callable[[], float] = time.time, *, look_only: bool = False
) -> tuple[Loaded, Records]:
    """Do what `load` does, but with the records beside it, which are decoded one at a time."""
    warnings: list[str] = []
    for name in GENERATIONS:
        path = directory / name
        try:
            found, records = _decode(read_own(path))
            return Loaded(found, name, warnings), records
        except FileNotFoundError:
            continue
        except (ValueError, OSError) as error:
            warnings.append(f"{path}: {error}; it is set aside")
            if not look_only:
                _set_aside(path, now_s())
    if warnings:
        warnings.append("no usable positions: everything on disk is sent again, repeats rather than losses")
    return Loaded(Positions(), "", warnings), Records()


def save(directory: pathlib.Path, data: Data, sync: Callable[[int], None] = os.fsync) -> None:
    """Write both generations durably; raises `OSError`, and then at least one is whole, old or new."""
    for name in reversed(GENERATIONS):
        _replace(directory / name, data, sync)


def as_json(value: object) -> str:
    """Return a value as indented JSON, for people and scripts."""
    return msgspec.json.format(_ENCODER.encode(value), indent=2).decode()


def size_of(data: Data) -> int:
    """Return how many bytes a generation has."""
    return len(data) if isinstance(data, bytes) else sum(map(len, data))


def _joined(parts: Sequence[bytes]) -> Iterator[bytes]:
    for at in range(0, len(parts), _PIECES):
        yield b"".join(parts[at : at + _PIECES])


def _replace(path: pathlib.Path, data: Data, sync: Callable[[int], None]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    fd = open_own(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        for joined in [data] if isinstance(data, bytes) else _joined(data):
            view = memoryview(joined)
            while view:
                view = view[os.write(fd, view) :]
        sync(fd)
    finally:
        os.close(fd)
    temporary.rename(path)
    directory_fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(directory_fd)
    finally:
        os.close(directory_fd)


def _set_aside(path: pathlib.Path, now_s: float) -> None:
    try:
        path.rename(path.with_name(f"{path.name}.corrupt-{int(now_s)}"))
    except OSError:
        # It stays where it is and the next save writes over it.
        return
