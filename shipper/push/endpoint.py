"""Where pushes go, and as whom. Secrets stay in their files."""

from __future__ import annotations

import base64
import pathlib
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from shipper.push.proxy import Proxy

PUSH_PATH = "/loki/api/v1/push"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A Loki, with all that it takes to be heard there."""

    url: str
    tenant: str = ""
    basic_user: str = ""
    basic_password_file: str = ""
    bearer_token_file: str = ""
    bearer_token: str = field(default="", repr=False)
    use_gzip: bool = True
    timeout_s: float = 30.0
    ca_file: str = ""
    client_cert_file: str = ""
    client_key_file: str = ""
    proxy: Proxy | None = None

    @property
    def base_url(self) -> str:
        """The address without the path for pushes."""
        return self.url.removesuffix(PUSH_PATH)

    @property
    def secret_files(self) -> tuple[str, ...]:
        """The files that `authorization` reads."""
        return self.basic_password_file, self.bearer_token_file

    @property
    def tls_files(self) -> tuple[str, str, str]:
        """Authority, certificate and key, each possibly empty."""
        return self.ca_file, self.client_cert_file, self.client_key_file

    def authorization(self) -> dict[str, str]:
        """Return the headers that say who we are; raises `ValueError` for a file that cannot be used."""
        headers = {"X-Scope-OrgID": self.tenant} if self.tenant else {}
        token = _secret(self.bearer_token_file) if self.bearer_token_file else self.bearer_token
        if token:
            if not token.isascii() or not token.isprintable() or " " in token:
                raise ValueError(f"{self.bearer_token_file or 'token'}: a token is ASCII without blanks")
            headers["Authorization"] = f"Bearer {token}"
        elif self.basic_user:
            password = _secret(self.basic_password_file) if self.basic_password_file else ""
            pair = base64.b64encode(f"{self.basic_user}:{password}".encode()).decode("ascii")
            headers["Authorization"] = f"Basic {pair}"
        return headers


def push_url(text: str) -> str:
    """Return the push address of a Loki given with or without the path; raises `ValueError`."""
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if "@" in text:  # first of all: no message may repeat a password
        raise ValueError("credentials do not belong into the address: use --basic-user and a password file")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an http or https address: {text!r}")
    if parts.query or parts.fragment:
        raise ValueError("the address has a query or fragment")
    path = parts.path.rstrip("/")
    _ = parts.port  # raises for a port that is none
    path = path if path.endswith(PUSH_PATH) else path + PUSH_PATH
    return f"{parts.scheme}://{parts.netloc}{path}"


def _secret(path: str) -> str:
    try:
        secret = pathlib.Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8") from None
    if not secret or "\n" in secret:
        raise ValueError(f"{path}: must hold one line")
    return secret
