"""The rules of a `jsonl` source: from a TOML table, with all that is wrong with it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.models import label_value
from shipper.sources.fields import Path, dotted, path_of
from shipper.sources.stamp_format import time_format

KEYS = ("timestamp", "timestamp_format", "level", "level_map", "labels", "static_labels", "metadata")
TIMESTAMPS: tuple[Path, ...] = (("timestamp",), ("ts",), ("time",), ("@timestamp",))
METADATA: tuple[tuple[str, Path], ...] = tuple(
    (name, (name,)) for name in ("session_id", "request_id", "iteration", "model")
)
LEVEL_WORDS = {
    **dict.fromkeys(("trace", "verbose", "debug"), "debug"),
    **dict.fromkeys(("info", "information", "notice"), "info"),
    **dict.fromkeys(("warn", "warning"), "warn"),
    **dict.fromkeys(("error", "err", "severe"), "error"),
    **dict.fromkeys(("critical", "crit", "alert"), "critical"),
    **dict.fromkeys(("fatal", "panic", "emerg", "emergency"), "fatal"),
}
MAX_LABELS = 11
"""Loki takes 15; app, environment, machine and one of restamped and backfill are ours."""
MAX_METADATA = 32
MAX_LISTED = 100
"""Allowed values, timestamps, mapped levels."""
DEFAULT_MAX_VALUES = 50
_OURS = frozenset({"app", "environment", "machine", "restamped", "backfill"})
_OUR_METADATA = frozenset({"filename", "original_timestamp", "line_id", "part", "parts"})
_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class LabelRule:
    """A label that a field of the line gives."""

    name: str
    path: Path
    allow: frozenset[str] | None = None
    """All other values become `other`."""
    max_values: int = DEFAULT_MAX_VALUES
    """Without a list: so many values are kept, the first that come."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is taken from a line, and what is made of it."""

    timestamps: tuple[Path, ...] = TIMESTAMPS
    timestamp_format: str = "auto"
    level: Path | None = None
    level_map: tuple[tuple[str, str], ...] = ()
    labels: tuple[LabelRule, ...] = ()
    static: tuple[tuple[str, str], ...] = ()
    metadata: tuple[tuple[str, Path], ...] = METADATA

    @property
    def caps(self) -> dict[str, int]:
        """How many values each label may have."""
        return {rule.name: rule.max_values for rule in self.labels if rule.allow is None}


NO_RULES = Rules()


def rules_of(table: Mapping[str, Any]) -> tuple[Rules, list[str]]:
    """Return the rules in a `[[source]]` table, and all that is wrong with them."""
    problems: list[str] = []
    rules = Rules(
        _timestamps(table.get("timestamp"), problems),
        _format(table.get("timestamp_format", "auto"), problems),
        _field("level", table["level"], problems) if "level" in table else None,
        _level_map(table.get("level_map", {}), problems),
        _labels(table.get("labels", {}), problems),
        _static(table.get("static_labels", {}), problems),
        _metadata(table["metadata"], problems) if "metadata" in table else METADATA,
    )
    if rules.level_map and rules.level is None:
        problems.append("level_map: needs level")
    names = [rule.name for rule in rules.labels] + [name for name, _ in rules.static]
    names += ["level"] if rules.level else []
    problems += [f"label {name}: named twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if len(names) > MAX_LABELS:
        problems.append(f"{len(names)} labels: {MAX_LABELS} at most")
    return rules, problems


def _timestamps(value: object, problems: list[str]) -> tuple[Path, ...]:
    if value is None:
        return TIMESTAMPS
    listed = value if isinstance(value, list) else [value]
    if not 0 < len(listed) <= MAX_LISTED:
        problems.append(f"timestamp: 1 to {MAX_LISTED} fields")
        return TIMESTAMPS
    paths = (_field("timestamp", one, problems) for one in listed)
    return tuple(path for path in paths if path)


def _format(value: object, problems: list[str]) -> str:
    try:
        if not isinstance(value, str):
            raise ValueError("must be text")  # noqa: TRY301 - told like the others
        time_format(value)
    except ValueError as error:
        problems.append(f"timestamp_format: {error}")
        return "auto"
    return value


def _field(where: str, value: object, problems: list[str]) -> Path | None:
    try:
        if not isinstance(value, str):
            raise ValueError(f"must name a field, not {value!r}")  # noqa: TRY301 - told like the others
        return path_of(value)
    except ValueError as error:
        problems.append(f"{where}: {error}")
        return None


def _table(where: str, value: object, problems: list[str]) -> dict[str, Any]:
    if isinstance(value, dict) and len(value) <= MAX_LISTED:
        return value
    problems.append(f"{where}: must be a table of at most {MAX_LISTED}")
    return {}


def _level_map(value: object, problems: list[str]) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for word, level in _table("level_map", value, problems).items():
        if not isinstance(level, str) or level.lower() not in LEVEL_WORDS.values():
            known = ", ".join(dict.fromkeys(LEVEL_WORDS.values()))
            problems.append(f"level_map: {word}: must become one of {known}")
        else:
            found.append((word.lower(), level.lower()))
    return tuple(found)


def _name(where: str, name: str, reserved: frozenset[str], problems: list[str]) -> bool:
    if name in reserved:
        problems.append(f"{where} {name}: the name is taken")
    elif not _NAME.fullmatch(name):
        problems.append(f"{where} {name!r}: must be letters, digits and _, not beginning with a digit or __")
    else:
        return True
    return False


def _labels(value: object, problems: list[str]) -> tuple[LabelRule, ...]:
    found: list[LabelRule] = []
    for name, given in _table("labels", value, problems).items():
        rule = _label(name, given if isinstance(given, dict) else {"field": given}, problems)
        if _name("label", name, _OURS, problems) and rule:
            found.append(rule)
    return tuple(found)


def _label(name: str, given: dict[str, Any], problems: list[str]) -> LabelRule | None:
    where = f"label {name}"
    problems += [f"{where}: unknown {key}" for key in given if key not in ("field", "allow", "max_values")]
    path = _field(where, given.get("field"), problems)
    allow, most = given.get("allow"), given.get("max_values", DEFAULT_MAX_VALUES)
    if allow is not None:
        texts = [label_value(one) for one in allow if isinstance(one, str)] if isinstance(allow, list) else []
        if not texts or not all(texts) or len(texts) != len(allow) or len(texts) > MAX_LISTED:
            problems.append(f"{where}: allow must be a list of 1 to {MAX_LISTED} texts")
        if "max_values" in given:
            problems.append(f"{where}: allow or max_values, not both")
        allow = frozenset(texts)
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= MAX_LISTED:
        problems.append(f"{where}: max_values must be 1 to {MAX_LISTED}")
        return None
    return LabelRule(name, path, allow, most) if path else None


def _static(value: object, problems: list[str]) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for name, text in _table("static_labels", value, problems).items():
        if not isinstance(text, str) or not label_value(text):
            problems.append(f"static label {name}: must be text")
        elif _name("static label", name, _OURS, problems):
            found.append((name, label_value(text)))
    return tuple(found)


def _metadata(value: object, problems: list[str]) -> tuple[tuple[str, Path], ...]:
    if isinstance(value, list):
        paths = [_field("metadata", one, problems) for one in value]
        named = {re.sub(r"[^a-zA-Z0-9_]", "_", "_".join(path)): path for path in paths if path}
        if len(named) < len(value) and None not in paths:
            problems.append("metadata: two fields have one name")
    else:
        table = _table("metadata", value, problems)
        fields = {name: _field(f"metadata {name}", one, problems) for name, one in table.items()}
        named = {name: path for name, path in fields.items() if path}
    if len(named) > MAX_METADATA:
        problems.append(f"metadata: {MAX_METADATA} fields at most")
    return tuple(
        (name, path) for name, path in named.items() if _name("metadata", name, _OUR_METADATA, problems)
    )


def described(rules: Rules) -> list[str]:
    """Return the rules as lines for people."""
    times = ", ".join(map(dotted, rules.timestamps))
    lines = [f"time from the first usable of {times} ({rules.timestamp_format})"]
    if rules.level:
        lines.append(f"level from {dotted(rules.level)}")
    for rule in rules.labels:
        bound = (
            f"one of {', '.join(sorted(rule.allow))}" if rule.allow else f"{rule.max_values} values at most"
        )
        lines.append(f"label {rule.name} from {dotted(rule.path)}: {bound}, else other")
    lines += [f"label {name} is always {value}" for name, value in rules.static]
    lines += [f"metadata {name} from {dotted(path)}" for name, path in rules.metadata]
    return lines
