"""What masking does, for a person to judge: each line before and after, in excerpts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from shipper.redact.own import Own
from shipper.redact.redactor import Masked, Redactor

_MASK = re.compile(rb"(\[REDACTED:[a-z0-9_]+\])")
_AROUND_BYTES = 60


class ShownRedactor(Redactor):
    """A redactor that writes every line in which it masks something, as it was and as it is."""

    def __init__(self, own: Sequence[Own], write: Callable[[str], None]) -> None:
        super().__init__(own)
        self._write = write

    def block(self, piece: bytes, lines: Sequence[bytes]) -> Masked:
        """Mask lines, and show what was masked."""
        masked = super().block(piece, lines)
        found: dict[int, list[str]] = {}
        for index, rule in masked.hits:
            found.setdefault(index, []).append(rule)
        for index, rules in found.items():
            before, after = excerpts(lines[index], masked.lines[index])
            self._write(f"masked: {', '.join(rules)}\n  - {before}\n  + {after}\n")
        return masked


def excerpts(before: bytes, after: bytes) -> tuple[str, str]:
    """Return both with their masked places, and only a little of what is the same around these."""
    olds, news = [], []
    at = 0
    parts = _MASK.split(after)
    for number in range(0, len(parts), 2):
        same = parts[number]
        last = number + 1 == len(parts)
        found = len(before) - len(same) if last else before.find(same, at)
        if found < at or not before.startswith(same, found):
            return _between_the_ends(before, after)
        if number:
            olds.append(before[at:found])
            news.append(parts[number - 1])
        at = found + len(same)
        short = _shortened(same, first=number == 0, last=last)
        olds.append(short)
        news.append(short)
    return tuple(str(b"".join(pieces), "utf-8", "replace") for pieces in (olds, news))  # type: ignore[return-value]


def _between_the_ends(before: bytes, after: bytes) -> tuple[str, str]:
    """Return all from the first difference to the last: a secret in pieces left places without a mask."""
    first = _same(before, after)
    last = min(_same(before[::-1], after[::-1]), min(len(before), len(after)) - first)
    head = _shortened(before[:first], first=True, last=False)
    tail = _shortened(before[len(before) - last :], first=False, last=True)
    return tuple(  # type: ignore[return-value]
        str(head + text[first : len(text) - last] + tail, "utf-8", "replace") for text in (before, after)
    )


def _same(one: bytes, other: bytes) -> int:
    """Return how many bytes both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def _shortened(text: bytes, *, first: bool, last: bool) -> bytes:
    head = b"" if first else text[:_AROUND_BYTES]
    tail = b"" if last else text[-_AROUND_BYTES:]
    return text if len(text) <= len(head) + len(tail) + 2 else head + "\u2026".encode() + tail
