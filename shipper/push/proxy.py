"""The proxy that the environment names for an address: HTTPS_PROXY, HTTP_PROXY, NO_PROXY. Pure."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. What it is told of us is in no text that prints it."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)

    def headers(self) -> dict[str, str]:
        """Return the headers for the proxy alone."""
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}


def choose(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for `url`, None for the direct way; raises `ValueError`, without any password.

    As in Go's programs, a loopback address is always reached directly.
    """
    target = urlsplit(url)
    host, port = (target.hostname or "").lower(), target.port or _PORTS.get(target.scheme, 0)
    variable, text = _named(f"{target.scheme}_proxy", environ)
    if not text or not host or _is_loopback(host) or _excluded(host, port, _named("no_proxy", environ)[1]):
        return None
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        proxy_port = parts.port or _PORTS["http"]
    except ValueError:
        raise ValueError(f"{variable}: not the address of a proxy") from None
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{variable}: must be http://[USER:PASSWORD@]HOST:PORT, no other kind of proxy")
    authorization = ""
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"
    return Proxy(parts.hostname, proxy_port, authorization)


def _named(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the variable that counts and its text: capitals first, as in Go's programs."""
    for variable in (name.upper(), name):
        if environ.get(variable, "").strip():
            return variable, environ[variable].strip()
    return name, ""


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _excluded(host: str, port: int, no_proxy: str) -> bool:
    return any(_covers(entry.strip().lower(), host, port) for entry in no_proxy.split(",") if entry.strip())


def _covers(entry: str, host: str, port: int) -> bool:
    """Tell whether an entry covers the host: `*`, an address, a network, or a domain with all below it."""
    address = _address(host)
    if entry == "*" or (address is not None and "/" in entry):
        return entry == "*" or _is_in(address, entry)
    name, colon, digits = entry.rpartition(":")
    if colon and digits.isdigit() and _address(entry) is None:
        if int(digits) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    if address is not None:
        return _address(entry) == address
    below = entry.removeprefix("*").removeprefix(".")
    return host.endswith(f".{below}") or host == entry


def _is_in(address: Address | None, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
