"""Bytes to lines with their offsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from shipper.follow.lines import Lines
from shipper.follow.offsets import Offsets

BOM = b"\xef\xbb\xbf"
_EDGE = b"\r\x00"


class Framed(NamedTuple):
    """Lines of a piece of a file. `starts[i]` is the offset in the file at which `lines[i]` begins."""

    starts: Sequence[int]
    lines: Lines
    end: int
    """Offset after the last byte taken, which is after a newline, or the end of a finished file."""
    sizes: list[int] | None = None
    """Of the lines as they were written, where masking changed them."""


def frame(piece: bytes, offset: int, *, finished: bool = False) -> Framed:
    r"""Split the bytes found at `offset` into lines; an unfinished last one is left, unless `finished`.

    Blank lines carry nothing and are left out, as are a byte order mark at the start of the file, a carriage
    return before the newline, and runs of NULs at either end of a line (what a power cut leaves of a page
    that was never written). Nothing else is changed.
    """
    cut = len(piece) if finished else piece.rfind(b"\n") + 1
    if cut == 0:
        return Framed([], Lines([]), offset)
    body = piece[: cut - 1] if piece[cut - 1 : cut] == b"\n" else piece[:cut]
    # Only C calls for each line: this runs for every line there is. Searching for one byte is as good as
    # free; a search for two costs more than all the rest of this function.
    odd = b"\r" in body or b"\x00" in body
    if not odd and body.isascii():
        texts = body.decode("ascii").split("\n")
        lines = Lines(None, texts, body)
        # Text has more kinds of space than bytes have; what looks blank is looked at again, as bytes.
        if lines.braced or (all(texts) and not any(map(str.isspace, texts))):
            return Framed(Offsets(offset, lines.sizes), lines, offset + cut)
    raw = body.split(b"\n")
    starts = Offsets(offset, list(map(len, raw)))
    if offset == 0 and raw[0].startswith(BOM):
        raw[0] = raw[0][len(BOM) :]
    if odd or not all(raw) or any(map(bytes.isspace, raw)):
        return _cleaned(starts, raw, offset + cut)
    return Framed(starts, Lines(raw), offset + cut)


def _cleaned(starts: Sequence[int], raw: list[bytes], end: int) -> Framed:
    kept_starts, kept = [], []
    for start, line in zip(starts, raw, strict=True):
        text = line.rstrip(_EDGE).lstrip(b"\x00")
        if text and not text.isspace():
            kept_starts.append(start)
            kept.append(text)
    return Framed(kept_starts, Lines(kept), end)
