"""The web configuration file: from YAML text to checked settings, or every reason why not; no I/O.

The format is that of Prometheus' exporter-toolkit (docs/web-configuration.md there), so that a file which
serves another exporter serves this one. What is not supported is refused by its name, never passed over: a
protection that is configured and not there is worse than none. One key is ours: `tallyship_bearer_tokens`.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

TOKENS_KEY = "tallyship_bearer_tokens"
MAX_BCRYPT_COST = 18
"""At 18 one check takes over ten seconds; each step more doubles that."""

_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_SHA256 = re.compile(r"sha256:([0-9a-fA-F]{64})")


class ClientAuth(Enum):
    """What is asked of a client's certificate, by its name in the file (Go's `tls.ClientAuthType`)."""

    NONE = "NoClientCert"
    IF_GIVEN = "VerifyClientCertIfGiven"
    REQUIRED = "RequireAndVerifyClientCert"


@dataclass(frozen=True)
class Pem:
    """Where a certificate or key is: in a file, or in the configuration itself."""

    path: Path | None = None
    text: str = field(default="", repr=False)


@dataclass(frozen=True)
class TlsSettings:
    """What `tls_server_config` asks for. `ciphers`: OpenSSL's names for TLS 1.2, None for its own choice."""

    cert: Pem
    key: Pem
    client_ca: Pem | None = None
    client_auth: ClientAuth = ClientAuth.NONE
    allowed_sans: frozenset[str] | None = None
    min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    max_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ciphers: tuple[str, ...] | None = None
    prefer_server_ciphers: bool = True


@dataclass(frozen=True)
class WebConfig:
    """The whole file. `users`: bcrypt hash by user name; `tokens`: SHA-256 of the token by its name."""

    tls: TlsSettings | None = None
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    tokens: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Refused:
    """The file cannot be used; a sentence for each reason, none of which quotes a secret."""

    problems: tuple[str, ...]


def parse(text: str, folder: Path) -> WebConfig | Refused:
    """Return the settings; file names in them are relative to `folder`, where the file itself lies."""
    from exporter.web.strict_yaml import NotYaml, load  # noqa: PLC0415 (nobody without such a file needs YAML)

    try:
        document = load(text)
    except NotYaml as error:
        return Refused((str(error),))
    if document is None:
        document = {}
    if not isinstance(document, dict):
        return Refused(("must be a table of sections, as tls_server_config and basic_auth_users",))
    reader = _Reader(folder)
    config = reader.whole(document)
    return Refused(tuple(reader.problems)) if reader.problems else config


class _Reader:
    """Reads section by section and collects what is wrong; a wrong value leaves the default behind."""

    def __init__(self, folder: Path) -> None:
        self.problems: list[str] = []
        self._folder = folder

    def whole(self, document: dict[Any, Any]) -> WebConfig:
        self._refuse("", document, _NOT_SUPPORTED, _SECTIONS)
        tls = document.get("tls_server_config")
        table = self._table("tls_server_config", tls)
        http = self._table("http_server_config", document.get("http_server_config"))
        return WebConfig(
            tls=self._tls(table) if isinstance(tls, dict) else None,
            users=self._entries("basic_auth_users", document, _user, _bcrypt_hash),
            tokens=self._entries(TOKENS_KEY, document, str, _sha256),
            headers=self._http(http),
        )

    def _tls(self, table: dict[Any, Any]) -> TlsSettings:
        path = "tls_server_config"
        self._refuse(path, table, _TLS_NOT_SUPPORTED, _TLS_KEYS)
        client_auth = self._one_of(path, table, "client_auth_type", _CLIENT_AUTH, ClientAuth.NONE)
        client_ca = self._pem(path, table, "client_ca")
        sans = self._texts(path, table, "client_allowed_sans")
        if client_auth is not ClientAuth.NONE and client_ca is None:
            self.problems.append(
                f"{path}.client_auth_type: {client_auth.value} needs client_ca_file or client_ca;"
                " the system's authorities would let everybody in"
            )
        if client_auth is ClientAuth.NONE and client_ca is not None and not table.get("client_auth_type"):
            self.problems.append(f"{path}.client_ca: has no effect without client_auth_type")
        if sans is not None and client_auth is not ClientAuth.REQUIRED:
            self.problems.append(
                f"{path}.client_allowed_sans: needs client_auth_type {ClientAuth.REQUIRED.value}"
            )
        oldest = self._one_of(path, table, "min_version", _VERSIONS, ssl.TLSVersion.TLSv1_2)
        newest = self._one_of(path, table, "max_version", _VERSIONS, ssl.TLSVersion.TLSv1_3)
        if oldest > newest:
            self.problems.append(f"{path}.max_version: is below min_version")
        suites = self._texts(path, table, "cipher_suites")
        if suites and newest < ssl.TLSVersion.TLSv1_3 and set(suites) <= set(_TLS13_SUITES):
            self.problems.append(
                f"{path}.cipher_suites: are all of TLS 1.3, which max_version rules out: nobody could connect"
            )
        return TlsSettings(
            cert=self._pem(path, table, "cert", needed=True) or Pem(),
            key=self._pem(path, table, "key", needed=True) or Pem(),
            client_ca=client_ca,
            client_auth=client_auth,
            allowed_sans=None if sans is None else frozenset(sans),
            min_version=oldest,
            max_version=newest,
            ciphers=None if not suites else self._ciphers(f"{path}.cipher_suites", suites),
            prefer_server_ciphers=self._boolean(path, table, "prefer_server_cipher_suites", default=True),
        )

    def _pem(self, path: str, table: dict[Any, Any], name: str, *, needed: bool = False) -> Pem | None:
        file, text = (self._text(path, table, key) for key in (f"{name}_file", name))
        if file and text:
            self.problems.append(f"{path}: {name}_file and {name} exclude each other")
        if file:
            return Pem(self._folder / file)
        if text:
            return Pem(text=text)
        if needed and not table.get(f"{name}_file") and not table.get(name):
            self.problems.append(f"{path}: neither {name}_file nor {name} is there")
        return None

    def _ciphers(self, path: str, suites: list[str]) -> tuple[str, ...]:
        known = {**_CIPHERS, **dict.fromkeys(_TLS13_SUITES, "")}
        for suite in suites:
            if suite not in known:
                self.problems.append(f"{path}: {suite!r} is not supported")
        return tuple(known[suite] for suite in suites if known.get(suite))

    def _http(self, table: dict[Any, Any]) -> tuple[tuple[str, str], ...]:
        path = "http_server_config"
        self._refuse(path, table, {}, {"http2", "headers"})
        if self._boolean(path, table, "http2", default=False):
            self.problems.append(f"{path}.http2: HTTP/2 is not spoken here; leave it out, or say false")
        headers = self._table(f"{path}.headers", table.get("headers"))
        self._refuse(f"{path}.headers", headers, {}, set(_HEADERS))
        found = []
        for name, allowed in _HEADERS.items():
            value = self._text(f"{path}.headers", headers, name)
            if not value:
                continue
            if not value.isascii() or not value.isprintable():
                self.problems.append(f"{path}.headers.{name}: must be printable ASCII on one line")
            elif allowed and value not in allowed:
                self.problems.append(f"{path}.headers.{name}: must be {' or '.join(allowed)}")
            else:
                found.append((name.lower(), value))
        return tuple(found)

    def _entries(
        self,
        section: str,
        document: dict[Any, Any],
        parse_name: Callable[[str], Any],
        parse_hash: Callable[[str], bytes],
    ) -> dict[Any, bytes]:
        found = {}
        for name, value in self._table(section, document.get(section)).items():
            if not isinstance(name, str):
                self.problems.append(f"{section}: the name {name!r} is no text; put it in quotes")
                continue
            try:
                found[parse_name(name)] = parse_hash(value if isinstance(value, str) else "")
            except ValueError as problem:
                self.problems.append(f"{section}.{name}: {problem}")
        return found

    # One value each

    def _refuse(
        self, path: str, table: dict[Any, Any], unsupported: Mapping[str, str], known: set[str]
    ) -> None:
        prefix = f"{path}." if path else ""
        for key in table:
            if key in unsupported:
                self.problems.append(f"{prefix}{key}: is not supported: {unsupported[key]}")
            elif key not in known:
                self.problems.append(f"{prefix}{key}: is unknown")

    def _table(self, path: str, value: Any) -> dict[Any, Any]:
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        self.problems.append(f"{path}: must be a table")
        return {}

    def _text(self, path: str, table: dict[Any, Any], key: str) -> str:
        value = table.get(key)
        if value is None or isinstance(value, str):
            return value or ""
        self.problems.append(f"{path}.{key}: must be text")
        return ""

    def _texts(self, path: str, table: dict[Any, Any], key: str) -> list[str] | None:
        value = table.get(key)
        if value is None:
            return None
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        self.problems.append(f"{path}.{key}: must be a list of texts")
        return None

    def _boolean(self, path: str, table: dict[Any, Any], key: str, *, default: bool) -> bool:
        value = table.get(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.problems.append(f"{path}.{key}: must be true or false")
        return default

    def _one_of(
        self, path: str, table: dict[Any, Any], key: str, known: Mapping[str, Any], default: Any
    ) -> Any:
        value = self._text(path, table, key)
        if not value:
            return default
        if value in known:
            return known[value]
        why = _VALUES_NOT_SUPPORTED.get(value)
        self.problems.append(
            f"{path}.{key}: {value} is not supported: {why}"
            if why
            else f"{path}.{key}: {value!r} is none of {', '.join(known)}"
        )
        return default


def _user(name: str) -> bytes:
    if ":" in name:
        raise ValueError("a user name with a colon cannot be sent (RFC 7617)")
    return name.encode()


def _bcrypt_hash(text: str) -> bytes:
    match = _BCRYPT.fullmatch(text)
    if match is None:
        raise ValueError("is no bcrypt hash; `tallyship-exporter hash-password` makes one")
    if not 4 <= int(match[1]) <= MAX_BCRYPT_COST:  # noqa: PLR2004 (bcrypt's own minimum)
        raise ValueError(f"its bcrypt cost {match[1]} is not between 4 and {MAX_BCRYPT_COST}")
    return text.encode()


def _sha256(text: str) -> bytes:
    match = _SHA256.fullmatch(text)
    if match is None:
        raise ValueError(
            "is not of the form sha256:HEX; `tallyship-exporter hash-password --bearer` makes one"
        )
    return bytes.fromhex(match[1])


_SECTIONS = {"tls_server_config", "http_server_config", "basic_auth_users", TOKENS_KEY}
_NOT_SUPPORTED = {
    "rate_limit": "one limit for all would let any client keep the others out",
    "auth_excluded_paths": "/-/healthy is the one page that asks for no user",
    "basic_auth_excluded_paths": "/-/healthy is the one page that asks for no user",
    "bearer_auth_tokens": f"tokens stand as hashes in {TOKENS_KEY}",
}
_TLS_KEYS = {
    *("cert", "cert_file", "key", "key_file", "client_ca", "client_ca_file", "client_auth_type"),
    *("client_allowed_sans", "min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites"),
}
_TLS_NOT_SUPPORTED = {"curve_preferences": "Python's ssl cannot be given a list of curves"}
_CLIENT_AUTH = {kind.value: kind for kind in ClientAuth}
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VALUES_NOT_SUPPORTED = {
    "TLS10": "broken since 2011",
    "TLS11": "outdated since 2021",
    "RequestClientCert": "it asks for a certificate and verifies nothing",
    "RequireAnyClientCert": "it accepts any certificate, verified or not",
    "RequireClientCert": "it accepts any certificate, verified or not",
}
_CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
"""Go's names of the TLS 1.2 suites with forward secrecy, and OpenSSL's."""
_TLS13_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""Accepted and without effect, as in Go: the suites of TLS 1.3 are always all on."""
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}
"""The headers that exporter-toolkit lets a file set, and their values where it limits them."""
