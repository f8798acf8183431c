"""Bytes to lines with their offsets."""

from __future__ import annotations

from itertools import accumulate
from operator import add
from typing import NamedTuple

BOM = b"\xef\xbb\xbf"
_EDGE = b"\r\x00"


class Framed(NamedTuple):
    """Lines of a piece of a file. `starts[i]` is the offset in the file at which `lines[i]` begins."""

    starts: list[int]
    lines: list[bytes]
    end: int
    """Offset after the last byte taken, which is after a newline, or the end of a finished file."""


def frame(piece: bytes, offset: int, *, finished: bool = False) -> Framed:
    r"""Split the bytes found at `offset` into lines; an unfinished last one is left, unless `finished`.

    Blank lines carry nothing and are left out, as are a byte order mark at the start of the file, a carriage
    return before the newline, and runs of NULs at either end of a line (what a power cut leaves of a page
    that was never written). Nothing else is changed.
    """
    cut = len(piece) if finished else piece.rfind(b"\n") + 1
    if cut == 0:
        return Framed([], [], offset)
    raw = piece[:cut].split(b"\n") if cut != len(piece) else piece.split(b"\n")
    if piece[cut - 1 : cut] == b"\n":
        raw.pop()
    # Only C calls for each line: this runs for every line there is.
    starts = list(map(add, accumulate(map(len, raw[:-1]), initial=offset), range(len(raw))))
    if offset == 0 and raw[0].startswith(BOM):
        raw[0] = raw[0][len(BOM) :]
    # Searching for one byte is as good as free; a search for two costs more than all the rest of this
    # function.
    if b"\r" in piece or b"\x00" in piece or not all(raw) or any(map(bytes.isspace, raw)):
        return _cleaned(starts, raw, offset + cut)
    return Framed(starts, raw, offset + cut)


def _cleaned(starts: list[int], raw: list[bytes], end: int) -> Framed:
    kept_starts, kept = [], []
    for start, line in zip(starts, raw, strict=True):
        text = line.rstrip(_EDGE).lstrip(b"\x00") if line else line
        if text and not text.isspace():
            kept_starts.append(start)
            kept.append(text)
    return Framed(kept_starts, kept, end)
