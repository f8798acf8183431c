"""Loki Mode's `.loki` directory: events, the agent audit log, and the tool usage log."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from shared.models import OTHER, event_kind, label_value
from shipper.sources.base import FileInfo, Key, Meta, Parsed, clean, level_name, salvage, times_of
from shipper.sources.decoding import decoded
from shipper.times import Times

FILES = {
    "events.jsonl": "",
    "logs/agent-audit.jsonl": "agent_audit",
    "metrics/tool-usage.jsonl": "tool_usage",
}
_TIME = re.compile(rb'"timestamp"\s*:\s*"([0-9T:.Z+ -]{19,40})"')
_META_FIELDS = ("session_id", "request_id", "iteration", "model")


class _Data(msgspec.Struct, gc=False):
    iteration: Any = None
    session_id: Any = None
    request_id: Any = None
    model: Any = None


class _Event(msgspec.Struct, gc=False):
    timestamp: Any = None
    type: Any = None
    event: Any = None
    level: Any = None
    iteration: Any = None
    session_id: Any = None
    request_id: Any = None
    model: Any = None
    data: _Data | str | int | float | bool | list[Any] | None = None


_ONE = msgspec.json.Decoder(_Event)
_TIMESTAMP = attrgetter("timestamp")
_TYPE_AND_LEVEL = attrgetter("type", "level")


class LokiMode:
    """`--source loki-mode=PATH`: PATH is a `.loki` directory or a glob of them."""

    kind = "loki-mode"
    caps: Mapping[str, int] = {}

    def __init__(self, path: str, environment: str, machine: str, *, app: str = "loki-mode") -> None:
        self.name = f"{self.kind}={path}"
        self.patterns = tuple(f"{path.rstrip('/')}/{name}" for name in FILES)
        self._fixed = (("app", app), ("environment", environment), ("machine", machine))
        self._times = Times()
        self._kinds: dict[tuple[object, object], Key] = {}
        self._keys: dict[tuple[str, str, str], Key] = {}
        self._metas: dict[Any, Meta | None] = {}

    def describe(self, path: str) -> FileInfo:
        """Return the project (the directory that holds `.loki`) and which of the three files it is."""
        parts = pathlib.PurePath(path).parts
        up = 2 if parts[-1] == "events.jsonl" else 3
        hint = FILES.get("/".join(parts[1 - up :]), "")
        project = label_value(parts[-up - 1] if len(parts) > up + 1 else "") or OTHER
        return FileInfo((*self._fixed, ("project", project)), hint=hint)

    def parse(self, lines: Sequence[bytes], info: FileInfo, context: str) -> Parsed:
        """Return times, event kinds and the metadata that v5 and v9 put into `data` or at the top."""
        events, malformed = decoded(_ONE, lines, _from, _salvaged)
        owns = times_of(map(_TIMESTAMP, events), self._times.value_ns)
        keys: list[Key]
        try:
            # A few C calls a line, where types and levels are known.
            keys = [] if info.hint else list(map(self._kinds.__getitem__, map(_TYPE_AND_LEVEL, events)))
        except (KeyError, TypeError):
            keys = []
        if not keys:
            hint = info.hint
            keys = [self._key(hint or event.type, event.event, event.level) for event in events]
        return Parsed(owns, keys, self._metas_of(events), context, malformed)

    def _metas_of(self, events: list[_Event]) -> list[Meta | None]:
        """Return the metadata; most lines have no more of it than an iteration, or nothing."""
        memo = self._metas
        metas: list[Meta | None] = []
        push = metas.append
        for event in events:
            data = event.data
            if event.session_id is not None or event.model is not None or event.request_id is not None:
                push(self._meta(event))
                continue
            iteration = event.iteration
            if type(data) is _Data:
                if data.session_id is not None or data.model is not None or data.request_id is not None:
                    push(self._meta(event))
                    continue
                if iteration is None:
                    iteration = data.iteration
            if iteration is None:
                push(None)
            elif type(iteration) is int and iteration in memo:
                push(memo[iteration])
            else:
                push(self._iteration(iteration))
        return metas

    def labels(self, info: FileInfo, key: Key) -> dict[str, str]:
        """Return the labels: kind, and level where the line names one."""
        labels = {**dict(info.labels), "log_type": key[0]}
        if len(key) > 1:
            labels["level"] = key[1]
        return labels

    def _key(self, type_: object, event: object, level: object) -> Key:
        try:
            return self._keys[type_, event, level]  # type: ignore[index]
        except (KeyError, TypeError):
            kind = str(type_) if type_ in ("agent_audit", "tool_usage") else event_kind(type_, event)
            known = level_name(level)
            key = (kind, known) if known else (kind,)
            if len(self._keys) < 1000 and all(x is None or isinstance(x, str) for x in (type_, event, level)):  # noqa: PLR2004 - a bound of the memo
                self._keys[type_, event, level] = key  # type: ignore[index]
                if type_ is not None:
                    self._kinds[type_, level] = key
            return key

    @staticmethod
    def _meta(event: _Event) -> Meta | None:
        inner = event.data if isinstance(event.data, _Data) else None
        meta: Meta = {}
        for name in _META_FIELDS:
            value = getattr(event, name)
            text = clean(getattr(inner, name) if value is None and inner is not None else value)
            if text is not None:
                meta[name] = text
        return meta or None

    def _iteration(self, iteration: object) -> Meta | None:
        if iteration is None:
            return None
        if type(iteration) is not int:
            text = clean(iteration)
            return {"iteration": text} if text else None
        try:
            return self._metas[iteration]
        except KeyError:
            if len(self._metas) > 10_000:  # noqa: PLR2004 - a bound of the memo
                self._metas.clear()
            meta: Meta = {"iteration": str(iteration)}
            self._metas[iteration] = meta
            return meta


def _from(found: dict[str, Any]) -> _Event:
    data = found.get("data")
    inner = _Data(**{name: data.get(name) for name in _META_FIELDS}) if isinstance(data, dict) else None
    top = {name: found.get(name) for name in (*_META_FIELDS, "timestamp", "type", "event", "level")}
    return _Event(**top, data=inner)


def _salvaged(line: bytes) -> _Event:
    return _Event(timestamp=salvage(line, _TIME))
