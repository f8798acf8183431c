"""Loki Mode's `.loki` directory: events, the agent audit log, and the tool usage log."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shared.models import OTHER, event_kind, label_value
from shipper.sources.base import FileInfo, Key, Meta, Parsed, clean, level_name, salvage
from shipper.sources.decoding import decoded
from shipper.times import Seen, Times

FILES = {
    "events.jsonl": "",
    "logs/agent-audit.jsonl": "agent_audit",
    "metrics/tool-usage.jsonl": "tool_usage",
}
_TIME = re.compile(rb'"timestamp"\s*:\s*"([0-9T:.Z+ -]{19,40})"')
_META_FIELDS = ("session_id", "request_id", "iteration", "model")


class _Data(msgspec.Struct, gc=False, frozen=True):
    iteration: Any = None
    session_id: Any = None
    request_id: Any = None
    model: Any = None


_NO_DATA = _Data()


class _Event(msgspec.Struct, gc=False):
    timestamp: Any = None
    type: Any = None
    event: Any = None
    level: Any = None
    iteration: Any = None
    session_id: Any = None
    request_id: Any = None
    model: Any = None
    data: _Data | str | int | float | bool | list[Any] | None = _NO_DATA


_ONE = msgspec.json.Decoder(_Event)
_REMEMBERED = 10_000


class LokiMode:
    """`--source loki-mode=PATH`: PATH is a `.loki` directory or a glob of them."""

    kind = "loki-mode"
    caps: Mapping[str, int] = {}

    def __init__(self, path: str, environment: str, machine: str, *, app: str = "loki-mode") -> None:
        self.name = f"{self.kind}={path}"
        self.patterns = tuple(f"{path.rstrip('/')}/{name}" for name in FILES)
        self._fixed = (("app", app), ("environment", environment), ("machine", machine))
        self._times = Times()
        self._kinds: dict[object, dict[object, Key]] = {}
        self._keys: dict[tuple[str, str, str], Key] = {}
        self._seen = Seen(self._times.value_ns)
        self._iterations = _Iterations()

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
        return Parsed(
            self._owns_of(events),
            self._keys_of(events, info.hint),
            self._metas_of(events),
            context,
            malformed,
        )

    def _owns_of(self, events: list[_Event]) -> list[int | None]:
        seen = self._seen
        try:
            # The times are of whole seconds, as v5.46 writes them: most lines share theirs.
            return [seen[event.timestamp] for event in events]
        except TypeError:
            return [self._times.value_ns(event.timestamp) for event in events]

    def _keys_of(self, events: list[_Event], hint: str) -> list[Key]:
        kinds = self._kinds
        try:
            # Two look-ups a line, where types and levels are known.
            return [kinds[hint or event.type][event.level] for event in events]
        except (KeyError, TypeError):
            return [self._key(hint or event.type, event.event, event.level) for event in events]

    def _metas_of(self, events: list[_Event]) -> list[Meta | None]:
        """Return the metadata; most lines have no more of it than an iteration in `data`, or nothing."""
        memo = self._iterations
        return [
            memo[iteration]
            if event.session_id is None
            and event.model is None
            and event.request_id is None
            and event.iteration is None
            and type(data := event.data) is _Data
            and data.session_id is None
            and data.model is None
            and data.request_id is None
            # To a dict, 1 equals true and 1.0.
            and ((iteration := data.iteration) is None or type(iteration) is int)
            else self._meta(event)
            for event in events
        ]

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
                    self._kinds.setdefault(type_, {})[level] = key
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


class _Iterations(dict[int | None, Meta | None]):
    """The metadata of a line that has an iteration or not, and nothing else; made once for each."""

    def __missing__(self, iteration: int | None) -> Meta | None:
        text = clean(iteration)
        meta = None if text is None else {"iteration": text}
        if len(self) >= _REMEMBERED:
            self.clear()
        self[iteration] = meta
        return meta


def _from(found: dict[str, Any]) -> _Event:
    data = found.get("data")
    inner = _Data(**{name: data.get(name) for name in _META_FIELDS}) if isinstance(data, dict) else None
    top = {name: found.get(name) for name in (*_META_FIELDS, "timestamp", "type", "event", "level")}
    return _Event(**top, data=inner)


def _salvaged(line: bytes) -> _Event:
    return _Event(timestamp=salvage(line, _TIME))
