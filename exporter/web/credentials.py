"""Who a request says it is, and who is known: values only, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Credentials:
    """Who may come in: bcrypt hash by user name, SHA-256 of each bearer token by its name."""

    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    tokens: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def are_needed(self) -> bool:
        """Whether anybody has to say who they are."""
        return bool(self.users or self.tokens)


@dataclass(frozen=True)
class Basic:
    """A user name and a password, as bytes (UTF-8 by RFC 7617, but nobody checks)."""

    user: bytes
    password: bytes = field(repr=False)


@dataclass(frozen=True)
class Bearer:
    """A token."""

    token: bytes = field(repr=False)


def parse_authorization(values: Iterable[bytes]) -> Basic | Bearer | None:
    """Return what the request's `Authorization` headers say; None if that is nothing to go by.

    More than one header is nothing to go by: a proxy before us may have looked at the other one.
    """
    header, *others = [*values] or [b""]
    if others:
        return None
    scheme, _, rest = header.strip().partition(b" ")
    rest = rest.strip()
    if scheme.lower() == b"bearer" and rest:
        return Bearer(rest)
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(rest, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return Basic(user, password) if colon else None


def is_known_token(bearer: Bearer, tokens: Mapping[str, bytes]) -> bool:
    """Compare with every token, whether or not one has matched already."""
    digest = hashlib.sha256(bearer.token).digest()
    return sum([hmac.compare_digest(digest, known) for known in tokens.values()]) > 0


def fingerprint(key: bytes, basic: Basic, against: bytes) -> bytes:
    """Return a keyed digest of user, password and the stored hash: a new hash makes all old verdicts void."""
    digest = hashlib.blake2b(key=key, digest_size=32)
    for part in (basic.user, against, basic.password):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
