"""The configuration that the settings make; all problems in one message."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from shipper.configuration import wanted
from shipper.configuration.layers import chosen, toml
from shipper.configuration.settings import SETTINGS, switch
from shipper.entries.sorting import Policy
from shipper.push import proxy
from shipper.push.endpoint import Endpoint, push_url
from shipper.push.tls import make_context
from shipper.redact import own
from shipper.redact.own import Own
from shipper.redact.redactor import Redactor
from shipper.sending.batch import Limits
from shipper.sources.base import Source
from shipper.state import Options

_FILES = ("basic_password_file", "bearer_token_file", "ca_file", "client_cert_file", "client_key_file")


class ConfigError(Exception):
    """Everything that is wrong with the configuration, one problem a line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Config(msgspec.Struct, frozen=True):
    """Everything `run` needs."""

    endpoint: Endpoint
    sources: tuple[Source, ...]
    options: Options
    retry_max: int
    state_dir: pathlib.Path
    listen: tuple[str, int] | None
    shutdown_timeout_s: float
    dead_letter_max_bytes: int
    max_open_files: int
    log_format: str
    log_level: str
    redact: bool
    redact_rules: tuple[Own, ...]
    enabled: bool | None
    """llm-proxy's own switch: None where nobody set it."""

    def redactor(self) -> Redactor | None:
        """Return what masks secrets, None where that is switched off."""
        return Redactor(self.redact_rules) if self.redact else None


def load(
    flags: Mapping[str, str | None],
    source_flags: tuple[str, ...],
    config_file: str | None,
    environ: Mapping[str, str],
    default_machine: str,
    *,
    need_loki: bool = True,
    need_sources: bool = True,
) -> Config:
    """Return the configuration; raises `ConfigError` with every problem there is."""
    problems: list[str] = []
    table = toml(config_file, problems)
    values: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        text, where = chosen(name, setting, flags, environ, table)
        try:
            values[name] = setting.parse(text)
        except ValueError as error:
            problems.append(f"{where}: {error}")
            values[name] = setting.parse(setting.default)
    enabled = _enabled(values["enabled"], problems)
    sources = wanted.sources(
        source_flags, table, environ, values, default_machine, problems, needed=need_sources
    )
    rules = _own_rules(table.get("redact_rules", []), problems)
    url = ""
    if values["loki_url"]:
        try:
            url = push_url(values["loki_url"])
        except ValueError as error:
            problems.append(f"loki_url: {error}")
    elif need_loki and enabled is not False:
        problems.append("no Loki: give --loki-url, LLM_PROXY_LOKI_URL or loki_url")
    problems += [
        f"{name}: {values[name]} cannot be read"
        for name in _FILES
        if values[name] and not os.access(values[name], os.R_OK)
    ]
    endpoint = Endpoint(
        url,
        values["tenant"],
        values["basic_user"],
        values["basic_password_file"],
        values["bearer_token_file"],
        values["auth_token"],
        values["use_gzip"],
        values["request_timeout"],
        values["ca_file"],
        values["client_cert_file"],
        values["client_key_file"],
        _proxy(url, environ, problems),
    )
    _check_files(endpoint, problems)
    if problems:
        raise ConfigError(problems)
    return Config(
        endpoint,
        sources,
        Options(
            Limits(values["batch_size"], values["batch_bytes"]),
            values["batch_wait"],
            values["max_stream_rate"],
            policy=Policy(round(values["reject_old_samples_max_age"] * 1e9), values["old_lines"]),
            structured_metadata=values["structured_metadata"],
            max_entry_bytes=values["max_entry_bytes"],
        ),
        values["retry_max"],
        pathlib.Path(values["state_dir"] or _default_state_dir(environ)).expanduser(),
        values["listen_address"],
        values["shutdown_timeout"],
        values["dead_letter_max_bytes"],
        values["max_open_files"],
        values["log_format"],
        values["log_level"],
        values["redact"],
        rules,
        enabled,
    )


def switched_off(
    flags: Mapping[str, str | None], config_file: str | None, environ: Mapping[str, str]
) -> bool:
    """Tell whether llm-proxy's switch is off. Then nothing else of the configuration need be right."""
    text, _ = chosen("enabled", SETTINGS["enabled"], flags, environ, toml(config_file, []))
    return _enabled(text, []) is False


def _proxy(url: str, environ: Mapping[str, str], problems: list[str]) -> proxy.Proxy | None:
    try:
        return proxy.choose(url, environ) if url else None
    except ValueError as error:
        problems.append(str(error))
        return None


def _check_files(endpoint: Endpoint, problems: list[str]) -> None:
    """Read what the endpoint's files hold, so that a mistake in them is found before anything starts."""
    if endpoint.client_key_file and not endpoint.client_cert_file:
        problems.append("client_key_file: needs client_cert_file")
    if problems:
        return
    reads: list[Callable[[], object]] = [endpoint.authorization]
    if any(endpoint.tls_files):
        reads.append(lambda: make_context(*endpoint.tls_files))
    for read in reads:
        try:
            read()
        except ValueError as error:
            problems.append(str(error))


def _own_rules(tables: list[Any], problems: list[str]) -> tuple[Own, ...]:
    rules = []
    for table in tables:
        name, pattern = (table.get("name"), table.get("pattern")) if isinstance(table, dict) else (None, None)
        if isinstance(name, str) and isinstance(pattern, str):
            rules.append(Own(name, pattern))
            problems += [f"[[redact]] {name}: unknown {key}" for key in table if key not in Own._fields]
        else:
            problems.append("[[redact]]: needs name and pattern")
    problems += own.errors(rules)
    return tuple(rules)


def _enabled(text: str, problems: list[str]) -> bool | None:
    if not text.strip():
        return None
    try:
        return switch(text)
    except ValueError as error:
        problems.append(f"loki_enabled: {error}")
        return None


def state_dir(flag: str | None, environ: Mapping[str, str]) -> pathlib.Path:
    """Return the state directory where only a flag can name another than the default."""
    text = flag or environ.get("TALLYSHIP_STATE_DIR") or _default_state_dir(environ)
    return pathlib.Path(text).expanduser()


def _default_state_dir(environ: Mapping[str, str]) -> str:
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return given
    base = environ.get("XDG_STATE_HOME") or "~/.local/state"
    return f"{base}/tallyship-shipper"
