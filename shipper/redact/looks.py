"""Whether a text looks like a secret: random and whole, and no word that stands for one."""

from __future__ import annotations

import base64
import binascii
import re

_LONG_BYTES = 16
_LETTERS_BYTES = 24
_MOST_SHOWN = 12
"""Of a key that somebody else has cut to its ends: its known beginning does not count."""

_ELIDED = b"..."
_KNOWN = re.compile(rb"(?:[a-z]{2,7}[0-9]{0,2}[_\-]){0,3}")
_WORD = re.compile(rb"[A-Za-z0-9]+")
_DIGIT = re.compile(rb"[0-9]")
_CHANGE = re.compile(rb"[a-z](?=[A-Z0-9])|[A-Z](?=[a-z0-9])|[0-9](?=[A-Za-z])")
_CHANGES = 0.35
"""Of kind from one character to the next: random text has 0.6, names in a program have about 0.3."""
_STANDS_FOR = re.compile(
    rb"(?i)^(?:process\.env|os\.(?:environ|getenv)|env[.:]|(?:your|my[_-])[a-z_\-]*[0-9]{0,3}$)"
    rb"|\*\*\*|xxxx|example|placeholder|change_?me|redacted|dummy"
    rb"|[$#]\{(?:[A-Za-z0-9_.:?\[\]'-]|\([^)]{0,64}\)){0,200}\}|\{\{.{0,200}\}\}|%\([a-z_]+\)[sd]"
)
_TEMPLATE = re.compile(
    rb"\$(?:[A-Z_][A-Z0-9_]*|[a-z_]+[0-9]?|\([^)]*\))|\{[A-Za-z0-9_.]*\}"
    rb"|\[[A-Za-z0-9 _\-]*\]|\([A-Za-z _\-]+\)"
    rb"|(?:<|\\+u003[cC]).*(?:>|\\+u003[eE])"
    rb"|%[A-Za-z0-9_]+(?:\([A-Za-z0-9_:]+\))?%|%[a-z]|[A-Za-z]*[.]{3}"
)
_BASE64 = re.compile(rb"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9+/]{32,}={0,2}")


def stands_for(value: bytes) -> bool:
    """Return whether it is a reference, a template, or a word of a manual: no secret itself."""
    return bool(_TEMPLATE.fullmatch(value) or _STANDS_FOR.search(value)) or elided(value)


def elided(value: bytes) -> bool:
    """Return whether somebody else has left only the ends of it: too little to be of use."""
    if _ELIDED not in value:
        return False
    known = _KNOWN.match(value)
    return len(value.replace(_ELIDED, b"")) - (known.end() if known else 0) <= _MOST_SHOWN


def random(value: bytes) -> bool:
    """Return whether it has letters and digits, as random text has; or letters whose case says nothing."""
    digits = any(0x30 <= byte <= 0x39 for byte in value)  # noqa: PLR2004 - digits
    return (digits and any(byte > 0x39 for byte in value)) or _shuffled(value)  # noqa: PLR2004 - after them


def opaque(value: bytes, digits: int = 1) -> bool:
    """Return whether it has a long random word: no path, no name, no call in a program."""
    if value[:1] in {b"/", b"~"} or value[:2] in {b"./", b"0x"}:
        return False
    words = [word for word in _WORD.findall(value) if len(word) >= _LONG_BYTES]
    return any(_mixed(word, digits) for word in words) or bool(_BASE64.fullmatch(value))


def long_random(value: bytes) -> bool:
    """Return whether a part of it without signs is long and random."""
    return any(len(part) >= _LONG_BYTES and random(part) for part in _WORD.findall(value))


def program(value: bytes) -> bool:
    """Return whether it reads like `settings.key2` of a program."""
    return b"." in value and not long_random(value)


def unbroken(value: bytes) -> bool:
    """Return whether it has no space and no control character."""
    return not any(byte <= 0x20 for byte in value)  # noqa: PLR2004 - the space


def two_kinds(value: bytes) -> bool:
    """Return whether it is more than letters, or digits, alone; letters may be in any case."""
    return not value.isdigit() and (not value.isalpha() or _shuffled(value))


def basic(value: bytes) -> bool:
    """Return whether it is base64 of `user:password`."""
    try:
        text = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except (ValueError, binascii.Error):
        return False
    return b":" in text


def _mixed(word: bytes, digits: int) -> bool:
    """Return whether digits and capitals stand anywhere in a word, and not as in `newToken2` of a program."""
    if word.isdigit() or len(_DIGIT.findall(word)) < digits:
        return False
    return word.islower() or word.isupper() or len(_CHANGE.findall(word)) > _CHANGES * len(word)


def _shuffled(value: bytes) -> bool:
    """Return whether it is letters whose case says nothing: a name in a program has fewer capitals."""
    if len(value) < _LETTERS_BYTES or not value.isalpha():
        return False
    capitals = sum(byte < 0x5B for byte in value)  # noqa: PLR2004 - after the capitals
    return len(value) <= 4 * capitals <= 3 * len(value)
