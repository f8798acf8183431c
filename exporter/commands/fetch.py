"""Fetches the page of a running exporter: the documented `loki metrics`."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from shared.healthcheck import refusal

_TIMEOUT_S = 10.0
_LIMIT_BYTES = 64 << 20
_CERTIFICATE_REQUIRED = {"TLSV13_ALERT_CERTIFICATE_REQUIRED"}
"""How OpenSSL calls the alert of a server that got no certificate; TLS 1.2 has no alert of its own for it."""


@dataclass(frozen=True, slots=True)
class Page:
    """The page's text, or why there is none; `needs_certificate`: because no certificate was shown."""

    text: str = ""
    failure: str | None = None
    needs_certificate: bool = False


def fetch_metrics(
    host: str,
    port: str,
    path: str,
    *,
    context: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
) -> Page:
    """Return the exposition at the address, over TLS if there is a context for it."""
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        return Page(failure=f"{port!r} is no port number")
    url = f"{'http' if context is None else 'https'}://{host}:{port}{path}"
    connection = (
        http.client.HTTPConnection(host, int(port), timeout=_TIMEOUT_S)
        if context is None
        else http.client.HTTPSConnection(host, int(port), timeout=_TIMEOUT_S, context=context)
    )
    try:
        connection.request("GET", path, headers={"Accept": "text/plain;version=0.0.4", **(headers or {})})
        answer = connection.getresponse()
        body = answer.read(_LIMIT_BYTES)
    except ssl.SSLError as error:
        needs_certificate = error.reason in _CERTIFICATE_REQUIRED
        hint = "it wants --cert-file" if needs_certificate else "is it running there?"
        return Page(failure=f"{url}: {error!s}; {hint}", needs_certificate=needs_certificate)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Page(failure=f"{url}: {error!s}; is it running there?")
    finally:
        connection.close()
    if answer.status != http.client.OK:
        return Page(failure=f"{url}: HTTP {answer.status} {answer.reason}{_hint(answer.status, headers)}")
    return Page(body.decode("utf-8", "replace"))


def _hint(status: int, headers: Mapping[str, str] | None) -> str:
    if status == http.client.UNAUTHORIZED:
        return f"; {refusal(headers or {})}"
    return "; if it speaks TLS, it wants --ca-file" if status == http.client.BAD_REQUEST else ""


def only(text: str, name_filter: str | None) -> str:
    """Return the lines of families whose name has `name_filter` in it; all lines without one."""
    if not name_filter:
        return text
    return "".join(line for line in text.splitlines(keepends=True) if name_filter in _family(line))


def _family(line: str) -> str:
    words = line.split(maxsplit=3)
    if line.startswith("#"):
        return words[2] if len(words) > 2 else ""  # noqa: PLR2004 ("# HELP name ...")
    return line.partition("{")[0].split(" ")[0]
