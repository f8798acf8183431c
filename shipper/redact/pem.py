"""Private keys in PEM: what between BEGIN and END is base64, however its lines are joined."""

from __future__ import annotations

import re
from typing import Any

LIMIT_BYTES = 64 * 1024
_MARK = re.compile(rb"----[- ](?:BEGIN|END) |Private-(?:MAC|Hash|Lines)")
_PARTS = re.compile(rb"\\+(?:u[0-9A-Fa-f]{4}|[A-Za-z])|([A-Za-z0-9+/]+={0,2})")
r"""An escape is passed over first: the n of `\n` is no base64."""
_LINE_BYTES = 16
_LONG_BYTES = 40
_NUMBER_BYTES = 6
_PARTS_AFTER = 4
_GAP_BYTES = 24
"""Between two lines: what joins them, and a line number."""


def spans(line: bytes, match: Any, cut: bool) -> list[tuple[int, int]]:  # noqa: FBT001 - one signature for all rules
    """Return the base64 of each line of the key; escapes, line numbers and quotes between stay."""
    begin = match.end()
    mark = _MARK.search(line, begin, begin + LIMIT_BYTES)
    end = mark.start() if mark else min(len(line), begin + LIMIT_BYTES)
    parts = [part.span(1) for part in _PARTS.finditer(line, begin, end) if part[1]]
    longest = max((stop - start for start, stop in parts), default=0)
    if longest < (_LINE_BYTES if mark else _LONG_BYTES) and not cut:
        return []
    found = [span for span in parts if span[1] - span[0] >= _LINE_BYTES]
    return _with_last(line, parts, found)


def spans_before(line: bytes, match: Any, cut: bool) -> list[tuple[int, int]]:  # noqa: ARG001, FBT001
    """Return the base64 of the lines before END: a tool that reads the end of a file shows no BEGIN."""
    end = match.start()
    first = max(0, end - LIMIT_BYTES)
    begin = max(first, line.rfind(b"-----", first, end))
    found: list[tuple[int, int]] = []
    for part in reversed(list(_PARTS.finditer(line, begin, end))):
        start, stop = part.span(1)
        if not part[1] or (stop - start <= _NUMBER_BYTES and part[1].isdigit()):
            continue
        short = stop - start < _LINE_BYTES
        if (found[-1][0] if found else end) - stop > _GAP_BYTES or (short and found):
            break
        found.append((start, stop))
    return found[::-1] if any(stop - start >= _LONG_BYTES for start, stop in found) else []


def _with_last(
    line: bytes, parts: list[tuple[int, int]], found: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Add the short last line of the key, which can have a line number before and after it."""
    if not found:
        return []
    after = [span for span in parts if span[0] > found[-1][1]][:_PARTS_AFTER]
    return found + [span for span in after if _is_text(line[slice(*span)])]


def _is_text(part: bytes) -> bool:
    """Return whether it is no line number, and no sign that joins the lines of a program."""
    return not (part.isdigit() and len(part) <= _NUMBER_BYTES) and part.strip(b"+/=") != b""
