"""The search for projects as a source of its own: the registry's health, and how many were found."""

from __future__ import annotations

import os
from collections.abc import Sequence

from exporter.files.document import Document, Reading, Standing
from exporter.files.tree import Reason, Refused, Tree
from exporter.source import Family, Kind, Labels, Row, SourceReading
from exporter.sources.loki_mode.discovery import MAX_PROJECTS, Found, parse_registry

REGISTRY_LIMIT_BYTES = 4 << 20

PROJECTS = Family("tallyship_exporter_projects", Kind.GAUGE, "Projects that were found and are read.")
LEFT_OUT = Family(
    "tallyship_exporter_projects_left_out", Kind.GAUGE, "Projects found beyond the limit of 200."
)


class ProjectSearch:
    """Reads the registry, where one is wanted (`registry`, a path), and tells how the last search went.

    A torn registry keeps its last good list for `keep_s` seconds.
    """

    name = "loki-mode-search"
    labels: Labels = {}  # noqa: RUF012 (never changed)
    families: Sequence[Family] = (PROJECTS, LEFT_OUT)

    def __init__(self, registry: str | None, *, keep_s: float) -> None:
        self.found = Found((), 0)
        self._registry = None if registry is None else os.path.expanduser(registry)  # noqa: PTH111 (may be absurd)
        self._document = Document(
            os.path.basename(self._registry or ""),  # noqa: PTH119 (as above)
            parse_registry,
            keep_s=keep_s,
            limit_bytes=REGISTRY_LIMIT_BYTES,
        )
        self._reading: Reading[Sequence[str]] | None = None
        self._registered: Sequence[str] = ()
        self._problems: list[Refused] = []
        self._is_missing_told = False
        self._is_limit_told = False

    def registered(self, now_s: float) -> Sequence[str]:
        """Return the paths of the registered projects, as the registry stands now."""
        if self._registry is None:
            return ()
        with Tree(os.path.dirname(self._registry) or ".") as tree:  # noqa: PTH120 (as above)
            self._reading = self._document.read(tree, now_s)
        if self._reading.problem is not None:
            self._problems.append(self._reading.problem)
        if self._reading.standing is not Standing.BROKEN:
            self._registered = self._reading.value or ()
        return self._registered  # a registry that stays broken takes no project away

    def read(self, now_s: float) -> SourceReading:  # noqa: ARG002 (a source's form; the search was just made)
        """Return what the last search found; down without any project or registry."""
        problems, self._problems = self._problems, []
        reading = self._reading
        down_reason = None
        if reading is not None and reading.standing in {Standing.MISSING, Standing.BROKEN}:
            down_reason = f"{self._registry}: no registry could be read"
            if reading.standing is Standing.MISSING and not self._is_missing_told:
                problems.append(Refused(Reason.MISSING, down_reason))
        if down_reason is None and not self.found.directories:
            down_reason = "no project found"
        self._is_missing_told = reading is not None and reading.standing is Standing.MISSING
        return SourceReading(
            rows=(
                Row(PROJECTS, {}, len(self.found.directories)),
                Row(LEFT_OUT, {}, self.found.left_out),
            ),
            is_up=down_reason is None,
            down_reason=down_reason,
            mtimes_s=self._mtimes(),
            problems=problems,
            warnings=self._warnings(),
        )

    def catch_up(self) -> int:
        """Return 0: there is no history here."""
        return 0

    def close(self) -> None:
        """Nothing is kept open."""

    def _mtimes(self) -> dict[str, float]:
        reading = self._reading
        if reading is None or reading.standing is not Standing.GOOD or reading.mtime_s is None:
            return {}
        return {"projects.json": reading.mtime_s}

    def _warnings(self) -> tuple[str, ...]:
        is_new = self.found.left_out > 0 and not self._is_limit_told
        self._is_limit_told = self.found.left_out > 0
        return (f"more than {MAX_PROJECTS} projects; the others are left out",) if is_new else ()
