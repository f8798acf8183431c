"""A line that was split, put together again from the entries that Loki shows. Pure."""

from __future__ import annotations

from typing import NamedTuple

from shipper.proof.loki_query import Entry


class Lacking(NamedTuple):
    """What is missing of a line."""

    parts: int
    """How many there should be; 0: nothing of the line was found."""
    missing: list[int]


class Parts:
    """Takes entries in any order, from any stream, again and again."""

    def __init__(self) -> None:
        self._cuts: dict[int, dict[int, str]] = {}
        """By the number of parts (a line that was sent twice can be cut in two ways): the parts."""

    def add(self, entry: Entry) -> None:
        """Take an entry of the line."""
        part, parts = (_number(entry.meta.get(name)) for name in ("part", "parts"))
        if 0 < part <= parts:
            self._cuts.setdefault(parts, {}).setdefault(part, entry.line)

    @property
    def whole(self) -> list[str] | None:
        """The texts of all parts in order, once all are there."""
        for parts, found in self._cuts.items():
            if len(found) == parts:
                return [found[part] for part in range(1, parts + 1)]
        return None

    @property
    def lacking(self) -> Lacking:
        """What is missing of the cut of which least is."""
        if not self._cuts:
            return Lacking(0, [])
        parts, found = min(self._cuts.items(), key=lambda cut: cut[0] - len(cut[1]))
        return Lacking(parts, [part for part in range(1, parts + 1) if part not in found])


def ranges(numbers: list[int]) -> str:
    """Return ascending numbers as people write them: `3, 5-8`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0  # noqa: PLR2004 - a number of parts
