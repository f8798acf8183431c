"""Any JSON lines: time, labels and metadata by rules; without rules the usual fields, and three labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shared.models import OTHER, label_value
from shipper.sources.base import FileInfo, Key, Meta, Parsed, clean, salvage, times_of
from shipper.sources.decoding import decoded
from shipper.sources.fields import Fields
from shipper.sources.rules import LEVEL_WORDS, NO_RULES, LabelRule, Rules
from shipper.sources.stamp_format import time_format

_MEMO_LIMIT = 1000
_MEMO_CHARS = 256
_INT_LIMIT = 2**63


class Jsonl:
    """`--source jsonl=GLOB`."""

    kind = "jsonl"

    def __init__(
        self, path: str, environment: str, machine: str, *, app: str = "jsonl", rules: Rules = NO_RULES
    ) -> None:
        self.name = f"{self.kind}={path}"
        self.patterns = (path,)
        self.rules = rules
        self.caps: Mapping[str, int] = rules.caps
        self._labels = (("app", app), ("environment", environment), ("machine", machine), *rules.static)
        level = [rules.level] if rules.level else []
        labels = [rule.path for rule in rules.labels]
        metadata = [path for _, path in rules.metadata]
        self._fields = fields = Fields([*rules.timestamps, *level, *labels, *metadata])
        self._time_of = time_format(rules.timestamp_format)
        self._timestamps = [fields.getter(path) for path in rules.timestamps]
        self._values = [Values(rule) for rule in rules.labels]
        self._getters = [fields.getter(path) for path in labels]
        if rules.level:
            self._values.append(Values(LEVEL, dict(rules.level_map)))
            self._getters.append(fields.getter(rules.level))
        self._names = [rule.name for rule in rules.labels] + ["level"] * len(level)
        self._meta_names = [name for name, _ in rules.metadata]
        self._meta_row = fields.row(metadata)
        keys = b"|".join({re.escape(path[-1]).encode() for path in rules.timestamps})
        self._broken_time = re.compile(
            rb'"(?:' + keys + rb')"\s*:\s*"?(\d{10,19}(?:\.\d{1,9})?(?![0-9.:-])|[0-9T:.,Z+ -]{19,40}(?="))'
        )

    def describe(self, path: str) -> FileInfo:
        """Return the fixed labels and the path as metadata."""
        return FileInfo(self._labels, {"filename": clean(path, 1024) or ""})

    def parse(self, lines: Sequence[bytes], info: FileInfo, context: str) -> Parsed:
        """Return the first usable time, the values of labels, and the metadata that the rules name."""
        records, malformed = decoded(self._fields.decoder, lines, self._fields.record, self._salvaged)
        return Parsed(
            self._owns(records), self._keys(records), self._metas(records, info), context, malformed
        )

    def labels(self, info: FileInfo, key: Key) -> dict[str, str]:
        """Return the fixed labels, and those that the line has."""
        own = {name: value for name, value in zip(self._names, key, strict=True) if value}
        return {**dict(info.labels), **own}

    def _owns(self, records: list[msgspec.Struct]) -> list[int | None]:
        first, *others = self._timestamps
        time_of = self._time_of
        owns = times_of(map(first, records), time_of)
        if others and None in owns:
            for index, own in enumerate(owns):
                if own is None:
                    found = (time_of(other(records[index])) for other in others)
                    owns[index] = next((ns for ns in found if ns is not None), None)
        return owns

    def _keys(self, records: list[msgspec.Struct]) -> list[Key]:
        if not self._values:
            return [()] * len(records)
        columns = [
            map(values.text, map(get, records))
            for values, get in zip(self._values, self._getters, strict=True)
        ]
        return list(zip(*columns, strict=True))

    def _metas(self, records: list[msgspec.Struct], info: FileInfo) -> list[Meta | None]:
        nothing = (None,) * len(self._meta_names)
        rows = list(map(self._meta_row, records))
        metas: list[Meta | None] = [info.meta] * len(records)
        if rows.count(nothing) == len(rows):
            return metas
        for index, row in enumerate(rows):
            if row != nothing:
                texts = zip(self._meta_names, map(clean, row), strict=True)
                metas[index] = {**info.meta, **{name: text for name, text in texts if text}}
        return metas

    def _salvaged(self, line: bytes) -> msgspec.Struct:
        text = salvage(line, self._broken_time)
        found: Any = text
        for key in reversed(self.rules.timestamps[0]):
            found = {key: found}
        return self._fields.record(found) if text else self._fields.empty


LEVEL = LabelRule("level", ())


class Values:
    """The values of one label: cleaned and bounded; remembers texts seen lately."""

    __slots__ = ("_level_map", "_memo", "_rule")

    def __init__(self, rule: LabelRule, level_map: dict[str, str] | None = None) -> None:
        self._rule = rule
        self._level_map = level_map
        self._memo: dict[str, str] = {}

    def text(self, value: object) -> str:
        """Return the label's value, or nothing where the line has none."""
        if not isinstance(value, str):
            return "" if value is None else self._made(_scalar(value))
        found = self._memo.get(value)
        if found is None:
            found = self._made(value)
            if len(value) <= _MEMO_CHARS:
                if len(self._memo) >= _MEMO_LIMIT:
                    self._memo.clear()
                self._memo[value] = found
        return found

    def _made(self, text: str) -> str:
        if self._level_map is not None:
            word = text.strip().lower()
            return self._level_map.get(word) or LEVEL_WORDS.get(word, "")
        value = label_value(text)
        allow = self._rule.allow
        return value if not value or allow is None or value in allow else OTHER


def _scalar(value: object) -> str:
    """Return a switch or a whole number as text; fractions are no label."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) and -_INT_LIMIT <= value < _INT_LIMIT else ""
