"""The text of an HTML page, as gateways answer with. Pure, and linear in whatever is sent."""

from __future__ import annotations

import re

_BEGINS = re.compile(r"\s*<(!doctype|html|head|body|\?xml)\b", re.IGNORECASE)
_UNSEEN = re.compile(r"<(script|style)\b", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")


def is_html(text: str) -> bool:
    """Tell whether it is a page and not a sentence of Loki's."""
    return _BEGINS.match(text[:200].lstrip("\ufeff")) is not None


def without_tags(text: str) -> str:
    """Return what a reader of the page would see, roughly."""
    kept = []
    rest = text
    while (found := _UNSEEN.search(rest)) is not None:
        kept.append(rest[: found.start()])
        rest = rest[found.end() :].partition(f"</{found[1]}")[2].partition(">")[2]
    kept.append(rest)
    import html  # noqa: PLC0415 - two milliseconds of each start, for what hardly ever comes

    return html.unescape(_TAG.sub(" ", " ".join(kept)))
