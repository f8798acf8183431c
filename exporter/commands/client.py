"""How our own commands reach an exporter that has TLS and users: an authority, a password, a token."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Access:
    """What a request goes with; `context` None: plain HTTP, or whom the system trusts.

    `stranger_context` shows the same certificate and verifies nothing: it only tells who is there, and no
    secret may go through it.
    """

    context: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    stranger_context: ssl.SSLContext | None = None


def make_access(
    *,
    ca_file: str | None = None,
    cert_file: str | None = None,
    key_file: str | None = None,
    user: str | None = None,
    password_file: str | None = None,
    token_file: str | None = None,
) -> Access:
    """Return it; a password or token is read from its file, without the line break at its end.

    Raises `ValueError` with a sentence for whatever cannot be used.
    """
    if (user is None) != (password_file is None):
        raise ValueError("--user and --password-file belong together")
    if user is not None and token_file is not None:
        raise ValueError("--user and --token-file exclude each other")
    if key_file is not None and cert_file is None:
        raise ValueError("--key-file needs --cert-file")
    headers = {}
    if user is not None and password_file is not None:
        pair = user.encode() + b":" + _secret(password_file)
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    if token_file is not None:
        token = _secret(token_file)
        if any(byte <= ord(" ") or byte > ord("~") for byte in token):
            raise ValueError(f"{token_file}: a token is ASCII without blanks")
        headers["Authorization"] = f"Bearer {token.decode()}"
    if ca_file is None and cert_file is None:
        return Access(None, headers)
    try:
        context, stranger = ssl.create_default_context(cafile=ca_file), stranger_context()
        if cert_file is not None:
            context.load_cert_chain(cert_file, key_file, password="")
            stranger.load_cert_chain(cert_file, key_file, password="")
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"{ca_file or cert_file}: {error.strerror or 'no certificate'}") from None
    return Access(context, headers, stranger)


def stranger_context() -> ssl.SSLContext:
    """Return a context that verifies nothing, to learn who is there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _secret(file: str) -> bytes:
    try:
        secret = Path(file).read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from None
    if not secret or b"\n" in secret:
        raise ValueError(f"{file}: must hold one line")
    return secret
