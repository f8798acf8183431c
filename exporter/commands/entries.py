"""Makes the entries of a web configuration file: a bcrypt hash for a user, a SHA-256 for a bearer token."""

from __future__ import annotations

import hashlib

from exporter.web.config_file import TOKENS_KEY
from exporter.web.doorman import MAX_PASSWORD_BYTES

DEFAULT_COST = 10
"""About 0.06 s of one core for each password that is not remembered; exporter-toolkit's own example."""
MIN_TOKEN_BYTES = 20
"""A token's hash is fast to compute, so only its length protects it."""


def user_entry(password: bytes, user: str | None, cost: int = DEFAULT_COST) -> str:
    """Return lines for the file, the hash alone without a user; raises `ValueError` for a bad password."""
    import bcrypt  # noqa: PLC0415 (nothing else here needs it)

    if not password:
        raise ValueError("the password is empty")
    if len(password) > MAX_PASSWORD_BYTES:
        raise ValueError(f"bcrypt looks at {MAX_PASSWORD_BYTES} bytes, and the password has {len(password)}")
    if b"\0" in password:
        raise ValueError("the password has a NUL in it, which no client can send safely")
    if user is not None and ":" in user:
        raise ValueError("a user name with a colon cannot be sent (RFC 7617)")
    entry = bcrypt.hashpw(password, bcrypt.gensalt(cost)).decode()
    return _entry("basic_auth_users", user, entry)


def token_entry(token: bytes, name: str | None) -> str:
    """Return lines for the file, the hash alone without a name; raises `ValueError` for a token too short."""
    if len(token) < MIN_TOKEN_BYTES:
        raise ValueError(
            f"a token needs {MIN_TOKEN_BYTES} random characters or more, as `openssl rand -hex 32` makes them"
        )
    if not token.isascii() or any(byte <= ord(" ") for byte in token):
        raise ValueError("a token is ASCII without blanks: it is sent in a header")
    return _entry(TOKENS_KEY, name, f"sha256:{hashlib.sha256(token).hexdigest()}")


def _entry(section: str, name: str | None, value: str) -> str:
    if name is None:
        return f"{value}\n"
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'{section}:\n  "{quoted}": {value}\n'
