"""Certificates for tests, of an authority that lives as long as the test run."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import bcrypt
import trustme

PASSWORD = "correct horse"
TOKEN = "5a8f21c0d4e94b7fa1c2d3e4f5061728"
TOKEN_ENTRY = f"sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}"


@cache
def bcrypt_of(password: str, cost: int = 4) -> str:
    """Return a hash of the password, cheap to check."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


@dataclass(frozen=True)
class Authority:
    """One authority, and what it signs."""

    ca: trustme.CA

    def write(self, folder: Path) -> None:
        """Write server.crt and server.key, for this machine's loopback, and ca.crt."""
        leaf = self.ca.issue_cert("localhost", "127.0.0.1")
        (folder / "server.crt").write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        (folder / "server.key").write_bytes(leaf.private_key_pem.bytes())
        (folder / "ca.crt").write_bytes(self.ca.cert_pem.bytes())

    def trusted(self) -> ssl.SSLContext:
        """Return a client's context that trusts this authority only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.ca.configure_trust(context)
        return context

    def as_client(self, *names: str) -> ssl.SSLContext:
        """Return the same with a client's certificate for these names."""
        context = self.trusted()
        self.ca.issue_cert(*names).configure_cert(context)
        return context


@cache
def authority(number: int = 0) -> Authority:  # noqa: ARG001 (tells two authorities apart)
    """Return the authority of that number."""
    return Authority(trustme.CA())
