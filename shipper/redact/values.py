"""From a match to the bytes that are secret: where a value ends, and whether it looks like a secret."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

LIMIT_BYTES = 8192
"""A value whose end is further away is no credential."""
_PASSWORD_BYTES = 8
_BARE_BYTES = 16
_ENV_BYTES = 6
_HEADER_BYTES = 8
_KEY_BYTES = 16

_BACKSLASH = 0x5C
_ELIDED = b"..."
"""The mark of a key of which somebody else has left only the ends."""

Found = list[tuple[int, int]]

_PLACEHOLDER = re.compile(
    rb"(?i)^(?:[$<{%*\[(]|process\.env|os\.(?:environ|getenv)|env[.:]|REDACTED|your|my[_-])"
    rb"|\.\.\.|\*\*\*|xxxx|example|placeholder|change_?me|redacted|dummy|\$\{|\{\{"
)
_BARE = re.compile(rb"(?:[A-Za-z0-9_+.~%/\-]|\\+/|\\+u002[BbFf])+={0,2}")
_WORD = re.compile(rb"[A-Za-z0-9]+")
_SCHEME = re.compile(rb"(?i)(bearer|basic|token|apikey|api-key|digest|negotiate|key|aws4-hmac-sha256)\s+")


def whole(line: bytes, match: Any, cut: bool) -> Found:  # noqa: ARG001, FBT001 - one signature for all rules
    """Take group 1."""
    return [match.span(1)]


def mixed(line: bytes, match: Any, cut: bool) -> Found:  # noqa: ARG001, FBT001
    """Take group 1 if it has letters and digits, as random text has and words have not."""
    value = line[slice(*match.span(1))]
    return [match.span(1)] if _random(value) and _ELIDED not in value else []


def key(line: bytes, match: Any, cut: bool) -> Found:  # noqa: ARG001, FBT001
    """Take group 1 if it looks random: style sheets and file names have `sk-` as well, in small letters."""
    value = line[slice(*match.span(1))]
    cased = not value.islower() and not value.isupper() and _random(value)
    long = any(len(part) >= _KEY_BYTES and _random(part) for part in _WORD.findall(value))
    return [match.span(1)] if cased or long else []


def basic(line: bytes, match: Any, cut: bool) -> Found:  # noqa: FBT001
    """Take group 1 if it is base64 of `user:password`."""
    return [match.span(1)] if cut or _is_basic(line[slice(*match.span(1))]) else []


def password(line: bytes, match: Any, cut: bool) -> Found:  # noqa: ARG001, FBT001
    """Take group 1 if it does not stand for something else."""
    value = line[slice(*match.span(1))]
    return [] if _PLACEHOLDER.search(value) else [match.span(1)]


def authorization(line: bytes, match: Any, cut: bool) -> Found:  # noqa: FBT001
    """Take what follows the scheme; without a known scheme, only what looks random."""
    start, end = _quoted(line, match, cut)
    scheme = _SCHEME.match(line, start, max(start, end))
    if scheme:
        start = scheme.end()
    value = line[start:end]
    if len(value) < _HEADER_BYTES or _PLACEHOLDER.search(value):
        return []
    if not scheme:
        good = _random(value) and _unbroken(value)
    else:
        good = cut or scheme[1].lower() != b"basic" or _is_basic(value)
    return [(start, end)] if good else []


def header(line: bytes, match: Any, cut: bool) -> Found:  # noqa: FBT001
    """Take the value of a header that only ever holds a secret."""
    start, end = _quoted(line, match, cut)
    value = line[start:end]
    return (
        [(start, end)]
        if len(value) >= _HEADER_BYTES and _unbroken(value) and not _PLACEHOLDER.search(value)
        else []
    )


def field(line: bytes, match: Any, cut: bool) -> Found:  # noqa: FBT001
    """Take the value of a field named like a secret, if it could be one: no words, no placeholder."""
    start, end = _quoted(line, match, cut)
    value = line[start:end]
    good = (
        len(value) >= _PASSWORD_BYTES
        and _unbroken(value)
        and _two_kinds(value)
        and not _PLACEHOLDER.search(value)
    )
    return [(start, end)] if good else []


def bare(line: bytes, match: Any, cut: bool) -> Found:  # noqa: ARG001, FBT001
    """Take a value without quotes, if it is random: in code, names and calls stand at this place."""
    start = match.start(1)
    found = _BARE.match(line, start, start + LIMIT_BYTES)
    if not found:
        return []
    value = found[0]
    name = line[match.start() : start]
    env = name.endswith(b"=") and name.isupper()
    long_enough = len(value) >= (_ENV_BYTES if env else _BARE_BYTES)
    good = long_enough and _random(value) and not _PLACEHOLDER.search(value) and not _dotted(value)
    return [(start, found.end())] if good else []


def _quoted(line: bytes, match: Any, cut: bool) -> tuple[int, int]:  # noqa: FBT001
    r"""Return from after the opening quote to before the closing one, at any depth of JSON inside JSON.

    At depth k a quote is written with 2^k - 1 backslashes before it, and one that belongs to the text has
    more. Of the run of backslashes before a closing quote, whole multiples of 2^(k+1) are text.
    """
    start = match.end(1)
    depth = start - match.start(1) - 1
    quote = line[start - 1 : start]
    stop = min(len(line), start + LIMIT_BYTES)
    at = start
    while (at := line.find(quote, at, stop)) >= 0:
        run = _backslashes(line, start, at)
        if run <= depth or run % (2 * depth + 2) == depth:
            return start, at - min(run, depth)
        at += 1
    return (start, len(line)) if cut and stop == len(line) else (start, start)


def _is_basic(value: bytes) -> bool:
    try:
        text = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except (ValueError, binascii.Error):
        return False
    return b":" in text


def _backslashes(line: bytes, start: int, at: int) -> int:
    first = at
    while first > start and line[first - 1] == _BACKSLASH:
        first -= 1
    return at - first


def _unbroken(value: bytes) -> bool:
    return not any(byte <= 0x20 for byte in value)  # noqa: PLR2004 - the space


def _random(value: bytes) -> bool:
    return any(0x30 <= byte <= 0x39 for byte in value) and any(byte > 0x39 for byte in value)  # noqa: PLR2004 - digits


def _two_kinds(value: bytes) -> bool:
    letters = value.isalpha()
    return not letters and not value.isdigit()


def _dotted(value: bytes) -> bool:
    """Return whether it reads like `settings.key2` of a program."""
    return b"." in value
