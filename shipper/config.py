"""The configuration: flags over environment over TOML over defaults, all problems in one message."""

from __future__ import annotations

import glob
import os
import pathlib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shipper.push.client import Endpoint, push_url
from shipper.sorting import Policy
from shipper.sources.base import Source
from shipper.sources.jsonl import Jsonl
from shipper.sources.llm_proxy import LlmProxy
from shipper.sources.loki_mode import LokiMode
from shipper.state import Options
from shipper.streams import Limits
from shipper.units import parse_bytes, parse_duration_s

KINDS: dict[str, Callable[..., Source]] = {"loki-mode": LokiMode, "llm-proxy": LlmProxy, "jsonl": Jsonl}


class ConfigError(Exception):
    """Everything that is wrong with the configuration, one problem a line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: how its text is read, its default, and the name under which llm-proxy's users know it."""

    parse: Callable[[str], Any]
    default: str
    proxy_name: str = ""


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


def _switch(text: str) -> bool:
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
    "use_gzip": Setting(_switch, "true", "USE_GZIP"),
    "environment": Setting(str, "development", "ENVIRONMENT"),
    "enabled": Setting(str, "", "ENABLED"),
    "auth_token": Setting(str, "", "AUTH_TOKEN"),
    "max_stream_rate": Setting(_rate, "1.2MB"),
    "state_dir": Setting(str, ""),
    "listen_address": Setting(_listen, "127.0.0.1:57375"),
    "shutdown_timeout": Setting(parse_duration_s, "30s"),
    "request_timeout": Setting(_timeout, "30s"),
    "tenant": Setting(str, ""),
    "basic_user": Setting(str, ""),
    "basic_password_file": Setting(str, ""),
    "bearer_token_file": Setting(str, ""),
    "structured_metadata": Setting(_switch, "true"),
    "reject_old_samples_max_age": Setting(parse_duration_s, "7d"),
    "old_lines": Setting(_choice("restamp", "dead-letter"), "restamp"),
    "dead_letter_max_bytes": Setting(_size, "256MiB"),
    "max_open_files": Setting(_count, "512"),
    "machine": Setting(str, ""),
    "log_format": Setting(_choice("text", "json"), "text"),
    "log_level": Setting(_choice("debug", "info", "warning", "error"), "info"),
}
_UNDER_LOKI = {name for name, setting in SETTINGS.items() if setting.proxy_name}


@dataclass(frozen=True, slots=True)
class Config:
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
    enabled: bool | None
    """llm-proxy's own switch: None where nobody set it."""


def load(
    flags: Mapping[str, str | None],
    source_flags: tuple[str, ...],
    config_file: str | None,
    environ: Mapping[str, str],
    default_machine: str,
    *,
    need_loki: bool = True,
) -> Config:
    """Return the configuration; raises `ConfigError` with every problem there is."""
    problems: list[str] = []
    table = _toml(config_file, problems)
    values: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        text, where = _chosen(name, setting, flags, environ, table)
        try:
            values[name] = setting.parse(text)
        except ValueError as error:
            problems.append(f"{where}: {error}")
            values[name] = setting.parse(setting.default)
    enabled = _enabled(values["enabled"], problems)
    sources = _sources(source_flags, table, environ, values, default_machine, problems)
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
        for name in ("basic_password_file", "bearer_token_file")
        if values[name] and not os.access(values[name], os.R_OK)
    ]
    if problems:
        raise ConfigError(problems)
    return Config(
        Endpoint(
            url,
            values["tenant"],
            values["basic_user"],
            values["basic_password_file"],
            values["bearer_token_file"],
            values["auth_token"],
            values["use_gzip"],
            values["request_timeout"],
        ),
        sources,
        Options(
            Limits(values["batch_size"], values["batch_bytes"]),
            values["batch_wait"],
            values["max_stream_rate"],
            policy=Policy(round(values["reject_old_samples_max_age"] * 1e9), values["old_lines"]),
            structured_metadata=values["structured_metadata"],
        ),
        values["retry_max"],
        pathlib.Path(values["state_dir"] or _default_state_dir(environ)).expanduser(),
        values["listen_address"],
        values["shutdown_timeout"],
        values["dead_letter_max_bytes"],
        values["max_open_files"],
        values["log_format"],
        values["log_level"],
        enabled,
    )


def switched_off(
    flags: Mapping[str, str | None], config_file: str | None, environ: Mapping[str, str]
) -> bool:
    """Tell whether llm-proxy's switch is off. Then nothing else of the configuration need be right."""
    text, _ = _chosen("enabled", SETTINGS["enabled"], flags, environ, _toml(config_file, []))
    return _enabled(text, []) is False


def _toml(path: str | None, problems: list[str]) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        table = tomllib.loads(pathlib.Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"{path}: {error.strerror}")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path}: {error}")
        return {}
    flat = {name: value for name, value in table.items() if name not in ("loki", "source", "sources")}
    inner = table.get("loki")
    if isinstance(inner, dict):
        # llm-proxy's own file has a table; its design has flat loki_ names. Both work.
        flat.update({f"loki_{name}" if name != "url" else "loki_url": value for name, value in inner.items()})
    known = {_toml_name(name) for name in SETTINGS} | set(SETTINGS)
    problems += [f"{path}: unknown setting {name}" for name in flat if name not in known]
    for name in ("source", "sources"):
        flat[name] = table.get(name, [])
        if not isinstance(flat[name], list):
            problems.append(f"{path}: {name} must be a list")
            flat[name] = []
    if not isinstance(table.get("loki", {}), dict):
        problems.append(f"{path}: loki must be a table")
    return flat


def _toml_name(name: str) -> str:
    return f"loki_{name}" if name in _UNDER_LOKI and name != "loki_url" else name


def _chosen(
    name: str,
    setting: Setting,
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    table: Mapping[str, Any],
) -> tuple[str, str]:
    flag = flags.get(name)
    if flag is not None:
        return flag, f"--{name.replace('_', '-')}"
    own = f"TALLYSHIP_{name.upper()}"
    for variable in (own, f"LLM_PROXY_LOKI_{setting.proxy_name}" if setting.proxy_name else own):
        if environ.get(variable):
            return environ[variable], variable
    for key in (_toml_name(name), name):
        if key in table:
            value = table[key]
            return (str(value).lower() if isinstance(value, bool) else str(value)), key
    return setting.default, f"default of {name}"


def _enabled(text: str, problems: list[str]) -> bool | None:
    if not text.strip():
        return None
    try:
        return _switch(text)
    except ValueError as error:
        problems.append(f"loki_enabled: {error}")
        return None


def _sources(  # noqa: C901, PLR0917 - called once; each kind of mistake is told on its own
    source_flags: tuple[str, ...],
    table: Mapping[str, Any],
    environ: Mapping[str, str],
    values: Mapping[str, Any],
    default_machine: str,
    problems: list[str],
) -> tuple[Source, ...]:
    wanted: list[tuple[str, str, str | None]] = []
    listed = (
        list(source_flags) or environ.get("TALLYSHIP_SOURCES", "").split() or list(table.get("sources", []))
    )
    for text in listed:
        kind, equals, path = str(text).partition("=")
        if not equals or not path:
            problems.append(f"source {text!r}: must be KIND=PATH")
        else:
            wanted.append((kind, path, None))
    if not listed:
        for entry in table.get("source", []):
            if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
                problems.append("[[source]]: needs kind and path")
            else:
                app = entry.get("app")
                wanted.append((str(entry.get("kind")), entry["path"], None if app is None else str(app)))
    if not wanted and not problems:
        wanted = [(kind, path, None) for kind, path in _found(environ)]
    machine = values["machine"] or default_machine
    made: dict[str, Source] = {}
    for kind, path, app in wanted:
        if kind not in KINDS:
            problems.append(f"source {kind}={path}: unknown kind, must be one of {', '.join(KINDS)}")
            continue
        try:
            absolute = str(pathlib.Path(path).expanduser().absolute())
            absolute.encode()
        except (RuntimeError, UnicodeEncodeError):
            # No home directory of that name; or bytes that positions cannot hold.
            problems.append(f"source {kind}={path!r}: not a path that can be followed")
            continue
        named = {"app": app} if app else {}
        source = KINDS[kind](absolute, values["environment"], machine, **named)
        made[source.name] = source
    if not made and not problems:
        problems.append(
            "nothing to ship: no --source, and neither $LOKI_DIR nor ./.loki nor ~/.llm-provider-logs exists"
        )
    return tuple(made.values())


def _found(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what is there without configuration."""
    candidates = [("loki-mode", environ.get("LOKI_DIR") or ".loki"), ("llm-proxy", "~/.llm-provider-logs")]
    return [
        (kind, glob.escape(str(path)))
        for kind, text in candidates
        for path in (pathlib.Path(text).expanduser().absolute(),)
        if path.is_dir()
    ]


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
