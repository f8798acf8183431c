"""COO-LLM's one log file: requests with their own time to the nanosecond, all else to the second."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shipper.sources.base import FileInfo, Key, Meta, Parsed, clean, label_text, level_name, salvage
from shipper.sources.decoding import decoded
from shipper.times import MAX_NS, Times

LOG_TYPES = frozenset({"request", "store_operation", "other"})
_TIME = re.compile(rb'"time"\s*:\s*"?(\d{10}(?!\d)|[0-9T:.,Z+ -]{19,40}(?="))')
_SECOND_NS = 10**9
_MINUTE_NS = 60 * _SECOND_NS
_REQUEST_ID_DIGITS = 19
"""Nanoseconds since 2001."""


class _Entry(msgspec.Struct, gc=False):
    provider: Any = None
    model: Any = None
    req_id: Any = None


class _Line(msgspec.Struct, gc=False):
    level: Any = None
    message: Any = None
    time: Any = None
    entry: _Entry | str | int | float | bool | list[Any] | None = None


_DECODER = msgspec.json.Decoder(_Line)
_NO_ENTRY = _Entry()


class CooLlm:
    """`--source coo-llm=FILE`. Rotation cuts the file in place: the program cannot reopen it."""

    kind = "coo-llm"
    caps: Mapping[str, int] = {}

    def __init__(self, path: str, environment: str, machine: str, *, app: str = "coo-llm") -> None:
        self.name = f"{self.kind}={path}"
        self.patterns = (path,)
        self._labels = (("app", app), ("environment", environment), ("machine", machine))
        self._times = Times()

    def describe(self, path: str) -> FileInfo:
        """Return the fixed labels; the path says nothing more."""
        _ = path
        return FileInfo(self._labels)

    def parse(self, lines: Sequence[bytes], info: FileInfo, context: str) -> Parsed:
        """Return times, `(log_type, level, provider)`, and a request's id and model.

        `context` is the latest time so far: a line whose time is known to the second only is not before
        those that precede it in that second, so the order of the file is kept.
        """
        _ = info
        found, malformed = decoded(_DECODER, lines, _from, _salvaged)
        latest = int(context) if context.isdigit() else 0
        owns: list[int | None] = []
        keys: list[Key] = []
        metas: list[Meta | None] = []
        for line in found:
            entry = line.entry if isinstance(line.entry, _Entry) and line.message == "request" else _NO_ENTRY
            own = _request_ns(entry.req_id) or self._times.value_ns(line.time)
            if own is not None:
                if own % _SECOND_NS == 0 and own < latest < own + _SECOND_NS:
                    own = latest
                # Requests are logged side by side: a line can be a little older than the one before it.
                latest = latest if own < latest < own + _MINUTE_NS else own
            owns.append(own)
            keys.append((_log_type(line.message), level_name(line.level), label_text(entry.provider) or ""))
            metas.append(None if entry is _NO_ENTRY else _metadata(entry))
        return Parsed(owns, keys, metas, str(latest) if latest else "", malformed)

    def labels(self, info: FileInfo, key: Key) -> dict[str, str]:
        """Return the labels: level and provider where the line names them."""
        log_type, level, provider = key
        labels = {**dict(info.labels), "log_type": log_type}
        if level:
            labels["level"] = level
        if provider:
            labels["provider"] = provider
        return labels


def _request_ns(request_id: object) -> int | None:
    """Return the time that is a request's id, or None where it is none."""
    if not isinstance(request_id, str) or len(request_id) != _REQUEST_ID_DIGITS:
        return None
    if not (request_id.isascii() and request_id.isdigit()):
        return None
    ns = int(request_id)
    return ns if 10**18 <= ns <= MAX_NS else None


def _log_type(message: object) -> str:
    if message == "request":
        return "request"
    if isinstance(message, str) and message.startswith("store operation"):
        return "store_operation"
    return "other"


def _metadata(entry: _Entry) -> Meta | None:
    request, model = clean(entry.req_id), clean(entry.model)
    meta: Meta = {}
    if request:
        meta["request_id"] = request
    if model:
        meta["model"] = model
    return meta or None


def _from(found: dict[str, Any]) -> _Line:
    entry = found.get("entry")
    inner = (
        _Entry(*(entry.get(name) for name in ("provider", "model", "req_id")))
        if isinstance(entry, dict)
        else None
    )
    return _Line(found.get("level"), found.get("message"), found.get("time"), inner)


def _salvaged(line: bytes) -> _Line:
    return _Line(time=salvage(line, _TIME))
