"""How a push gets there: deadlines, TLS with certificates, proxies, and what gateways do."""

from __future__ import annotations

import gc
import os
import pathlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from certificates import authority
from gateway import ACK, READY, Asked, Gateway, Proxy, client_files, read_request, server_context
from pushing import Sent, encrypted, plain

from shipper.push.answer import Action
from shipper.push.connection import Connection, fetch
from shipper.push.endpoint import Endpoint, push_url
from shipper.push.exchange import Exchange
from shipper.push.proxy import choose
from shipper.push.tls import make_context

TOLD: list[tuple[str, dict[str, object]]] = []


def tell(event: str, *, level: str = "info", **fields: object) -> None:
    """Keep what is told."""
    TOLD.append((event, {"level": level, **fields}))


@pytest.fixture(autouse=True)
def _nothing_told() -> None:
    TOLD.clear()


@pytest.fixture(name="sent")
def _sent() -> Iterator[Callable[[Endpoint], Sent]]:
    """Return a function that makes clients; they end with the test."""
    with ExitStack() as stack:

        def make(endpoint: Endpoint) -> Sent:
            made = Sent(endpoint, tell)
            stack.callback(made.close)
            return made

        yield make


# ---- deadlines


class Trickle(Gateway):
    """Sends an answer a byte at a time."""

    def talk(self, sock: socket.socket, lines: object) -> None:
        """Go on until the other side gives up."""
        _ = lines
        for byte in b"HTTP/1.1 204 No Content\r\n" + b"X: y\r\n" * 1000:
            sock.sendall(bytes([byte]))
            time.sleep(0.02)


def test_an_answer_that_trickles_ends_with_the_time_out(sent: Callable[[Endpoint], Sent]) -> None:
    """Each byte comes well within the time-out, all of them never: the push is over all the same."""
    gateway = Trickle()
    began = time.monotonic()
    verdict = sent(plain(gateway, timeout_s=0.5)).push()
    gateway.close()

    assert (verdict.action, verdict.reason) == (Action.REPEAT, "timeout")
    assert 0.4 < time.monotonic() - began < 5


class Mute(Gateway):
    """Takes connections and says nothing."""

    def talk(self, sock: socket.socket, lines: object) -> None:
        """Wait for the other side to give up."""
        _ = lines
        while sock.recv(1000):
            pass


@pytest.mark.parametrize("way", ["plain", "handshake", "tunnel"])
def test_silence_ends_with_the_time_out_wherever_it_begins(
    sent: Callable[[Endpoint], Sent], way: str
) -> None:
    """Before the answer, in the handshake, or in the proxy."""
    gateway = Mute()
    url = push_url("https://loki.example")
    endpoints = {
        "plain": plain(gateway, timeout_s=0.4),
        "handshake": encrypted(gateway, timeout_s=0.4),
        "tunnel": Endpoint(
            url, timeout_s=0.4, proxy=choose(url, {"HTTPS_PROXY": f"127.0.0.1:{gateway.port}"})
        ),
    }
    began = time.monotonic()
    verdict = sent(endpoints[way]).push()
    gateway.close()

    assert (verdict.action, verdict.reason) == (Action.REPEAT, "timeout")
    assert time.monotonic() - began < 5


class Sip(Gateway):
    """Takes a body slowly and then acknowledges it."""

    def talk(self, sock: socket.socket, lines: object) -> None:
        """Read as if over a thin line: a fifth of a megabyte each 50 ms."""
        if sock.recv(3, socket.MSG_PEEK) == b"GET":
            read_request(lines)
            sock.sendall(READY)
        taken = 0
        while taken < 4_000_000:
            taken += len(sock.recv(200_000))
            time.sleep(0.05)
        sock.sendall(ACK)


def test_what_has_ended_is_kept_by_no_thread(
    gate: Callable[..., Gateway], sent: Callable[[Endpoint], Sent]
) -> None:
    """A thread may wait for its next push for ever, and a thousand lines with it."""
    one = sent(plain(gate()))

    one.push()

    one.wait(lambda: not any(isinstance(found, Exchange) for found in gc.get_objects()))
    assert one.threaded == 1


def test_a_large_body_over_a_slow_line_has_the_time_it_takes(sent: Callable[[Endpoint], Sent]) -> None:
    """A second more for each 16 KiB: this one takes longer than the time-out, and arrives."""
    gateway = Sip()
    verdict = sent(plain(gateway, timeout_s=0.3)).push(b"x" * 4_000_000)
    gateway.close()

    assert verdict.action is Action.DELIVERED


def test_of_an_endless_answer_no_more_than_64_kib_are_read(
    gate: Callable[..., Gateway], sent: Callable[[Endpoint], Sent]
) -> None:
    """And the next push has a connection of its own."""
    gateway = gate(
        lambda asked: (
            b"HTTP/1.1 500 No\r\nContent-Length: 90000000\r\n\r\n" + b"x" * 100_000
            if asked.body == b"first"
            else ACK
        )
    )
    client = sent(plain(gateway, timeout_s=5.0))
    first, second = client.push(b"first"), client.push()

    assert (first.reason, first.detail) == ("server_error", "x" * 300)
    assert second.action is Action.DELIVERED
    assert gateway.connections == 2


def test_a_connection_that_was_closed_while_idle_costs_no_push(
    gate: Callable[..., Gateway], sent: Callable[[Endpoint], Sent]
) -> None:
    """The push is sent over a new one at once."""
    gateway = gate()
    client = sent(plain(gateway))
    client.push()
    gateway.drop()

    assert client.push().action is Action.DELIVERED
    assert gateway.connections == 2


class Parting(Gateway):
    """Sends the head of an answer, and its body a little later; then it closes the connection."""

    def talk(self, sock: socket.socket, lines: object) -> None:
        """Answer one request."""
        read_request(lines)
        sock.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\n")
        time.sleep(0.1)
        sock.sendall(b"answer")


def test_an_answer_of_a_server_that_closes_is_read_to_its_end() -> None:
    """Its body may come after the head that says so."""
    gateway = Parting()
    answer = fetch(plain(gateway), "/page")
    gateway.close()

    assert (answer.status, answer.body) == (200, b"answer")


# ---- TLS


def test_a_server_whom_nobody_vouches_for_gets_nothing(
    gate: Callable[..., Gateway], sent: Callable[[Endpoint], Sent]
) -> None:
    """Neither lines nor credentials; and there is no switch for it."""
    gateway = gate(context=server_context("localhost"))
    verdict = sent(encrypted(gateway)).push()

    assert (verdict.action, verdict.reason) == (Action.REPEAT, "unreachable")
    assert "certificate verify failed" in verdict.detail
    assert gateway.asked == []


def test_an_authority_of_ones_own_is_trusted_from_a_file(
    gate: Callable[..., Gateway], sent: Callable[[Endpoint], Sent], tmp_path: pathlib.Path
) -> None:
    """In place of the system's; the name must be right all the same."""
    authority().write(tmp_path)
    ca = str(tmp_path / "ca.crt")
    gateway, misnamed = gate(context=server_context("localhost")), gate(context=server_context("other"))

    assert len(make_context(ca).get_ca_certs()) == 1
    assert sent(encrypted(gateway, ca_file=ca)).push().action is Action.DELIVERED
    assert "Hostname mismatch" in sent(encrypted(misnamed, ca_file=ca)).push().detail


def test_a_loki_that_wants_a_certificate_gets_ours(
    gate: Callable[..., Gateway], sent: Callable[[Endpoint], Sent], tmp_path: pathlib.Path
) -> None:
    """And refuses whoever has none, which is tried again for ever."""
    authority().write(tmp_path)
    ca = str(tmp_path / "ca.crt")
    cert, key = client_files(tmp_path, "shipper.example", authority(1))
    gateway = gate(context=server_context("localhost", wants_clients_of=authority(1)))
    endpoint = encrypted(gateway, ca_file=ca, client_cert_file=cert, client_key_file=key)

    assert sent(endpoint).push().action is Action.DELIVERED
    assert gateway.common_names == ["shipper.example"]
    assert sent(encrypted(gateway, ca_file=ca)).push().action is Action.REPEAT
    assert fetch(endpoint, "/x").status == 204


def test_a_new_certificate_is_used_without_a_restart(
    gate: Callable[..., Gateway],
    sent: Callable[[Endpoint], Sent],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While its key does not fit yet, the old pair stays in force, and that is told once."""
    monkeypatch.setattr("shipper.push.reread._LOOK_EVERY_S", 0.0)
    authority().write(tmp_path)
    cert, key = client_files(tmp_path, "old.example", authority(1))
    gateway = gate(context=server_context("localhost", wants_clients_of=authority(1)))
    client = sent(
        encrypted(gateway, ca_file=str(tmp_path / "ca.crt"), client_cert_file=cert, client_key_file=key)
    )
    client.push()
    (tmp_path / "next").mkdir()
    next_cert, next_key = client_files(tmp_path / "next", "new.example", authority(1))
    os.replace(next_cert, cert)  # noqa: PTH105 - as text
    halfway = [client.push().action, client.push().action]
    os.replace(next_key, key)  # noqa: PTH105 - as text
    after = client.push().action

    assert (halfway, after) == ([Action.DELIVERED, Action.DELIVERED], Action.DELIVERED)
    assert gateway.common_names == ["old.example", "new.example"]
    assert [event for event, _ in TOLD] == ["credentials_not_read"]
    assert TOLD[0][1]["level"] == "warning"


# ---- credentials


def test_a_new_token_is_used_without_a_restart_and_a_bad_one_is_not(
    gate: Callable[..., Gateway],
    sent: Callable[[Endpoint], Sent],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Emptied, torn or missing: the last good one stays, and no token is ever in what is told."""
    monkeypatch.setattr("shipper.push.reread._LOOK_EVERY_S", 0.0)
    token = tmp_path / "token"
    token.write_text("first\n")
    gateway = gate()
    client = sent(plain(gateway, bearer_token_file=str(token)))
    for text in ("", "two\nlines", "with blank", None, "second"):
        client.push()
        if text is None:
            token.unlink()
        else:
            token.write_text(text)
    client.push()
    used = [asked.headers["authorization"] for asked in gateway.asked]

    assert used == ["Bearer first"] * 5 + ["Bearer second"]
    assert len(TOLD) == 4
    assert "first" not in str(TOLD)
    assert "lines" not in str([fields["error"] for _, fields in TOLD])


def test_a_redirect_takes_nothing_along(
    gate: Callable[..., Gateway], sent: Callable[[Endpoint], Sent], tmp_path: pathlib.Path
) -> None:
    """It is not followed; what is told says what to configure, without what stands behind a question mark."""
    token = tmp_path / "token"
    token.write_text("s3cret")
    thief = gate()
    gateway = gate(
        lambda _asked: (
            b"HTTP/1.1 307 There\r\nContent-Length: 0\r\n"
            b"Location: http://127.0.0.1:%d/loki?key=abc\r\n\r\n" % thief.port
        )
    )
    verdict = sent(plain(gateway, bearer_token_file=str(token))).push()

    assert (verdict.action, verdict.reason) == (Action.KEEP, "redirect")
    assert (
        verdict.detail
        == f"to http://127.0.0.1:{thief.port}/loki: not followed, that address must be configured"
    )
    assert thief.asked == []


# ---- proxies


def test_tls_goes_through_a_tunnel_and_the_proxy_sees_no_credentials_of_loki(
    gate: Callable[..., Gateway], sent: Callable[[Endpoint], Sent], tmp_path: pathlib.Path
) -> None:
    """CONNECT, with the proxy's own credentials; Loki's name is verified behind it."""
    authority().write(tmp_path)
    (tmp_path / "token").write_text("s3cret")
    gateway = gate(context=server_context("loki.example"))
    proxy = Proxy(gateway.port, wants="Basic dXM6cEB3")
    url = push_url("https://loki.example")
    endpoint = Endpoint(
        url,
        use_gzip=False,
        ca_file=str(tmp_path / "ca.crt"),
        bearer_token_file=str(tmp_path / "token"),
        proxy=choose(url, {"HTTPS_PROXY": f"http://us:p%40w@127.0.0.1:{proxy.port}"}),
    )
    verdict = sent(endpoint).push()
    proxy.close()

    assert verdict.action is Action.DELIVERED
    assert proxy.asked[0].line == "CONNECT loki.example:443 HTTP/1.1"
    assert "authorization" not in proxy.asked[0].headers
    assert gateway.asked[0].headers["authorization"] == "Bearer s3cret"
    assert "proxy-authorization" not in gateway.asked[0].headers


def test_a_proxy_that_refuses_us_is_told_without_the_password(sent: Callable[[Endpoint], Sent]) -> None:
    """407 to CONNECT; tried again for ever."""
    proxy = Proxy(1, wants="other")
    url = push_url("https://loki.example")
    endpoint = Endpoint(url, proxy=choose(url, {"HTTPS_PROXY": f"us:hidden@127.0.0.1:{proxy.port}"}))
    verdict = sent(endpoint).push()
    proxy.close()

    assert verdict.action is Action.REPEAT
    assert "the proxy answers 407" in verdict.detail
    assert "hidden" not in verdict.detail + repr(endpoint)


def test_plain_http_is_given_to_the_proxy_with_its_whole_address(
    gate: Callable[..., Gateway], sent: Callable[[Endpoint], Sent]
) -> None:
    """As proxies want it."""
    proxy = gate()
    url = push_url("http://loki.example:3100")
    endpoint = Endpoint(
        url, use_gzip=False, proxy=choose(url, {"http_proxy": f"http://u:p@127.0.0.1:{proxy.port}"})
    )
    verdict = sent(endpoint).push()
    (asked,) = proxy.asked

    assert verdict.action is Action.DELIVERED
    assert asked.line == "POST http://loki.example:3100/loki/api/v1/push HTTP/1.1"
    assert (asked.headers["host"], asked.headers["proxy-authorization"]) == (
        "loki.example:3100",
        "Basic dTpw",
    )


# ---- gateways


def test_retry_after_and_the_text_of_a_page_come_with_the_verdict(
    gate: Callable[..., Gateway], sent: Callable[[Endpoint], Sent]
) -> None:
    """As a gateway under load answers."""

    def answer(_asked: Asked) -> bytes:
        page = b"<html><head><style>x{}</style></head><body><h1>503</h1><p>Busy &amp; slow</p></body></html>"
        return b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: %d\r\n\r\n%b" % (len(page), page)

    verdict = sent(plain(gate(answer))).push()

    assert (verdict.action, verdict.retry_after_s, verdict.detail) == (Action.REPEAT, 7.0, "503 Busy & slow")


def test_connections_of_a_thread_are_kept(gate: Callable[..., Gateway]) -> None:
    """One handshake for many pushes."""
    gateway = gate(context=server_context("localhost"))
    context = authority().trusted()
    connection = Connection(encrypted(gateway), lambda: context)
    for _ in range(3):
        assert connection.post(b"{}", {}).status == 204
    connection.close()

    assert gateway.connections == 1


def test_each_exchange_of_a_kept_connection_has_its_own_time(gate: Callable[..., Gateway]) -> None:
    """Not what is left of that of the first."""
    connection = Connection(plain(gate(), timeout_s=30.0), make_context)
    deadlines = []
    for size in (0, 16 * 1024 * 1000):
        connection.post(b"x" * size, {})
        assert connection._bounded is not None
        deadlines.append(connection._bounded.deadline_s)
    connection.close()

    assert deadlines[1] - deadlines[0] >= 1000


def test_a_context_needs_files_that_fit(tmp_path: pathlib.Path) -> None:
    """A key with a password is refused and not asked for."""
    cert, _ = client_files(tmp_path, "a.example", authority())
    (tmp_path / "other").mkdir()
    _, other = client_files(tmp_path / "other", "b.example", authority())

    with pytest.raises(ValueError, match=r"client_cert_file: .* no certificate with its key"):
        make_context("", cert, other)


# ---- answers before, beside and without what they answer


class Early(Gateway):
    """Refuses a push by its head, and closes while the body is still coming."""

    def talk(self, sock: socket.socket, lines: object) -> None:
        """Read one head, answer, and reset the connection: much of the body is unread."""
        line = lines.readline()  # type: ignore[attr-defined]
        while lines.readline().strip():  # type: ignore[attr-defined]
            pass
        if b"/ready" in line:
            sock.sendall(READY)
            self.talk(sock, lines)
            return
        text = b"http: request body too large"
        sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))


@pytest.mark.parametrize("kept", [False, True])
def test_who_refuses_a_push_before_it_is_all_there_is_heard(
    sent: Callable[[Endpoint], Sent], *, kept: bool
) -> None:
    """The push is split then; else the same one would be sent for ever."""
    gateway = Early()
    client = sent(plain(gateway, timeout_s=5.0))
    verdicts = [client.push(b"x" * 20_000_000) for _ in range(1 + kept)]
    gateway.close()

    assert [(verdict.action, verdict.status) for verdict in verdicts] == [(Action.SPLIT, 413)] * len(verdicts)


@pytest.mark.parametrize(
    "before", [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", b"HTTP/1.1 102 Wait\r\n\r\n"]
)
def test_what_comes_before_the_answer_is_no_answer(
    gate: Callable[..., Gateway], sent: Callable[[Endpoint], Sent], before: bytes
) -> None:
    """Whoever reads it: a thread at first, the loop then. The connection goes on."""
    gateway = gate(lambda asked: before * int(asked.body) + ACK)
    client = sent(plain(gateway, timeout_s=5.0))

    assert [client.push(number).action for number in (b"1", b"0", b"2")] == [Action.DELIVERED] * 3
    assert client.push(b"9").action is Action.REPEAT
    assert gateway.connections == 1


@pytest.mark.parametrize("cut", [len("HTTP/1.1 204 No Con"), len(ACK) - 2])
def test_an_answer_that_ends_within_its_head_is_none(sent: Callable[[Endpoint], Sent], cut: int) -> None:
    """204 alone is an ack, and this may be a proxy's that gave up."""

    class Cut(Gateway):
        def talk(self, sock: socket.socket, lines: object) -> None:
            while (asked := read_request(lines)) is not None:
                if asked.line.endswith("/ready HTTP/1.1"):
                    sock.sendall(READY)
                    continue
                sock.sendall(ACK[:cut])
                return

    gateway = Cut()
    verdict = sent(plain(gateway, timeout_s=5.0)).push()
    gateway.close()

    assert verdict.action is Action.REPEAT
