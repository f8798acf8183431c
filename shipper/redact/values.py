"""From a match to the bytes that are secret: where a value ends, and whether it looks like a secret."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from shipper.redact import looks

LIMIT_BYTES = 8192
"""A value whose end is further away is no credential."""
_PASSWORD_BYTES = 8
_BARE_BYTES = 16
_ENV_BYTES = 6
_HEADER_BYTES = 8
_USER_BYTES = 20
_BEFORE_BYTES = 300

_BACKSLASH = 0x5C

Found = list[tuple[int, int]]

_BARE = re.compile(rb"(?:[A-Za-z0-9_+.~%/\-]|\\+/|\\+u002[BbFf])+={0,2}")
_REST = re.compile(rb"(?:[!@#$^*?][A-Za-z0-9_+.~%/!@#$^*?\-]*)?")
"""Of a password, from the first sign on that no key has."""
_SIGNS = re.compile(rb"(?:[^\s\"'`\\]|\\+u00(?:26|3[CcEe]))+")
_SETTING_BYTES = 256
_SETTING = re.compile(rb"[a-z]+=[^=]")
_SCHEME = re.compile(rb"(?i)(bearer|basic|token|apikey|api-key|digest|negotiate|key|aws4-hmac-sha256)\s+")
_PORT = re.compile(rb"[0-9]{1,5}(?:[#?\[\]{}<>]|\\+u003)")
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_CURSOR = re.compile(rb"(?i)(?:page|next|prev|previous|continuation|continue|sync|skip|cursor)[_\-]?\Z")


def whole(line: bytes, match: Any, cut: bool) -> Found:  # noqa: ARG001, FBT001 - one signature for all rules
    """Take group 1."""
    return [match.span(1)]


def mixed(line: bytes, match: Any, cut: bool) -> Found:  # noqa: ARG001, FBT001
    """Take group 1 if it looks random; not what is left of a key, nor what was made up for an example."""
    value = line[slice(*match.span(1))]
    left = b"..." in value and looks.stands_for(value)
    return [match.span(1)] if looks.random(value) and not left else []


def key(line: bytes, match: Any, cut: bool) -> Found:  # noqa: ARG001, FBT001
    """Take group 1 if it looks random: style sheets and file names have `sk-` as well, in small letters."""
    value = line[slice(*match.span(1))]
    cased = not value.islower() and not value.isupper() and looks.random(value)
    return [match.span(1)] if cased or looks.long_random(value) else []


def basic(line: bytes, match: Any, cut: bool) -> Found:  # noqa: FBT001
    """Take group 1 if it is base64 of `user:password`."""
    return [match.span(1)] if cut or looks.basic(line[slice(*match.span(1))]) else []


def password(line: bytes, match: Any, cut: bool) -> Found:  # noqa: ARG001, FBT001
    """Take group 1 if it does not stand for something else."""
    value = line[slice(*match.span(1))]
    return [] if looks.stands_for(value) else [match.span(1)]


def userinfo(line: bytes, match: Any, cut: bool) -> Found:  # noqa: ARG001, FBT001
    """Take the password between `user:` and the last `@`, and a user that is a token; no port."""
    found: Found = []
    user = line[slice(*match.span(1))]
    if len(user) >= _USER_BYTES and looks.opaque(user):
        found.append(match.span(1))
    start, end = match.span(2)
    if end - start > LIMIT_BYTES:
        end = line.rfind(b"@", start, start + LIMIT_BYTES)
    value = line[start:end] if 0 <= start < end else b""
    if value and not _PORT.match(value) and not looks.stands_for(value):
        found.append((start, end))
    return found


def authorization(line: bytes, match: Any, cut: bool) -> Found:  # noqa: FBT001
    """Take what follows the scheme; without a known scheme, only what looks random."""
    start, end = _quoted(line, match, cut)
    scheme = _SCHEME.match(line, start, max(start, end))
    if scheme:
        start = scheme.end()
    value = line[start:end]
    if len(value) < _HEADER_BYTES or looks.stands_for(value):
        return []
    if not scheme:
        good = looks.random(value) and looks.unbroken(value)
    else:
        good = cut or scheme[1].lower() != b"basic" or looks.basic(value)
    return [(start, end)] if good else []


def header(line: bytes, match: Any, cut: bool) -> Found:  # noqa: FBT001
    """Take the value of a header that only ever holds a secret."""
    start, end = _quoted(line, match, cut)
    value = line[start:end]
    good = len(value) >= _HEADER_BYTES and looks.unbroken(value) and not looks.stands_for(value)
    return [(start, end)] if good else []


def field(line: bytes, match: Any, cut: bool) -> Found:  # noqa: FBT001
    """Take the value of a field named like a secret, if it could be one: no words, no placeholder."""
    start, end = _quoted(line, match, cut)
    value = line[start:end]
    good = (
        len(value) >= _PASSWORD_BYTES
        and looks.unbroken(value)
        and looks.two_kinds(value)
        and not looks.stands_for(value)
    )
    return [(start, end)] if good else []


def bare(line: bytes, match: Any, cut: bool) -> Found:  # noqa: ARG001, FBT001
    """Take a value without quotes, if it is random: in code, names and calls stand at this place."""
    start, end = _word(line, match)
    value = line[start:end]
    name = line[match.start() : start]
    env = name.endswith(b"=") and name.isupper()
    good = len(value) >= (_ENV_BYTES if env else _BARE_BYTES) and _credential(value)
    return [(start, _REST.match(line, end, start + LIMIT_BYTES).end())] if good else []  # type: ignore[union-attr]


def option(line: bytes, match: Any, cut: bool) -> Found:  # noqa: ARG001, FBT001
    """Take group 1, of a command or a list of settings, if it is random and no path."""
    value = line[slice(*match.span(1))]
    good = value[:1] not in {b"/", b"~", b"."} and not _SETTING.match(value) and _credential(value)
    return [match.span(1)] if good else []


def setting(line: bytes, match: Any, cut: bool) -> Found:  # noqa: ARG001, FBT001
    """Take what follows a name in capitals to the end of the word, if it is random, whatever its signs."""
    start = match.start(1)
    found = _SIGNS.match(line, start, start + _SETTING_BYTES)
    value = found[0] if found else b""
    good = len(value) >= _ENV_BYTES and _credential(value)
    return [(start, start + len(value))] if good else []


def option_of(command: bytes) -> Callable[[bytes, Any, bool], Found]:
    """Return what takes the value of an option of one command: to others it means something else."""

    def spans(line: bytes, match: Any, cut: bool) -> Found:  # noqa: FBT001
        before = line[max(0, match.start() - _BEFORE_BYTES) : match.start()]
        return option(line, match, cut) if command in before else []

    return spans


def opaque(line: bytes, match: Any, cut: bool) -> Found:  # noqa: ARG001, FBT001
    """Take a value with a long random word, where another could be anything; no cursor of a list, no number.

    A number of JSON stands without quotes, and a mask in its place would be no JSON.
    """
    start, end = _word(line, match)
    value = line[start:end]
    before = line[max(0, match.start() - _PASSWORD_BYTES * 2) : match.start()]
    quoted = line[start - 1 : start] in {b'"', b"'", b"`"}
    good = (
        looks.opaque(value, digits=1 if quoted else 2)
        and not looks.stands_for(value)
        and not _CURSOR.search(before)
        and (quoted or not _NUMBER.fullmatch(value))
    )
    return [(start, end)] if good else []


def _word(line: bytes, match: Any) -> tuple[int, int]:
    start = match.start(1)
    found = _BARE.match(line, start, start + LIMIT_BYTES)
    return (start, found.end()) if found else (start, start)


def _credential(value: bytes) -> bool:
    return looks.random(value) and not looks.stands_for(value) and not looks.program(value)


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


def _backslashes(line: bytes, start: int, at: int) -> int:
    first = at
    while first > start and line[first - 1] == _BACKSLASH:
        first -= 1
    return at - first
