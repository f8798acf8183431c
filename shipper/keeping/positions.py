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
from shipper.keeping.record import FileRecord, Records, encode_file

VERSION = 1
GENERATIONS = ("positions.json", "positions.prev.json")
_HEADER = b'{"v":%d,"crc":%d}\n'


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
