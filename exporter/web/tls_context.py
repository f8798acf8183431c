"""From TLS settings and the bytes of their files to OpenSSL's context, or every reason why not."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from exporter.web.config_file import ClientAuth, Refused, TlsSettings


@dataclass(frozen=True)
class Tls:
    """What a new connection is made with. `allowed_sans`: names of which a client's certificate needs one."""

    context: ssl.SSLContext
    allowed_sans: frozenset[str] | None = None


@dataclass(frozen=True)
class Pems:
    """The bytes that the settings point to."""

    cert: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None = None


def make_tls(settings: TlsSettings, pems: Pems) -> Tls | Refused:
    """Return the context of a server."""
    problems: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not settings.prefer_server_ciphers:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.minimum_version = settings.min_version
    context.maximum_version = settings.max_version
    context.set_alpn_protocols(["http/1.1"])
    if settings.ciphers == ():
        context.minimum_version = ssl.TLSVersion.TLSv1_3  # only suites of TLS 1.3 are wanted
    elif settings.ciphers is not None:
        try:
            context.set_ciphers(":".join(settings.ciphers))
        except ssl.SSLError:
            problems.append("tls_server_config.cipher_suites: the OpenSSL of this machine has none of them")
    problems.extend(_load_own(context, pems))
    problems.extend(_load_client_ca(context, settings.client_auth, pems.client_ca))
    return Refused(tuple(problems)) if problems else Tls(context, settings.allowed_sans)


def _load_own(context: ssl.SSLContext, pems: Pems) -> Iterator[str]:
    """Load what was read, and not the files again: they may have changed meanwhile, one before the other.

    OpenSSL takes file names only, so it gets those of two files in memory, which never touch a disk.
    """
    try:
        with _in_memory(pems.cert) as cert, _in_memory(pems.key) as key:
            context.load_cert_chain(cert, key, password=_no_password)
    except _EncryptedKey:
        yield "tls_server_config: the key is encrypted, and there is nobody here to ask for its password"
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            yield "tls_server_config: the key does not belong to the certificate"
        elif error.reason in {"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"}:
            yield f"tls_server_config: the certificate is too weak ({error.reason})"
        else:
            yield "tls_server_config: certificate and key are not both in PEM form"
    except OSError as error:  # no memory files, or no /proc, in a sandbox that is very tight
        yield f"tls_server_config: certificate and key cannot be loaded: {error}"


def _load_client_ca(context: ssl.SSLContext, wanted: ClientAuth, client_ca: bytes | None) -> Iterator[str]:
    if wanted is ClientAuth.NONE or client_ca is None:
        return
    context.verify_mode = ssl.CERT_REQUIRED if wanted is ClientAuth.REQUIRED else ssl.CERT_OPTIONAL
    try:
        context.load_verify_locations(cadata=client_ca.decode("ascii"))
    except (ssl.SSLError, ValueError):
        yield "tls_server_config.client_ca: has no certificate in PEM form"
        return
    if not context.cert_store_stats()["x509"]:
        yield "tls_server_config.client_ca: has no certificate in PEM form"


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    number = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(number), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)


class _EncryptedKey(Exception):  # noqa: N818 (crosses OpenSSL's callback, never leaves this file)
    pass


def _no_password() -> str:
    raise _EncryptedKey
