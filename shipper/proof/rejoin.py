"""Parts of one line among the letters: together they are the line, and can be cut by another limit. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from shipper.entries import parts
from shipper.entries.stamp import STEP_NS
from shipper.proof.assemble import Parts
from shipper.proof.loki_query import Entry
from shipper.proof.resend import Letter


def rejoined(letters: Iterable[Letter], limit_bytes: int) -> dict[Letter, list[Letter]]:
    """Return, for each part that is too long now, the new parts of its line; only of lines that are whole.

    The line keeps its name and its place in time.
    """
    lines: dict[tuple[object, ...], list[Letter]] = {}
    for letter in letters:
        if letter.meta and "line_id" in letter.meta:
            key = letter.meta["line_id"], letter.meta.get("parts"), tuple(sorted(letter.labels.items()))
            lines.setdefault(key, []).append(letter)
    found: dict[Letter, list[Letter]] = {}
    for pieces in lines.values():
        if all(len(letter.text.encode()) <= limit_bytes for letter in pieces):
            continue
        line = Parts()
        for letter in pieces:
            line.add(Entry(letter.stamp, letter.text, letter.labels, letter.meta or {}))
        if line.whole is not None:
            new = _parts("".join(line.whole), min(pieces, key=lambda letter: letter.stamp), limit_bytes)
            found |= dict.fromkeys(pieces, new)
    return found


def _parts(text: str, first: Letter, limit_bytes: int) -> list[Letter]:
    texts = parts.split(text.encode(), limit_bytes)
    meta = first.meta or {}
    metas = parts.metas(parts.without_part(meta), meta["line_id"], len(texts))
    return [
        Letter(first.labels, first.stamp + number * STEP_NS, piece, of)
        for number, (piece, of) in enumerate(zip(texts, metas, strict=True))
    ]
