"""Asks whoever listens on the port: who are you, how are you, and may I see the metrics."""

from __future__ import annotations

import socket
import ssl
import time
from http import HTTPStatus

from exporter.commands.client import Access, stranger_context
from exporter.commands.fetch import fetch_metrics
from exporter.commands.watch import NoPageError, Sample, parse_page
from exporter.doctor.facts import Answer
from exporter.web.listen import Address
from exporter.web.neighbour import ANSWER_LIMIT_BYTES, Neighbour, hear, recognise, wants_tls
from shared.healthcheck import Report, probe

_TIMEOUT_S = 2.0
_DENIED = "tallyship_exporter_source_errors_total"


def ask_exporter(address: Address, telemetry_path: str, access: Access) -> Answer:
    """Return what the port answers; takes some seconds at most, whoever listens."""
    target = Address(
        {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host),  # noqa: S104 (to ask)
        address.port,
    )
    if not _is_listened_on(target):
        return Answer()
    heard = hear(target, _TIMEOUT_S)
    who, is_tls = recognise(heard), wants_tls(heard)
    if who in {Neighbour.UNKNOWN, Neighbour.HTTP_SERVER}:
        # Behind a proxy with TLS, or users of its own: `/-/healthy` is the one page that needs none.
        stranger = access.stranger_context or stranger_context()
        who, is_tls = next(
            (
                (found, context is not None)
                for context in (None, stranger)
                if (found := _healthy(target, context)) is not None
            ),
            (who, False),
        )
    if who is not Neighbour.EXPORTER:
        return Answer(who, is_tls)
    context = (access.context or ssl.create_default_context()) if is_tls else None
    report = probe(
        f"{'https' if is_tls else 'http'}://{target}/health",
        _TIMEOUT_S,
        context=context,
        headers=access.headers,
    )
    page = fetch_metrics(
        target.host, str(target.port), telemetry_path, context=context, headers=access.headers
    )
    samples: dict[str, float] = {}
    denied, failure = 0.0, page.failure
    try:
        for sample in parse_page(page.text).values():
            samples[sample.name] = samples.get(sample.name, 0.0) + sample.value
            denied += sample.value if _is_denied(sample) else 0.0
    except NoPageError as error:
        failure = str(error)
    needs_user = failure is not None and f"HTTP {HTTPStatus.UNAUTHORIZED.value}" in failure
    return Answer(
        who,
        is_tls,
        report if isinstance(report, Report) else None,
        failure,
        needs_user=needs_user,
        needs_certificate=page.needs_certificate,
        is_user_refused=needs_user and "Authorization" in access.headers,
        samples=samples,
        denied_files=denied,
    )


def _is_denied(sample: Sample) -> bool:
    return sample.name == _DENIED and "reason=permission" in sample.labels.split(" ")


def _is_listened_on(target: Address) -> bool:
    try:
        socket.create_connection((target.host, target.port), _TIMEOUT_S).close()
    except (OSError, UnicodeError):
        return False
    return True


def _healthy(target: Address, context: ssl.SSLContext | None) -> Neighbour | None:
    """Return `EXPORTER` if one answers at `/-/healthy`, over TLS with a `context`, else None.

    The certificate is not verified and nothing secret is sent: this only tells who is there.
    """
    deadline_s = time.monotonic() + _TIMEOUT_S
    received = b""
    try:
        with _connect(target, context) as sock:
            sock.sendall(f"GET /-/healthy HTTP/1.0\r\nHost: {target}\r\n\r\n".encode())
            while len(received) < ANSWER_LIMIT_BYTES and (left_s := deadline_s - time.monotonic()) > 0:
                sock.settimeout(left_s)
                piece = sock.recv(ANSWER_LIMIT_BYTES)
                if not piece:
                    break
                received += piece
    except (OSError, ValueError):
        pass  # no TLS there, or what has come is the answer
    return Neighbour.EXPORTER if recognise(received) is Neighbour.EXPORTER else None


def _connect(target: Address, context: ssl.SSLContext | None) -> socket.socket:
    plain = socket.create_connection((target.host, target.port), _TIMEOUT_S)
    if context is None:
        return plain
    try:
        return context.wrap_socket(plain, server_hostname=target.host)
    except (OSError, ValueError):
        plain.close()
        raise
