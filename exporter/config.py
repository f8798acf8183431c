"""The exporter's configuration: flags over environment over file over defaults, parsed once.

All problems are found together and raised as one `ConfigError`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from exporter.logs import LogFormat
from exporter.pricing import PriceTable, PricingError, load_prices
from exporter.web.listen import Address, BadAddress, parse_address

DEFAULT_ADDRESS = Address("127.0.0.1", 57374)
DEFAULT_REGISTRY = "~/.loki/dashboard/projects.json"
_ENVIRONMENT_PREFIX = "TALLYSHIP_EXPORTER_"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})

Pids = Literal["auto", "visible", "hidden"]


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the exporter was told. Times in seconds.

    `is_enabled` False: an explicit `LOKI_METRICS_ENABLED=false`. `names`: project names by directory.
    """

    loki_dirs: tuple[str, ...] = ("./.loki",)
    registry: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    listen_address: Address = DEFAULT_ADDRESS
    telemetry_path: str = "/metrics"
    web_config_file: str | None = None
    cache_s: float = 2.0
    prices: PriceTable = field(default_factory=dict)
    state_max_age_s: float = 30.0
    keep_s: float = 60.0
    pids: Pids = "auto"
    log_format: LogFormat = "logfmt"
    is_enabled: bool = True


class ConfigError(ValueError):
    """The configuration cannot be used; `problems` has a sentence for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problems))


def load_config(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Config:
    """Return the configuration; raises `ConfigError` with every problem there is.

    `flags` by setting name (as in `SETTINGS`, and `config`), None or an empty tuple where not given.
    """
    problems: list[str] = []
    given: dict[str, Any] = {name: value for name, value in flags.items() if value not in (None, ())}
    path = given.pop("config", None) or environ.get(f"{_ENVIRONMENT_PREFIX}CONFIG")
    in_file = _read_file(Path(path).expanduser(), problems) if path else {}
    in_environment = _from_environment(environ)
    values: dict[str, Any] = {}
    for name, (field_name, parse) in SETTINGS.items():
        for origin, layer in (("--", given), ("environment ", in_environment), (f"{path}: ", in_file)):
            if name in layer:
                try:
                    values[field_name] = parse(layer[name])
                except ConfigError as several:
                    problems.extend(f"{origin}{_spelling(origin, name)}: {one}" for one in several.problems)
                except (ValueError, PricingError) as problem:
                    problems.append(f"{origin}{_spelling(origin, name)}: {problem}")
                break
    _apply_port(values, environ, given, problems)
    values["names"] = _names(in_file.get("projects", {}), problems)
    try:
        values["is_enabled"] = _boolean(environ.get("LOKI_METRICS_ENABLED") or "true")
    except ValueError as problem:
        problems.append(f"environment LOKI_METRICS_ENABLED: {problem}")
    if problems:
        raise ConfigError(problems)
    if values.get("registry") is not None and "loki_dirs" not in values:
        values["loki_dirs"] = ()
    return Config(**values)


def _spelling(origin: str, name: str) -> str:
    if origin == "--":
        return _FLAGS.get(name, name.replace("_", "-"))
    if origin == "environment ":
        return _ENVIRONMENT_NAMES.get(name, f"{_ENVIRONMENT_PREFIX}{name.upper()}")
    return name


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that environment variables give; an empty variable gives none."""
    found = {}
    for name in SETTINGS:
        text = environ.get(f"{_ENVIRONMENT_PREFIX}{name.upper()}") or environ.get(
            _ENVIRONMENT_NAMES.get(name, "")
        )
        if text:
            found[name] = text
    return found


def _apply_port(
    values: dict[str, Any], environ: Mapping[str, str], given: Mapping[str, Any], problems: list[str]
) -> None:
    """Let LOKI_METRICS_PORT change the port, the host stays; a whole address in a flag or variable wins."""
    text = environ.get("LOKI_METRICS_PORT")
    if not text or "listen_address" in given or environ.get(f"{_ENVIRONMENT_PREFIX}LISTEN_ADDRESS"):
        return
    host = values.get("listen_address", DEFAULT_ADDRESS).host
    address = parse_address(f"[{host}]:{text}" if ":" in host else f"{host}:{text}")
    if isinstance(address, BadAddress):
        problems.append(f"environment LOKI_METRICS_PORT: {text!r} is no port number")
    else:
        values["listen_address"] = address


def _read_file(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        whole = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        problems.append(f"configuration file {path}: {error.strerror}")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"configuration file {path}: {error}")
        return {}
    unknown = sorted(whole.keys() - SETTINGS.keys() - {"projects"})
    problems.extend(f"{path}: unknown setting {name!r}" for name in unknown)
    return whole


def _names(table: object, problems: list[str]) -> dict[str, str]:
    if not isinstance(table, dict) or not all(isinstance(v, str) and v.strip() for v in table.values()):
        problems.append('projects: must be a table of names by directory, as "/srv/shop/.loki" = "shop"')
        return {}
    return cast("dict[str, str]", table)


def _directories(value: object) -> tuple[str, ...]:
    directories = (value,) if isinstance(value, str) else value
    if not isinstance(directories, list | tuple) or not all(
        isinstance(directory, str) and directory.strip() for directory in directories
    ):
        raise ValueError("must be a directory, or a list of directories")
    if not directories:
        raise ValueError("must not be empty")
    return tuple(directories)


def _registry(value: object) -> str | None:
    if isinstance(value, bool):
        return DEFAULT_REGISTRY if value else None
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return DEFAULT_REGISTRY if _boolean(value) else None
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a file, or true for the default one")
    return value


def _address(value: object) -> Address:
    if not isinstance(value, str):
        raise ValueError("must be text, HOST:PORT")
    address = parse_address(value)
    if isinstance(address, BadAddress):
        raise ValueError(address.reason)
    return address


def _path(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or any(c in value for c in " ?#%"):
        raise ValueError(f"{value!r} is no path that begins with / and is free of blanks, ?, # and %")
    if value in _OTHER_PAGES:
        raise ValueError(f"{value!r} is a page of its own")
    return value


def _web_config(value: object) -> str:
    """Return the file's name if all that it names is good; it is loaded again when serving begins."""
    if not isinstance(value, str):
        raise ValueError("must be a file")
    from exporter.web.protection import WebConfigFile  # noqa: PLC0415 (nobody without such a file needs TLS)

    refused = WebConfigFile(value).load()
    if refused is not None:
        raise ConfigError(refused.problems)
    return value


def _seconds(value: object) -> float:
    try:
        seconds = float(value) if isinstance(value, int | float | str) else -1.0
    except ValueError:
        seconds = -1.0
    if isinstance(value, bool) or not 0 <= seconds <= _DAY_S:
        raise ValueError(f"{value!r} is no number of seconds from 0 to {_DAY_S}")
    return seconds


def _prices(value: object) -> PriceTable:
    if not isinstance(value, str):
        raise ValueError("must be a file")
    return load_prices(Path(value).expanduser())


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE | _FALSE:
        return word in _TRUE
    raise ValueError(f"{text!r} is neither true nor false")


def _choice(*choices: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in choices:
            raise ValueError(f"{value!r} is none of {', '.join(choices)}")
        return str(value)

    return parse


_OTHER_PAGES = frozenset({"/health", "/-/healthy", "/-/ready"})
_DAY_S = 86_400

SETTINGS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "loki_dir": ("loki_dirs", _directories),
    "registry": ("registry", _registry),
    "listen_address": ("listen_address", _address),
    "telemetry_path": ("telemetry_path", _path),
    "web_config_file": ("web_config_file", _web_config),
    "cache_seconds": ("cache_s", _seconds),
    "pricing": ("prices", _prices),
    "state_max_age_seconds": ("state_max_age_s", _seconds),
    "keep_seconds": ("keep_s", _seconds),
    "pids": ("pids", _choice("auto", "visible", "hidden")),
    "log_format": ("log_format", _choice("logfmt", "json")),
}
"""By name in the file: the field of `Config` and the parser, which raises `ValueError`."""

_ENVIRONMENT_NAMES = {"loki_dir": "LOKI_DIR", "telemetry_path": "LOKI_METRICS_PATH"}
_FLAGS = {
    "listen_address": "web.listen-address",
    "telemetry_path": "web.telemetry-path",
    "web_config_file": "web.config.file",
}
