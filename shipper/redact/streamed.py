r"""Secrets that a model wrote a few letters at a time: each event of a stream has a piece, none has the key.

One line holds the whole stream: `"raw":"data: {\"delta\":{\"text\":\"sk-\"}}\n"`, event after event. The
values of the same field are joined as they are written, and the joined text is looked at. What is secret
leaves every piece that has a part of it; the first gets the mask.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache

Span = tuple[int, int]
Secret = tuple[str, list[Span]]
"""A rule, and what it found: one secret, which can have several parts."""
Find = Callable[[bytes], list[Secret]]
"""Finds secrets in text, ordered, none over another."""

BEGUN = rb"data:[ \t]*\{[ \t]*\\+\""
"""An event within text in JSON. Lines without one hold no stream."""
MOST_PIECES = 400_000
"""In 64 MiB as a proxy writes it there are fewer."""
_FIELDS = (
    rb"text|thinking|partial_json|content|refusal|arguments|delta|input|reasoning|reasoning_content|reasoning_text"
    rb"|reasoning_summary|summary|transcript|code|completion|outputText|generation"
)
_DEPTHS = (1, 3, 7)
"""Backslashes before the quotes of the events: of a record, and of a record shown within a body."""


class Streamed:
    """The pieces of one line. `edited` is the line without what was masked in them."""

    def __init__(self, line: bytes, depth: int) -> None:
        self._line = line
        self._depth = depth
        self._at: list[Span] = []
        self._values: list[bytes] = []
        self._fields: dict[bytes, list[int]] = {}
        self._places: dict[tuple[bytes, ...], list[int]] = {}
        self.crowded = False
        """There are more pieces than any stream has; not all of them are looked at."""
        self._read()

    @property
    def edited(self) -> bytes:
        """The line with its pieces as they are now."""
        parts: list[bytes] = []
        done = 0
        for (start, end), value in zip(self._at, self._values, strict=True):
            if self._line[start:end] != value:
                parts += (self._line[done:start], value)
                done = end
        return b"".join((*parts, self._line[done:]))

    def mask(self, find: Find, rules: list[str]) -> bool:
        """Mask what is found in the joined pieces of each field; return whether there was any."""
        known = len(rules)
        done: set[tuple[bytes, int]] = set()
        for (field, *_), members in self._places.items():
            self._mask(members, find, rules)
            done.add((field, len(members)))
        # By field alone too: not every event says of which block it is, nor always in the same words.
        for field, members in self._fields.items():
            if (field, len(members)) not in done:
                self._mask(members, find, rules)
        return len(rules) > known

    def _mask(self, members: Sequence[int], find: Find, rules: list[str]) -> None:
        values = self._values
        text = b"".join([values[index] for index in members])
        hits = find(text) if len(members) > 1 else []
        if not hits:
            return
        spans = _to_escapes(text, hits, self._depth)
        rules += [rule for rule, _ in hits]
        at = number = 0
        for index in members:
            value = values[index]
            end = at + len(value)
            kept: list[bytes] = []
            done = at
            while number < len(spans) and spans[number][0] < end:
                start, stop, word = spans[number]
                kept.append(text[done : max(start, done)])
                if start >= at:
                    kept.append(word)
                done = max(done, min(stop, end))
                if stop > end:
                    break
                number += 1
            if done > at or kept:
                values[index] = b"".join((*kept, text[done:end]))
            at = end

    def _read(self) -> None:
        """Find the pieces. Which block an event is of may be said after its text."""
        of: list[bytes] = []
        found: list[tuple[bytes, int]] = []
        events = (event.start() for event in _EVENT[self._depth].finditer(self._line))
        following = next(events, len(self._line))
        for match in _pieces(self._depth).finditer(self._line, following):
            if match.start() > following:
                self._sort(found, of)
                of, found = [], []
                while following < match.start():
                    following = next(events, len(self._line))
            field, value, index = match.groups()
            if field is None:
                of.append(index)
                continue
            if len(self._at) == MOST_PIECES:
                self.crowded = True
                break
            found.append((field, len(self._at)))
            self._at.append(match.span(2))
            self._values.append(value)
        self._sort(found, of)

    def _sort(self, found: Iterable[tuple[bytes, int]], of: Sequence[bytes]) -> None:
        for field, index in found:
            self._fields.setdefault(field, []).append(index)
            if of:
                self._places.setdefault((field, *of), []).append(index)


def depths(line: bytes) -> list[int]:
    """Return at which depths of JSON inside JSON a line has events."""
    return [depth for depth in _DEPTHS if _EVENT[depth].search(line)] if b"data:" in line else []


def first_event(line: bytes) -> int:
    """Return where the first event of a line begins; -1 where it has none."""
    found = _BEGUN.search(line)
    return found.start() if found else -1


def _to_escapes(text: bytes, hits: list[Secret], depth: int) -> list[tuple[int, int, bytes]]:
    """Return the spans with their masks, no escape cut in two: an own rule can end within one."""
    escapes = (found.span() for found in _escapes(depth).finditer(text))
    spans: list[tuple[int, int, bytes]] = []
    escape = next(escapes, None)
    done = 0
    for rule, parts in hits:
        for begun, ended in parts:
            start, end = max(begun, done), ended
            while escape is not None and escape[1] <= start:
                escape = next(escapes, None)
            if escape is not None and escape[0] < start:
                start = max(escape[0], done)
            while escape is not None and escape[0] < end:
                end = max(end, escape[1])
                escape = next(escapes, None)
            if start < end:
                spans.append((start, end, b"[REDACTED:%s]" % rule.encode()))
                done = end
    return spans


@cache
def _pieces(depth: int) -> re.Pattern[bytes]:
    """Return what finds values with their fields, and indices; it begins with bytes that are found fast."""
    ends = rb'\\{%d}"' % depth
    quote = rb'%s(?<!\\{%d}")' % (rb"\\" * depth + b'"', depth + 1)
    # In a value a backslash is written as so many, a quote as more than end it and fewer than these.
    whole = 2 * depth + 2
    value = rb'(?:[^"\\]++|\\{%d}|\\{1,%d}(?![\\"])|\\{%d,%d}")*+' % (whole, whole - 1, depth + 1, whole - 1)
    return re.compile(
        quote
        + (rb"(?:(%s)%s\s*:\s*%s(%s)%s" % (_FIELDS, ends, ends, value, ends))
        + (rb"|(?:[a-z]{1,16}_i|contentBlockI|i)ndex%s\s*:\s*([0-9]{1,9}))" % ends)
    )


@cache
def _escapes(depth: int) -> re.Pattern[bytes]:
    whole = 2 * depth + 2
    return re.compile(rb"\\{%d}|\\{1,%d}(?:u[0-9A-Fa-f]{4}|[^\\])" % (whole, whole - 1), re.DOTALL)


_BEGUN = re.compile(BEGUN)
_EVENT = {depth: re.compile(rb'data:[ \t]*\{[ \t]*\\{%d}"' % depth) for depth in _DEPTHS}
