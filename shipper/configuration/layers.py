"""Where a setting's text comes from: flags over environment over TOML over defaults."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from shipper.configuration.settings import SETTINGS, UNDER_LOKI, Setting

_TABLES = ("loki", "source", "sources", "redact")
"""What is not a setting of one value."""


def toml(path: str | None, problems: list[str]) -> dict[str, Any]:
    """Return the file's settings under one level of names; what is wrong goes to `problems`."""
    if path is None:
        return {}
    import tomllib  # noqa: PLC0415 - most hosts have no file, and a parser is three milliseconds

    try:
        table = tomllib.loads(pathlib.Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"{path}: {error.strerror}")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path}: {error}")
        return {}
    flat = {name: value for name, value in table.items() if name not in _TABLES}
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
    rules = table.get("redact", [])
    if isinstance(rules, list):
        flat["redact_rules"] = rules
    else:
        flat["redact"] = rules  # the switch; masking with own rules and without any exclude each other
        flat["redact_rules"] = []
    if not isinstance(table.get("loki", {}), dict):
        problems.append(f"{path}: loki must be a table")
    return flat


def _toml_name(name: str) -> str:
    return f"loki_{name}" if name in UNDER_LOKI and name != "loki_url" else name


def chosen(
    name: str,
    setting: Setting,
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    table: Mapping[str, Any],
) -> tuple[str, str]:
    """Return the text of a setting, and what to call it in a message."""
    flag = flags.get(name)
    if flag is not None:
        return flag, f"--{name.replace('_', '-')}"
    own = f"TALLYSHIP_{name.upper()}"
    for variable in (own, f"LLM_PROXY_LOKI_{setting.proxy_name}" if setting.proxy_name else own):
        if environ.get(variable) or (setting.empty_counts and variable in environ):
            return environ[variable], variable
    for key in (_toml_name(name), name):
        if key in table:
            value = table[key]
            return (str(value).lower() if isinstance(value, bool) else str(value)), key
    return setting.default, f"default of {name}"
