"""Dead letters once more: what Loki takes now leaves the file, everything else stays in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

import orjson

from shipper.entries.stamp import ANSWER_RESIDUE, SLOTS, STEP_NS
from shipper.keeping import deadletter
from shipper.keeping.own_files import open_own
from shipper.proof.rejoin import rejoined
from shipper.proof.resend import Fate, Letter, Resender
from shipper.proof.resent import Place
from shipper.times import MAX_NS

SLICE_BYTES = 16 << 20
_STAMP_DIGITS = 19


class Busy(Exception):  # noqa: N818 - an outcome, not an error of ours
    """Another replay is under way."""


class Item(NamedTuple):
    """A line of the dead-letter file: to be sent, or why it is not."""

    raw: bytes
    record: dict[str, Any]
    letters: list[Letter]
    """One, or the parts of a line that is longer than an entry may be."""
    kept: str = ""


@dataclass(slots=True)
class Outcome:
    """What came out."""

    taken: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    stopped: str = ""
    """Why not all were tried."""


Fill = Callable[[dict[str, Any]], tuple[int | None, dict[str, str] | None]]
"""A record to its line's own time and metadata, as its source reads them."""
Split = Callable[[Letter, dict[str, Any]], list[Letter]]
"""A letter and its record to the letters that Loki takes: a long line goes in parts."""


Mask = Callable[[str], str]
"""Text without its secrets: a letter may be of a time when they were not masked, or not all of them."""
Note = Callable[[list[Place]], None]
"""Told of lines before they are sent."""


class Means(NamedTuple):
    """What the configuration says of letters."""

    mask: Mask
    fill: Fill
    split: Split
    limit_bytes: int
    """The longest entry that Loki takes, as far as is known."""


def replay(
    path: pathlib.Path, resender: Resender, means: Means, note: Note, now: Callable[[], str]
) -> Outcome:
    """Send all dead letters again; raises `Busy` or `OSError`.

    The shipper may append meanwhile: it is held up only while the rest is copied and put in place.
    """
    outcome = Outcome()
    with _alone(path), _opened(path) as fd:
        if fd is None:
            return outcome
        temporary = path.with_name(f".{path.name}.replay")
        out = open_own(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            done = 0
            for raws, end in slices(fd):
                items = _items(raws, means)
                if resender.stopped is None:
                    note([place for one in items for place in _places(one)])
                    # All parts of a line that was cut anew hang on the same letters.
                    resender.send(dict.fromkeys(letter for one in items for letter in one.letters))
                _write(out, b"".join(after(one, outcome, now) for one in items))
                done = end
            if outcome.taken or outcome.refused:
                _put_in_place(path, fd, out, temporary, done)
        finally:
            os.close(out)
            temporary.unlink(missing_ok=True)
    if resender.stopped is not None:
        verdict = resender.stopped
        outcome.stopped = f"{verdict.reason}: {verdict.status or 'no answer'} {verdict.detail}".strip()
    return outcome


def look(path: pathlib.Path, means: Means) -> Iterator[Item]:
    """Yield what `replay` would send."""
    with _opened(path) as fd:
        for raws, _ in slices(fd) if fd is not None else ():
            yield from (item(raw, means) for raw in raws)


def slices(fd: int, size: int = SLICE_BYTES) -> Iterator[tuple[list[bytes], int]]:
    """Yield whole lines, without their newlines, and the offset after them; a torn last line is left.

    What is appended later is not looked at: it is of a cause that is not mended yet.
    """
    offset, left, end = 0, b"", os.fstat(fd).st_size
    while piece := os.pread(fd, min(size, end - offset - len(left)), offset + len(left)):
        data = left + piece
        cut = data.rfind(b"\n") + 1
        left = data[cut:]
        if cut:
            offset += cut
            yield data[: cut - 1].split(b"\n"), offset


def _items(raws: list[bytes], means: Means) -> list[Item]:
    items = [item(raw, means) for raw in raws]
    anew = rejoined((letter for one in items for letter in one.letters), means.limit_bytes)
    return [
        one._replace(letters=anew[one.letters[0]]) if one.letters and one.letters[0] in anew else one
        for one in items
    ]


def item(raw: bytes, means: Means) -> Item:
    """Return what a line of the file means."""
    try:
        record = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return Item(raw, {}, [], "no dead letter" if raw.strip() else "blank")
    if not isinstance(record, dict):
        return Item(raw, {}, [], "no dead letter")
    labels, text = record.get("stream"), record.get("line")
    if record.get("truncated"):
        return Item(raw, record, [], "only the head of the line is here")
    if not isinstance(text, str) or not _is_text(labels) or not labels:
        return Item(raw, record, [], "its stream or its line is not here")
    meta = record.get("metadata")
    meta = _masked(meta, means.mask) if _is_text(meta) else None
    record |= {"line": (text := means.mask(text)), "stream": _masked(labels, means.mask), "metadata": meta}
    stamp = _number(record.get("timestamp"))
    if stamp is None or meta is None:
        own, found = means.fill(record)
        meta = found if meta is None else meta
        if stamp is None:
            if own is None:
                return Item(raw, record, [], "it has no time")
            residue = (_number(record.get("file_id")) or 0) % SLOTS + ANSWER_RESIDUE
            stamp = own - own % STEP_NS + residue
    return Item(raw, record, means.split(Letter(record["stream"], stamp, text, meta), record))


def place_of(record: dict[str, Any]) -> Place:
    """Return the id of its file and where its line starts; 0 where that is not said: no file has that id."""
    return _number(record.get("file_id")) or 0, _number(record.get("offset")) or 0


def _places(one: Item) -> list[Place]:
    file, offset = place_of(one.record)
    return [(file, offset + part) for part in range(len(one.letters))]


def after(one: Item, outcome: Outcome, now: Callable[[], str]) -> bytes:
    """Return what stays in the file of a line, and count it."""
    if one.kept:
        if one.kept != "blank":
            outcome.kept[one.kept] += 1
        return one.raw + b"\n" if one.kept != "blank" else b""
    refused = next((letter for letter in one.letters if letter.fate is Fate.REFUSED), None)
    if refused is not None and refused.verdict is not None:
        verdict = refused.verdict
        outcome.refused[verdict.reason] += 1
        why = {"reason": verdict.reason, "status": verdict.status, "detail": verdict.detail, "time": now()}
        with contextlib.suppress(orjson.JSONEncodeError):  # what can be read can be nested deeper
            return orjson.dumps({**one.record, **why}) + b"\n"
        return one.raw + b"\n"
    if any(letter.fate is Fate.WAITING for letter in one.letters):
        outcome.waiting += 1
        return one.raw + b"\n"
    outcome.taken += 1
    return b""


def _put_in_place(path: pathlib.Path, old: int, out: int, temporary: pathlib.Path, done: int) -> None:
    """Add what came since, and let the new file take the old one's place, durably."""
    fd = deadletter.held(path)
    try:
        if not os.path.samestat(os.fstat(fd), os.fstat(old)):
            raise OSError(f"{path} was replaced by somebody else meanwhile; it is left as it is")
        while piece := os.pread(fd, SLICE_BYTES, done):
            _write(out, piece)
            done += len(piece)
        os.fsync(out)
        temporary.rename(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[int | None]:
    try:
        fd = open_own(path, os.O_RDONLY)
    except FileNotFoundError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _alone(path: pathlib.Path) -> Iterator[None]:
    """Hold the lock of replays: two at once would each put back what the other has sent."""
    name = path.with_name("replay.lock")
    fd = open_own(name, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another replay holds {name}") from None
        yield
    finally:
        os.close(fd)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _is_text(value: object) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and all(isinstance(v, str) for pair in value.items() for v in pair)


def _masked(texts: dict[str, str], mask: Mask) -> dict[str, str]:
    return {name: mask(text) for name, text in texts.items()}


def _number(value: object) -> int | None:
    """Return what can be a time, an offset or an id, whatever stands there."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _STAMP_DIGITS:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= MAX_NS else None
