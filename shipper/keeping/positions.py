"""Positions on disk: two generations, each with a checksum; a bad file never stops the start.

The form is pinned by tests; docs/shipper.md describes it. A save writes both generations, one after another,
so that what has been saved is in both, and a crash in the middle leaves one of them whole.
"""

from __future__ import annotations

import os
import pathlib
import time
import zlib
from collections.abc import Callable, Iterable
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


class Loaded(NamedTuple):
    """What `load` found."""

    positions: Positions
    source: str
    """The generation that was used, or empty for a fresh start."""
    warnings: list[str]


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Positions)


def encode(positions: Positions, files: Iterable[bytes] | None = None) -> bytes:
    """Return a generation's bytes; `files` are records already encoded, in place of `positions.files`."""
    encoded = map(_ENCODER.encode, positions.files) if files is None else files
    head = _ENCODER.encode(
        {
            "labels": positions.labels,
            "streams": positions.streams,
            "next_id": positions.next_id,
            "next_slot": positions.next_slot,
            "totals": positions.totals,
        }
    )
    content = head[:-1] + b',"files":[' + b",\n".join(encoded) + b"]}\n"
    return _HEADER % (VERSION, zlib.crc32(content)) + content


def encode_file(record: FileRecord) -> bytes:
    """Return one file's record as it stands in a generation."""
    return _ENCODER.encode(record)


def decode(data: bytes) -> Positions:
    """Return what `encode` wrote; raises `ValueError` for anything else."""
    header, newline, content = data.partition(b"\n")
    if not newline:
        raise ValueError("no header line")
    try:
        found: Any = msgspec.json.decode(header)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError("the header is no JSON") from error
    if not isinstance(found, dict) or found.get("v") != VERSION:
        raise ValueError("not positions of this version")
    if found.get("crc") != zlib.crc32(content):
        raise ValueError("the checksum does not fit")
    try:
        return _DECODER.decode(content)
    except RecursionError as error:
        raise ValueError("the content is no positions") from error


def load(
    directory: pathlib.Path, now_s: Callable[[], float] = time.time, *, look_only: bool = False
) -> Loaded:
    """Return a usable generation; a bad one is set aside as `*.corrupt-SECONDS` and named in a warning.

    `look_only`: nothing is renamed.
    """
    warnings: list[str] = []
    for name in GENERATIONS:
        path = directory / name
        try:
            return Loaded(decode(read_own(path)), name, warnings)
        except FileNotFoundError:
            continue
        except (ValueError, OSError) as error:
            warnings.append(f"{path}: {error}; it is set aside")
            if not look_only:
                _set_aside(path, now_s())
    if warnings:
        warnings.append("no usable positions: everything on disk is sent again, repeats rather than losses")
    return Loaded(Positions(), "", warnings)


def save(directory: pathlib.Path, data: bytes, sync: Callable[[int], None] = os.fsync) -> None:
    """Write both generations durably; raises `OSError`, and then at least one is whole, old or new."""
    for name in reversed(GENERATIONS):
        _replace(directory / name, data, sync)


def as_json(value: object) -> str:
    """Return a value as indented JSON, for people and scripts."""
    return msgspec.json.format(_ENCODER.encode(value), indent=2).decode()


def _replace(path: pathlib.Path, data: bytes, sync: Callable[[int], None]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    fd = open_own(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        view = memoryview(data)
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
