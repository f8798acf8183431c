"""An operator's own rules: a name and a regular expression for RE2, which always takes linear time."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import orjson
import re2

from shipper.redact.rules import NAMES
from shipper.redact.streamed import Find, Secret

PATTERN_BYTES = 2000
MOST = 20_000
"""Of matches in a line."""
_MEMORY_BYTES = 8 << 20
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MASK = re.compile(rb"\[REDACTED:[a-z][a-z0-9_]*\]")
_QUOTES = re.compile(rb"\\.|(\")", re.DOTALL)
_ESCAPE = re.compile(rb"\\(?:u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_ESCAPED_SIGN = re.compile(r"\\[dwsbAz.()\[\]{}*+?|^$/:=\-]")
_ANY_ESCAPE = re.compile(r"\\.", re.DOTALL)
_LINE_ENDS = {"\\A": "^", "\\z": "$"}
_NUMBER = re.compile(rb"-?[0-9][0-9.eE+\-]*")

Span = tuple[int, int]


class Own(NamedTuple):
    """One rule. Where the pattern has a group, the first one is the secret; else all that matches."""

    name: str
    pattern: str


def errors(own: Sequence[Own]) -> list[str]:
    """Return what is wrong with the rules, all of it; nothing when they can be used."""
    found: list[str] = []
    seen: set[str] = set(NAMES)
    for number, rule in enumerate(own, 1):
        where = f"redact rule {number} ({rule.name!r})"
        if not _NAME.fullmatch(rule.name):
            found.append(f"{where}: a name is a lower-case letter, then up to 39 of a-z, 0-9 and _")
        elif rule.name in seen:
            found.append(f"{where}: there is a rule of that name already")
        seen.add(rule.name)
        if len(rule.pattern.encode()) > PATTERN_BYTES:
            found.append(f"{where}: the pattern is longer than {PATTERN_BYTES} bytes")
            continue
        try:
            pattern = _compiled(rule.pattern)
        except re2.error as error:
            found.append(f"{where}: {_reason(error)}")
            continue
        if pattern.search(b""):
            found.append(f"{where}: the pattern matches the empty text, so it would match everywhere")
    return found


class OwnRules:
    """Rules that have no `errors`."""

    def __init__(self, own: Sequence[Own]) -> None:
        self._rules = [(rule.name, _compiled(rule.pattern)) for rule in own]
        patterns = [rule.pattern for rule in own]
        self.of_bytes = [_in_block(pattern).encode() for pattern in patterns if _same_in_bytes(pattern)]
        """Patterns that one scan can look for along with the built-in ones, which see bytes."""
        apart = [_in_block(pattern) for pattern in patterns if not _same_in_bytes(pattern)]
        self.apart = _compiled("|".join(apart)) if apart else None
        """Finds what any of the others match."""

    @property
    def finds(self) -> list[Find]:
        """What finds the secrets of each rule; masks stay what they are."""
        return [partial(_hits, name, pattern) for name, pattern in self._rules]

    def masked(self, line: bytes, rules: list[str]) -> bytes | None:
        """Return a line without what the rules match; JSON stays JSON. None where they match too often."""
        for name, pattern in self._rules:
            spans = _found(pattern, line)
            if len(spans) > MOST:
                return None
            if spans:
                line = _replaced(line, spans, f"[REDACTED:{name}]".encode())
                rules += [name] * len(spans)
        return line


def _same_in_bytes(pattern: str) -> bool:
    """Return whether it finds the same in bytes as in characters: nothing in it stands for any character."""
    bare = _ESCAPED_SIGN.sub("", pattern)
    return pattern.isascii() and not any(part in bare for part in (".", "[^", "\\"))


def _in_block(pattern: str) -> str:
    """Return a pattern for many lines at once: a line begins and ends within the text."""
    return f"(?m:{_ANY_ESCAPE.sub(lambda found: _LINE_ENDS.get(found[0], found[0]), pattern)})"


def _spans(pattern: Any, line: bytes) -> Iterator[Span]:
    for match in pattern.finditer(line):
        start, end = match.span(1 if pattern.groups else 0)
        if 0 <= start < end:
            yield start, end


def _found(pattern: Any, line: bytes) -> list[Span]:
    return list(islice(_outside_masks(line, _spans(pattern, line)), MOST + 1))


def _hits(name: str, pattern: Any, line: bytes) -> list[Secret]:
    return [(name, [span]) for span in _found(pattern, line)]


def _outside_masks(line: bytes, spans: Iterator[Span]) -> Iterator[Span]:
    """Leave out of the spans what is a mask already: masking twice is masking once."""
    masks = [found.span() for found in _MASK.finditer(line)]
    at = 0
    for start, stop in spans:
        while at < len(masks) and masks[at][1] <= start:
            at += 1
        for first, last in masks[at:]:
            if first >= stop:
                break
            if start < first:
                yield start, first
            start = max(start, last)  # noqa: PLW2901 - what is left of it
        if start < stop:
            yield start, stop


def _replaced(line: bytes, spans: list[Span], word: bytes) -> bytes:
    plain = _joined(line, [(start, end, word) for start, end in spans])
    if _is_json(plain) or not _is_json(line):
        return plain
    return _joined(line, list(_kept_json(line, spans, word)))


def _kept_json(line: bytes, spans: list[Span], word: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Mask what of the spans is text in JSON; a number outside text becomes 0, and all else stays."""
    quotes = [found.start() for found in _QUOTES.finditer(line) if found[1]]
    escapes = [found.span() for found in _ESCAPE.finditer(line)]
    numbers = [found.span() for found in _NUMBER.finditer(line)]
    for first, stop in spans:
        start = first
        before = bisect_left(quotes, start)
        while start < stop:
            end = min(stop, quotes[before]) if before < len(quotes) else stop
            inside = before % 2 == 1
            if start < end and inside:
                touched = [(start, end), *_touched(escapes, start, end)]
                yield min(a for a, _ in touched), max(b for _, b in touched), word
            elif start < end:
                yield from ((a, b, b"0") for a, b in _touched(numbers, start, end))
            start = end + 1
            before += 1


def _touched(units: list[Span], start: int, end: int) -> list[Span]:
    first = max(0, bisect_left(units, (start, start)) - 1)
    last = bisect_left(units, (end, end))
    return [unit for unit in units[first:last] if unit[1] > start]


def _joined(line: bytes, parts: list[tuple[int, int, bytes]]) -> bytes:
    pieces: list[bytes] = []
    done = 0
    for start, end, word in parts:
        if end > done:
            pieces += (line[done : max(start, done)], word)
            done = end
    return b"".join((*pieces, line[done:]))


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = _MEMORY_BYTES
    options.log_errors = False
    return re2.compile(pattern, options)


def _reason(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
