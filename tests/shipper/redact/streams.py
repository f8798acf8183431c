"""Texts as a model streams them, a few letters at a time, in the events of each provider."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import planted

Event = dict[str, Any]
Make = Callable[[str], Event]


def _block(kind: str, field: str) -> Make:
    return lambda piece: {"type": "content_block_delta", "index": 1, "delta": {"type": kind, field: piece}}


def _chat(delta: Callable[[str], Any]) -> Make:
    return lambda piece: {
        "id": "chatcmpl-Q4boDLzyJyVto9RzzibUEjbXjvX4E",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta(piece), "finish_reason": None}],
        "obfuscation": "a6936df1",
    }


def _response(kind: str) -> Make:
    return lambda piece: {
        "type": f"response.{kind}.delta",
        "sequence_number": 4,
        "item_id": "msg_8baef7ad972469fa81c18ed1183495b44bc42b995ceef1",
        "output_index": 0,
        "delta": piece,
    }


def _call(index: int) -> Callable[[str], Any]:
    return lambda piece: {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


FORMS: dict[str, Make] = {
    "anthropic text": _block("text_delta", "text"),
    "anthropic thinking": _block("thinking_delta", "thinking"),
    "anthropic tool input": _block("input_json_delta", "partial_json"),
    "chat": _chat(lambda piece: {"content": piece}),
    "chat reasoning": _chat(lambda piece: {"reasoning_content": piece}),
    "chat tool call": _chat(_call(0)),
    "completions": lambda piece: {"choices": [{"text": piece, "index": 0, "logprobs": None}]},
    "responses text": _response("output_text"),
    "responses arguments": _response("function_call_arguments"),
    "responses reasoning": _response("reasoning_summary_text"),
    "bedrock converse": lambda piece: {"contentBlockIndex": 0, "delta": {"text": piece}},
    "bedrock tool input": lambda piece: {"contentBlockIndex": 0, "delta": {"toolUse": {"input": piece}}},
}
TOOLS = {"anthropic tool input", "chat tool call", "responses arguments", "bedrock tool input"}


def cut(text: str, chance: random.Random, longest: int = 12) -> list[str]:
    """Cut a text into pieces of one to twelve characters."""
    pieces = []
    while text:
        count = chance.randint(1, longest)
        pieces.append(text[:count])
        text = text[count:]
    return pieces


def record(events: list[Event], chance: random.Random | None = None) -> bytes:
    """Return the line of a response with these events, as llm-proxy writes it; some with spaces."""
    separators = (", ", ": ") if chance and chance.random() < 0.5 else (",", ":")
    raws = [f"data: {json.dumps(event, separators=separators)}\n" for event in events]
    chunks = [
        {"ts": "2026-11-21T01:43:46.671+01:00", "delta_ms": n, "raw": raw} for n, raw in enumerate(raws)
    ]
    return planted.line({**planted.RESPONSE, "chunks": chunks})


def events_of(line: bytes) -> list[Event]:
    """Return the events of a line: each `raw` must be JSON still."""
    return [json.loads(chunk["raw"].removeprefix("data: ")) for chunk in json.loads(line)["chunks"]]


def texts_of(value: Any) -> list[str]:
    """Return all texts in an event."""
    if isinstance(value, dict):
        return [text for inner in value.values() for text in texts_of(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in texts_of(inner)]
    return [value] if isinstance(value, str) else []


def said(form: str, line: bytes) -> str:
    """Return what the model said, its pieces joined."""
    marked = FORMS[form]("\ue000")
    path = _path(marked)
    found = []
    for event in events_of(line):
        at: Any = event
        for key in path:
            at = at[key]
        found.append(at)
    return "".join(found)


def forms_of(line: str) -> list[str]:
    """Return the forms that the events of a line have."""
    event = events_of(line.encode())[0]
    return [form for form, make in FORMS.items() if make("").keys() == event.keys() and _has(event, form)]


def _has(event: Any, form: str) -> bool:
    for key in _path(FORMS[form]("\ue000")):
        try:
            event = event[key]
        except (KeyError, IndexError):
            return False
    return isinstance(event, str)


def _path(value: Any) -> list[Any]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if inner == "\ue000":
            return [key]
        if path := _path(inner):
            return [key, *path]
    return []
