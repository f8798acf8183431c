"""A split line, whole again."""

from __future__ import annotations

import random

from shipper.proof.assemble import Lacking, Parts, ranges
from shipper.proof.loki_query import Entry


def entry(part: int, parts: int, text: str) -> Entry:
    """Return an entry as Loki shows it."""
    return Entry(part, text, {"app": "x"}, {"line_id": "ab", "part": str(part), "parts": str(parts)})


def test_parts_in_any_order_and_more_than_once_make_the_line() -> None:
    """Twelve parts, each twice, shuffled."""
    entries = [entry(n, 12, f"<{n}>") for n in range(1, 13)] * 2
    random.Random(7).shuffle(entries)
    parts = Parts()
    for one in entries:
        parts.add(one)

    assert parts.whole == [f"<{n}>" for n in range(1, 13)]


def test_a_missing_part_is_named_and_nothing_is_made_up() -> None:
    """Part 2 and 4 to 6 of seven."""
    parts = Parts()
    for n in (1, 3, 7):
        parts.add(entry(n, 7, "x"))

    assert parts.whole is None
    assert parts.lacking == Lacking(7, [2, 4, 5, 6])
    assert ranges(parts.lacking.missing) == "2, 4-6"


def test_parts_of_two_cuts_are_not_mixed() -> None:
    """The line was begun in two parts, and sent in three after a lower limit was learnt."""
    parts = Parts()
    for one in (entry(1, 2, "ab"), entry(1, 3, "a"), entry(2, 3, "b"), entry(3, 3, "c")):
        parts.add(one)

    assert parts.whole == ["a", "b", "c"]


def test_metadata_that_is_no_number_is_nobodys_part() -> None:
    """Another writer may use the same names."""
    parts = Parts()
    parts.add(Entry(1, "x", {}, {"line_id": "ab", "part": "one", "parts": "-1"}))
    parts.add(Entry(1, "x", {}, {"line_id": "ab", "part": "3", "parts": "2"}))

    assert parts.lacking == Lacking(0, [])
