"""What a source makes of a line, and which rule made it: as text, for people who write rules. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from shared.models import OTHER
from shipper.sources.base import Meta, Parsed, Source, lenient
from shipper.sources.fields import Path, dotted
from shipper.sources.jsonl import Jsonl
from shipper.sources.rules import Rules, described
from shipper.times import rfc3339

_SHOWN_CHARS = 80


def explain(source: Source, path: str, lines: Sequence[bytes]) -> Iterator[str]:
    """Yield lines of text: the rules, then for each line its time, labels and metadata."""
    if isinstance(source, Jsonl):
        yield from described(source.rules)
    info = source.describe(path)
    parsed = source.parse(lines, info, "")
    for index, line in enumerate(lines):
        labels = source.labels(info, parsed.keys[index])
        yield _short(line.decode("utf-8", "replace"))
        if isinstance(source, Jsonl):
            found = _by_rules(source.rules, lenient(line), parsed, index, labels)
        else:
            found = _plain(parsed, index, labels)
        yield from (f"  {text}" for text in found)


def _plain(parsed: Parsed, index: int, labels: dict[str, str]) -> Iterator[str]:
    own = parsed.owns[index]
    yield "no time of its own: the time of reading" if own is None else f"time {rfc3339(own)}"
    yield from (f"label {name}: {value}" for name, value in labels.items())
    yield from (f"metadata {name}: {value}" for name, value in (parsed.metas[index] or {}).items())


def _by_rules(
    rules: Rules, found: dict[str, object] | None, parsed: Parsed, index: int, labels: dict[str, str]
) -> Iterator[str]:
    if found is None:
        yield "no JSON object: sent as it is; labels from fields, and metadata, are left out"
    yield _time(rules, found, parsed.owns[index])
    named = {"level": rules.level} if rules.level else {}
    paths = {rule.name: rule.path for rule in rules.labels} | named
    yield from (f"label {name}: {value}" for name, value in labels.items() if name not in paths)
    for name, path in paths.items():
        yield f"label {name}: {_label(_at(found, path), labels.get(name), path)}"
    meta: Meta = parsed.metas[index] or {}
    for name, path in rules.metadata:
        if name in meta:
            yield f"metadata {name}: {meta[name]}, from {dotted(path)}"


def _time(rules: Rules, found: dict[str, object] | None, own: int | None) -> str:
    seen = [(dotted(path), _at(found, path)) for path in rules.timestamps]
    there = ", ".join(f"{name} is {_json(value)}" for name, value in seen if value is not None)
    where = there or "none of the fields is there"
    if own is None:
        return f"no time of its own, so the time of reading: {where}"
    return f"time {rfc3339(own)}: {where}"


def _label(value: object, label: str | None, path: Path) -> str:
    if value is None:
        return f"none, {dotted(path)} is not there"
    seen = f"{dotted(path)} is {_json(value)}"
    if label is None:
        return f"none, {seen}"
    return f"{label}, {seen}, which is not in the list" if label == OTHER != value else f"{label}, {seen}"


def _at(found: object, path: Path) -> object:
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _json(value: object) -> str:
    return _short(json.dumps(value))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
