"""What a source must provide."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from shared.models import label_value

Meta = dict[str, str]
Key = tuple[str, ...]
"""The part of a line's labels that differs within a file."""

META_CHARS = 256
_APART = ("app", "environment", "project")
LEVELS = frozenset({"debug", "info", "warn", "warning", "error", "critical", "fatal"})
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SALVAGE_BYTES = 2048


class Parsed(NamedTuple):
    """What the lines of a chunk say; the three lists run in step with the lines."""

    owns: list[int | None]
    """Own time in ns; None: no usable one."""
    keys: list[Key]
    metas: list[Meta | None]
    context: str
    """What later lines of the file need to know of these; travels with the position."""
    malformed: int
    """How many are not JSON objects. They are shipped all the same."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What the path says of a file."""

    labels: tuple[tuple[str, str], ...]
    """Labels that all its lines have."""
    meta: Meta = field(default_factory=dict)
    """Structured metadata that all its lines have."""
    hint: str = ""
    """What the path says to the parser (a host, a kind)."""

    @property
    def group(self) -> tuple[str, ...]:
        """Files of one group can share streams, of whatever source they are: they are read in order of time.

        A label that only lines have keeps no two files apart.
        """
        return tuple(value for name, value in self.labels if name in _APART)


class Source(Protocol):
    """One `--source KIND=PATH`."""

    @property
    def kind(self) -> str:
        """`loki-mode`, `llm-proxy`, `coo-llm` or `jsonl`."""

    @property
    def name(self) -> str:
        """KIND=PATH as configured."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """Absolute globs of its files."""

    @property
    def caps(self) -> Mapping[str, int]:
        """How many values some of its labels may have, where its rules say so."""

    def describe(self, path: str) -> FileInfo:
        """Return what the path of a matching file says."""

    def parse(self, lines: Sequence[bytes], info: FileInfo, context: str) -> Parsed:
        """Return what the lines say. Never raises: a line that is not understood is one without time."""

    def labels(self, info: FileInfo, key: Key) -> dict[str, str]:
        """Return the labels of lines with this key, before caps."""


def caps_of(sources: Iterable[Source]) -> dict[str, int]:
    """Return the caps of labels; sources that share a label share its values, and the lower cap holds."""
    caps: dict[str, int] = {}
    for source in sources:
        for name, cap in source.caps.items():
            caps[name] = min(cap, caps.get(name, cap))
    return caps


def times_of(values: Iterable[object], time_of: Callable[[object], int | None]) -> list[int | None]:
    """Return the time of each value; a text that stands in many lines after each other is read once."""
    owns: list[int | None] = []
    push = owns.append
    nothing = before = object()
    own: int | None = None
    for value in values:
        if value != before:
            own = time_of(value)
            # A number is not remembered: to Python, 1 equals true, and one of them is a time.
            before = value if isinstance(value, str) else nothing
        push(own)
    return owns


def clean(value: object, limit_chars: int = META_CHARS) -> str | None:
    """Return a decoded JSON scalar as metadata text, or None: Loki takes text only, and no lone surrogate."""
    if isinstance(value, str):
        text = value if len(value) <= limit_chars else value[:limit_chars]
        return (text if text.isascii() else _SURROGATE.sub("\ufffd", text)) or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)[:limit_chars]
    return None


def label_text(value: object) -> str | None:
    """Return a decoded JSON value as a label's value, or None where it is no text."""
    return label_value(value) or None if isinstance(value, str) else None


def level_name(value: object) -> str:
    """Return a level in small letters, or nothing where it is no known one."""
    name = value.lower() if isinstance(value, str) else ""
    return name if name in LEVELS else ""


def lenient(line: bytes) -> dict[str, Any] | None:
    """Return the object of a line that the strict parser refused.

    Raw control characters, lone surrogates.
    """
    try:
        found = json.loads(line.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def salvage(line: bytes, pattern: re.Pattern[bytes]) -> str | None:
    """Return the time text of a line that is no JSON at all, as broken emitters write it near the start."""
    match = pattern.search(line, 0, _SALVAGE_BYTES)
    return match[1].decode("ascii", "replace") if match else None
