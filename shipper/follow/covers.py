"""Which source covers a path, or the record of a file that may have been renamed since."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from shipper.follow.tree import Pattern, is_below, pattern
from shipper.keeping.positions import GENERATIONS
from shipper.keeping.record import FileRecord
from shipper.sources.base import Source

_STATE_FILES = (*GENERATIONS, "dead-letters.jsonl")


class Covered(NamedTuple):
    """One pattern of one source."""

    source: Source
    pattern: Pattern


class Covers:
    """All patterns. Nothing below the state directory is covered: each save would be news to ship."""

    def __init__(self, sources: Iterable[Source], state_dir: pathlib.Path | None) -> None:
        self.state_dir = None if state_dir is None else os.path.realpath(state_dir)
        self._all: list[Covered] = []
        self.set(sources)

    def set(self, sources: Iterable[Source]) -> None:
        """Take other sources."""
        self._all = [Covered(source, pattern(text)) for source in sources for text in source.patterns]

    def __iter__(self) -> Iterator[Covered]:
        """Go through all patterns, source by source."""
        return iter(self._all)

    def of(self, path: str) -> Covered | None:
        """Return the first pattern that covers a path."""
        if is_below(path, self.state_dir):
            return None
        return next((covered for covered in self._all if covered.pattern.matches(path)), None)

    def of_kind(self, name: str, path: str) -> list[Covered]:
        """Return the patterns that cover a path, of sources of the same kind as the one of this name."""
        kind = name.partition("=")[0]
        return [c for c in self._all if c.source.kind == kind and c.pattern.matches(path)]

    def of_record(self, record: FileRecord) -> list[Covered]:
        """Return the patterns of the record's kind that cover its path, best first.

        For a file that was renamed: its first path, or its directory.
        """
        if is_below(record.path, self.state_dir):
            return []
        kind = record.source.partition("=")[0]
        covers = [covered for covered in self._all if covered.source.kind == kind]
        found = [c for c in covers if c.pattern.matches(record.path)]
        if not found and record.origin:
            directory = os.path.dirname(record.path)  # noqa: PTH120 - paths are plain text here
            found = [c for c in covers if c.pattern.matches(record.origin)] or [
                c for c in covers if c.pattern.has_directory(directory)
            ]
        named = [c for c in covers if c.source.name == record.source]
        return sorted(found, key=lambda c: c.source.name != record.source) or named

    def over_state_dir(self) -> Iterator[str]:
        """Return the names of sources that would cover what the shipper itself writes."""
        for covered in self._all:
            if any(covered.pattern.matches(f"{self.state_dir}/{name}") for name in _STATE_FILES):
                yield covered.source.name
