"""Whom to trust and as whom to come: the TLS context of a Loki."""

from __future__ import annotations

import ssl


def make_context(ca_file: str = "", cert_file: str = "", key_file: str = "") -> ssl.SSLContext:
    """Return it: `ca_file` in place of the system's authorities; raises `ValueError` with a sentence.

    There is no switch that trusts everybody: a pinned certificate in `ca_file` does what such a switch is
    used for, and no one else can read the lines.
    """
    context = ssl.create_default_context()
    if ca_file:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(f"ca_file: {ca_file}: {_why(error, 'no certificate in it')}") from None
    if cert_file:
        try:
            # A key with a password would ask for it on the terminal.
            context.load_cert_chain(cert_file, key_file or None, password="")
        except OSError as error:
            files = " and ".join(file for file in (cert_file, key_file) if file)
            raise ValueError(
                f"client_cert_file: {files}: {_why(error, 'no certificate with its key, unencrypted')}"
            ) from None
    return context


def _why(error: OSError, otherwise: str) -> str:
    return otherwise if isinstance(error, ssl.SSLError) else error.strerror or otherwise
