"""Lines to objects: all of a chunk in one call, one by one where one of them is not what it should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from shipper.follow.lines import braced, joined
from shipper.sources.base import lenient

T = TypeVar("T")


def decoded(
    decoder: msgspec.json.Decoder[T],
    lines: Sequence[bytes],
    loose: Callable[[dict[str, Any]], T],
    broken: Callable[[bytes], T],
) -> tuple[list[T], int]:
    """Return what each line holds, and how many are no JSON objects.

    `loose` makes it of an object that only the lenient parser reads, `broken` of a line that neither reads.
    """
    piece = joined(lines)
    try:
        found = decoder.decode_lines(piece)
    except (msgspec.MsgspecError, RecursionError):
        return _one_by_one(decoder, lines, loose, broken)
    # A value can span two lines and a line can hold two values, if somebody breaks them; then times would
    # slip. Where each newline stands between two objects and the numbers agree, each line is one object.
    if len(found) == len(lines) and braced(lines):
        return found, 0
    return _one_by_one(decoder, lines, loose, broken)


def _one_by_one(
    decoder: msgspec.json.Decoder[T],
    lines: Sequence[bytes],
    loose: Callable[[dict[str, Any]], T],
    broken: Callable[[bytes], T],
) -> tuple[list[T], int]:
    found: list[T] = []
    malformed = 0
    for line in lines:
        try:
            found.append(decoder.decode(line))
        except (msgspec.MsgspecError, RecursionError):
            read = lenient(line)
            malformed += read is None
            found.append(broken(line) if read is None else loose(read))
    return found, malformed
