"""The settings: how each one's text is read, and its default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from shipper.units import parse_bytes, parse_duration_s

MIN_ENTRY_BYTES = 8192
"""A long line has a microsecond for each 8 KiB of it, and each of its parts needs one."""


class Setting(msgspec.Struct, frozen=True):
    """One setting: how its text is read, its default, and the name under which llm-proxy's users know it."""

    parse: Callable[[str], Any]
    default: str
    proxy_name: str = ""
    empty_counts: bool = False
    """An environment variable that is set and empty is a value, and not as good as none."""


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("must be at least 1")
    return number


def _retries(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError("must not be negative")
    return number or 5  # llm-proxy reads 0 as its default, and so do its users' settings


def switch(text: str) -> bool:
    """Return whether it is on; raises `ValueError`."""
    value = {
        "true": True,
        "1": True,
        "yes": True,
        "on": True,
        "false": False,
        "0": False,
        "no": False,
        "off": False,
    }
    if text.strip().lower() not in value:
        raise ValueError("must be true or false")
    return value[text.strip().lower()]


def _rate(text: str) -> int:
    return parse_bytes(text) if text.strip() != "0" else 0


def _size(text: str) -> int:
    number = parse_bytes(text)
    if number < 1:
        raise ValueError("must be more than nothing")
    return number


def _entry_size(text: str) -> int:
    number = parse_bytes(text)
    if number < MIN_ENTRY_BYTES:
        raise ValueError(f"must be at least {MIN_ENTRY_BYTES // 1024}KiB")
    return number


def _timeout(text: str) -> float:
    seconds = parse_duration_s(text)
    if seconds <= 0:
        raise ValueError("must be more than nothing")
    return seconds


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return parse


def _listen(text: str) -> tuple[str, int] | None:
    if not text.strip():
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 - the largest port
        raise ValueError("must be HOST:PORT, or empty for none")
    return host.strip("[]") or "127.0.0.1", int(port)


SETTINGS: dict[str, Setting] = {
    "loki_url": Setting(str, "", "URL"),
    "batch_size": Setting(_count, "1000", "BATCH_SIZE"),
    "batch_bytes": Setting(_size, "256KiB"),
    "batch_wait": Setting(parse_duration_s, "5s", "BATCH_WAIT"),
    "retry_max": Setting(_retries, "5", "RETRY_MAX"),
    "use_gzip": Setting(switch, "true", "USE_GZIP"),
    "environment": Setting(str, "development", "ENVIRONMENT"),
    "enabled": Setting(str, "", "ENABLED"),
    "auth_token": Setting(str, "", "AUTH_TOKEN"),
    "max_stream_rate": Setting(_rate, "1.2MB"),
    "state_dir": Setting(str, ""),
    "listen_address": Setting(_listen, "127.0.0.1:57375", empty_counts=True),
    "shutdown_timeout": Setting(parse_duration_s, "30s"),
    "request_timeout": Setting(_timeout, "30s"),
    "tenant": Setting(str, ""),
    "basic_user": Setting(str, ""),
    "basic_password_file": Setting(str, ""),
    "bearer_token_file": Setting(str, ""),
    "ca_file": Setting(str, ""),
    "client_cert_file": Setting(str, ""),
    "client_key_file": Setting(str, ""),
    "max_entry_bytes": Setting(_entry_size, "256KiB"),
    "redact": Setting(switch, "true"),
    "structured_metadata": Setting(switch, "true"),
    "reject_old_samples_max_age": Setting(parse_duration_s, "7d"),
    "old_lines": Setting(_choice("restamp", "dead-letter"), "restamp"),
    "dead_letter_max_bytes": Setting(_size, "256MiB"),
    "max_open_files": Setting(_count, "512"),
    "machine": Setting(str, ""),
    "log_format": Setting(_choice("text", "json"), "text"),
    "log_level": Setting(_choice("debug", "info", "warning", "error"), "info"),
}
UNDER_LOKI = {name for name, setting in SETTINGS.items() if setting.proxy_name}
