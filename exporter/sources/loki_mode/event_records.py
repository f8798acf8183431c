"""Decodes records of `events.jsonl`: pure, bytes in, records out, None for what is no record.

Speed: msgspec decodes a whole block of lines in one call, times included (0.2 us a line of 281 bytes, 0.4 us
line by line). A block that is not plainly one usual object a line is left to `decode_line`, which alone
decides what is rejected.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, cast

import msgspec

from exporter.files.jsonvalue import TornJsonError, as_time, parse_json
from shared.models import EVENT_KINDS


class Data(msgspec.Struct, gc=False):
    """The fields of `data` that count; loosely typed, because emitters quote as they please."""

    iteration: Any = None
    status: Any = None
    approve: Any = None
    reject: Any = None


class Record(msgspec.Struct, gc=False):
    """The fields of a record that count; all others are passed over by the decoder.

    The time is always of a zone, so that two of them can be compared.
    """

    type: str | None = None
    event: str | None = None
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    data: Data | str | None = None


_DECODER = msgspec.json.Decoder(Record)
_OF_NAMED_KINDS: msgspec.json.Decoder[Record] = msgspec.json.Decoder(
    msgspec.defstruct(
        "_RecordOfNamedKind",
        [("type", cast("Any", Literal)[tuple(sorted(EVENT_KINDS))] | None, None)],
        bases=(Record,),
        gc=False,
    )
)
"""Fails at the first kind without a name, but makes no new text of each: they are compared by identity."""
_TOLERATED = (b"NaN", b"Infinity", b"\\u")
"""What the tolerant reader takes beyond the fast one: numbers that are none, and lone surrogates."""


def decode_block(block: bytes) -> list[Record] | None:
    """Return the records of a block whose every line looks like an object, when there is one a line.

    Nothing in JSON lets `}` be followed by a line break and `{`, so every such place is between two records;
    with as many of them as records have gaps, and no other line break, there is one record on each line.
    """
    if not block.startswith(b'{"') or not block.endswith(b"}\n"):
        return None
    records = _decode_with(_OF_NAMED_KINDS, block) or _decode_with(_DECODER, block)
    if records is None:
        return None
    gaps = len(records) - 1
    # A long needle is searched several times faster than a short one, and nearly every line begins with it.
    if block.count(b'}\n{"timestamp"') != gaps and block.count(b'}\n{"') != gaps:
        return None
    # To blot out so many line breaks and look for the next takes a third of counting all.
    return records if block.replace(b"\n", b" ", gaps).find(b"\n") == len(block) - 1 else None


def _decode_with(decoder: msgspec.json.Decoder[Record], block: bytes) -> list[Record] | None:
    try:
        return decoder.decode_lines(block)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def decode_line(text: bytes) -> Record | None:
    """Return the record on one line, however oddly typed, or None if it is no JSON object."""
    if text[:1] != b"{" or text[-1:] != b"}":
        return None  # without the price of two exceptions: somebody may fill the log with such lines
    try:
        return _DECODER.decode(text)
    except (msgspec.ValidationError, UnicodeDecodeError):
        pass  # not of the usual types, or of odd bytes: the tolerant reader decides
    except (msgspec.MsgspecError, RecursionError):
        if text.isascii() and not any(mark in text for mark in _TOLERATED):
            return None
    try:
        value = parse_json(text)
    except TornJsonError:
        return None
    if not isinstance(value, dict):
        return None
    data = value.get("data")
    return Record(
        type=_text(value.get("type"), present="type" in value),
        event=_text(value.get("event"), present=False),
        timestamp=_moment(value.get("timestamp")),
        data=Data(*map(data.get, Data.__struct_fields__)) if isinstance(data, dict) else None,
    )


def _text(value: Any, *, present: bool) -> str | None:
    """Return text; something else that is present becomes a name that no vocabulary has."""
    if isinstance(value, str):
        return value
    return "" if present else None


def _moment(value: Any) -> datetime | None:
    """Return the time that a record tells, in whatever form `as_time` knows."""
    epoch_s = as_time(value)
    try:
        return None if epoch_s is None else datetime.fromtimestamp(epoch_s, UTC)
    except (ValueError, OverflowError):
        return None  # within a day of the years 1 or 9999
