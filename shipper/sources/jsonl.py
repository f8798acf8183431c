"""Any JSON lines: time from the first usable of the usual fields, the file's path as metadata."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from shipper.sources.base import FileInfo, Key, Meta, Parsed, clean, lenient, salvage
from shipper.times import Times

_TIME = re.compile(rb'"(?:timestamp|ts|time|@timestamp)"\s*:\s*"([0-9T:.Z+ -]{19,40})"')
_META_FIELDS = ("session_id", "request_id", "iteration", "model")


class _Line(msgspec.Struct, gc=False):
    timestamp: Any = None
    ts: Any = None
    time: Any = None
    at_timestamp: Any = msgspec.field(name="@timestamp", default=None)
    session_id: Any = None
    request_id: Any = None
    iteration: Any = None
    model: Any = None


_ONE = msgspec.json.Decoder(_Line)


class Jsonl:
    """`--source jsonl=GLOB`. Rules for more labels are a later issue's; the key is their room."""

    kind = "jsonl"

    def __init__(self, path: str, environment: str, machine: str, *, app: str = "jsonl") -> None:
        self.name = f"{self.kind}={path}"
        self.patterns = (path,)
        self._labels = (("app", app), ("environment", environment), ("machine", machine))
        self._times = Times()

    def describe(self, path: str) -> FileInfo:
        """Return the fixed labels and the path as metadata."""
        return FileInfo(self._labels, self.name, {"filename": clean(path, 1024) or ""})

    def parse(self, lines: Sequence[bytes], info: FileInfo, context: str) -> Parsed:
        """Return the time of `timestamp`, `ts`, `time` or `@timestamp`, RFC 3339 or epoch."""
        owns: list[int | None] = []
        metas: list[Meta | None] = []
        malformed = 0
        for line in lines:
            try:
                found = _ONE.decode(line)
            except (msgspec.MsgspecError, RecursionError):
                loose = lenient(line)
                malformed += loose is None
                found = _from(loose) if loose is not None else _Line(timestamp=salvage(line, _TIME))
            own = self._times.value_ns(found.timestamp)
            if own is None:
                others = map(self._times.value_ns, (found.ts, found.time, found.at_timestamp))
                own = next((ns for ns in others if ns is not None), None)
            owns.append(own)
            metas.append(_metadata(found, info.meta))
        key: Key = ()
        return Parsed(owns, [key] * len(lines), metas, context, malformed)

    def labels(self, info: FileInfo, key: Key) -> dict[str, str]:
        """Return `app`, `environment`, `machine`."""
        _ = key
        return dict(info.labels)


def _metadata(found: _Line, of_file: Meta) -> Meta:
    if (
        found.session_id is None
        and found.request_id is None
        and found.iteration is None
        and found.model is None
    ):
        return of_file
    meta = dict(of_file)
    for name in _META_FIELDS:
        text = clean(getattr(found, name))
        if text:
            meta[name] = text
    return meta


def _from(found: dict[str, Any]) -> _Line:
    values = {name: found.get(name) for name in ("timestamp", "ts", "time", *_META_FIELDS)}
    return _Line(**values, at_timestamp=found.get("@timestamp"))
