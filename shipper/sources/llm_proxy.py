"""llm-proxy's log tree: `{root}/{host}/{date}/{session}.jsonl`, one file a session."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shipper.sources.base import FileInfo, Key, Meta, Parsed, clean, label_text, salvage
from shipper.sources.decoding import decoded
from shipper.times import Times

LOG_TYPES = frozenset({"session_start", "request", "response", "fork"})
_PROVIDERS = frozenset({"anthropic", "openai", "chatgpt"})
_ANTHROPIC_HOSTS = ("anthropic.com", "bedrock-runtime.")
_OPENAI_PATHS = ("/v1/chat/", "/v1/completions", "/v1/responses", "/v1/threads/", "/backend-api/")
_TIME = re.compile(rb'"ts"\s*:\s*"([0-9T:.Z+ -]{19,40})"')


class _Meta(msgspec.Struct, gc=False):
    ts: Any = None
    machine: Any = None
    session: Any = None
    request_id: Any = None


class _Record(msgspec.Struct, gc=False):
    type: Any = None
    meta: _Meta | str | int | float | bool | list[Any] | None = msgspec.field(name="_meta", default=None)
    ts: Any = None
    provider: Any = None
    path: Any = None
    body: Any = None
    upstream: Any = None


class _Body(msgspec.Struct, gc=False):
    model: Any = None


_ONE = msgspec.json.Decoder(_Record)
_BODY = msgspec.json.Decoder(_Body)
_NO_META = _Meta()


class LlmProxy:
    """`--source llm-proxy=ROOT`."""

    kind = "llm-proxy"
    caps: Mapping[str, int] = {}

    def __init__(self, path: str, environment: str, machine: str, *, app: str = "llm-proxy") -> None:
        self.name = f"{self.kind}={path}"
        # First-days layout had no date directory; the two wildcards demand it, as upstream writes it now.
        self.patterns = (f"{path.rstrip('/')}/*/[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]/*.jsonl",)
        # The machine of lines that name none stands here, and not in the key: what is fixed travels with the
        # position, so another configuration moves no line that Loki may hold.
        self._fixed = (("app", app), ("environment", environment), ("machine", machine))
        self._times = Times()

    def describe(self, path: str) -> FileInfo:
        """Return the host as hint.

        And the session that the file's name gives for lines that do not say it.
        """
        parts = pathlib.PurePath(path)
        host = parts.parent.parent.name
        session = clean(parts.name.split(".", 1)[0])
        return FileInfo(self._fixed, {"session_id": session} if session else {}, host)

    def parse(self, lines: Sequence[bytes], info: FileInfo, context: str) -> Parsed:
        """Return times, `(provider, machine if the line names one, log_type)` and ids.

        `context` is the session_start's provider.
        """
        owns: list[int | None] = []
        keys: list[Key] = []
        metas: list[Meta | None] = []
        records, malformed = decoded(_ONE, lines, _from, _salvaged)
        memo: dict[tuple[object, object, str, object], Key] = {}
        value_ns = self._times.value_ns
        for record in records:
            inner = record.meta if isinstance(record.meta, _Meta) else _NO_META
            own = value_ns(inner.ts)
            owns.append(value_ns(record.ts) if own is None else own)
            kind, machine = record.type, inner.machine
            if kind == "session_start" and isinstance(record.provider, str):
                context = record.provider if record.provider in _PROVIDERS else context
            try:
                key = memo[kind, machine, context, record.path]
            except (KeyError, TypeError):
                key = self._key(memo, kind, machine, context, record.path, info.hint)
            keys.append(key)
            metas.append(_metadata(record, inner, info.meta))
        return Parsed(owns, keys, metas, context, malformed)

    @staticmethod
    def _key(  # noqa: PLR0917 - what a key is made of
        memo: dict[tuple[object, object, str, object], Key],
        kind: object,
        machine: object,
        context: str,
        path: object,
        host: str,
    ) -> Key:
        log_type = kind if isinstance(kind, str) and kind in LOG_TYPES else "unknown"
        key = (_provider(host, context, path), label_text(machine) or "", log_type)
        # Only texts: to Python, 1 equals true.
        if all(one is None or isinstance(one, str) for one in (kind, machine, path)):
            memo[kind, machine, context, path] = key
        return key

    def labels(self, info: FileInfo, key: Key) -> dict[str, str]:
        """Return the five labels of the specification."""
        provider, machine, log_type = key
        labels = {**dict(info.labels), "provider": provider, "log_type": log_type}
        if machine:
            labels["machine"] = machine
        return labels


def _provider(host: str, from_start: str, path: object) -> str:  # noqa: PLR0911 - each return is one outcome
    if host == "chatgpt.com":
        return "chatgpt"
    if from_start:
        return from_start
    if any(part in host for part in _ANTHROPIC_HOSTS):
        return "anthropic"
    if "openai" in host:
        return "openai"
    if isinstance(path, str):
        if path.startswith(("/v1/messages", "/model/")):
            return "anthropic"
        if path.startswith(_OPENAI_PATHS):
            return "openai"
    return "unknown"


def _metadata(record: _Record, inner: _Meta, of_file: Meta) -> Meta | None:
    meta = dict(of_file)
    session, request = clean(inner.session), clean(inner.request_id)
    if session:
        meta["session_id"] = session
    if request:
        meta["request_id"] = request
    model = _model(record)
    if model:
        meta["model"] = model
    return meta or None


def _model(record: _Record) -> str | None:
    if isinstance(record.path, str) and record.path.startswith("/model/"):
        return clean(record.path.split("/")[2])
    if not isinstance(record.body, str) or '"model"' not in record.body:
        return None
    try:
        return clean(_BODY.decode(record.body).model)
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
        return None


def _from(found: dict[str, Any]) -> _Record:
    meta = found.get("_meta")
    if isinstance(meta, dict):
        meta = _Meta(*(meta.get(name) for name in ("ts", "machine", "session", "request_id")))
    else:
        meta = None
    return _Record(*(found.get("type"), meta, *(found.get(n) for n in ("ts", "provider", "path", "body"))))


def _salvaged(line: bytes) -> _Record:
    return _Record(ts=salvage(line, _TIME))
