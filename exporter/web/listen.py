"""The address to listen on: parsed, bound and listening before anything else starts."""

from __future__ import annotations

import errno
import re
import socket
from dataclasses import dataclass

MAX_PORT = 65535
_DIGITS = re.compile(r"[0-9]{1,5}")
_ANY = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 (recognised here, not chosen)


@dataclass(frozen=True)
class Address:
    """Where to listen. An empty host means every address of the machine, port 0 any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_any(self) -> bool:
        """Whether this is every address of the machine."""
        return self.host in _ANY

    @property
    def url(self) -> str:
        """The address as a URL that works on this machine, without a trailing slash."""
        return self.url_for("http")

    def url_for(self, scheme: str) -> str:
        """Return the same for `https`."""
        return f"{scheme}://{Address('localhost' if self.is_any else self.host, self.port)}"


@dataclass(frozen=True)
class BadAddress:
    """The text is no address; `reason` is a sentence that names it."""

    reason: str


@dataclass(frozen=True)
class BindFailed:
    """Nobody listens: `reason` is the system's, `in_use` whether somebody else has the port."""

    address: Address
    reason: str
    in_use: bool


@dataclass(frozen=True)
class Listener:
    """A listening socket and its real address (the port is never 0)."""

    sock: socket.socket
    address: Address


def parse_address(text: str) -> Address | BadAddress:
    """Return the address for `HOST:PORT`, `[IPV6]:PORT` or `:PORT`."""
    host, colon, port = text.rpartition(":")
    if not colon:
        return BadAddress(f"{text!r} has no port: write HOST:PORT, [IPV6]:PORT or :PORT")
    if host.startswith("[") and host.endswith("]") and ":" in host:
        host = host[1:-1]
    elif any(character in host for character in ":[]"):
        return BadAddress(f"{text!r} is ambiguous: an IPv6 address goes into brackets, as in [::1]:57374")
    if not _DIGITS.fullmatch(port) or int(port) > MAX_PORT:
        return BadAddress(f"{text!r} has no port between 0 and {MAX_PORT}")
    return Address(host, int(port))


def bind(address: Address, queue: int = 1024) -> Listener | BindFailed:
    """Return a socket that listens already: with SO_REUSEADDR, `bind` alone may succeed for two programs.

    A name is resolved, IPv4 first, as `localhost` is asked for at 127.0.0.1 more often than at ::1. `:PORT`
    listens on IPv6 and IPv4 alike where the machine has both.
    """
    sock: socket.socket | None = None
    try:
        family, target = _resolve(address)
        # With the protocol left out asyncio does not switch off Nagle's delay: 40 ms on a kept-alive scrape.
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address.host == "" else 1)
        sock.bind(target)
        sock.listen(queue)
        sock.setblocking(False)
    except (OSError, UnicodeError) as error:  # a name that cannot be encoded is a UnicodeError
        if sock is not None:
            sock.close()
        in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return BindFailed(address, reason, in_use)
    return Listener(sock, Address(address.host, sock.getsockname()[1]))


def _resolve(address: Address) -> tuple[socket.AddressFamily, tuple[str, int]]:
    if address.host == "":
        both = socket.has_dualstack_ipv6()
        return (socket.AF_INET6, ("::", address.port)) if both else (socket.AF_INET, ("", address.port))
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, target = min(found, key=lambda info: info[0] is not socket.AF_INET)
    return family, target[:2] if family is socket.AF_INET else target  # type: ignore[return-value]  # a scope id
