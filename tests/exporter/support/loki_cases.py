"""The recorded `.loki/` directories under tests/fixtures/loki-mode, each with the moment it was recorded."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.collector import SourceCollector
from exporter.sources.loki_mode import Settings, single_project

FIXTURES = Path(__file__).parents[2] / "fixtures" / "loki-mode"

PID_WRITTEN = {
    "bootstrapping": "2026-11-21T00:41:29Z",
    "crashed-stale-pid": "2026-11-21T00:57:20Z",
    "demo-mode": "2026-11-21T01:04:58Z",
    "long-run": "2026-11-21T00:59:43Z",
    "no-cost-records": "2026-11-21T00:58:59Z",
    "paused": "2026-11-21T00:41:29Z",
    "running": "2026-11-21T00:41:29Z",
    "torn-state": "2026-11-21T00:41:29Z",
    "truncated-files": "2026-11-21T00:41:29Z",
}
"""When each `loki.pid` was written: a second after the init, some seconds before `session_start`. The
recordings do not keep it (nor does git keep mtimes), and it decides what belongs to this session."""

REST_WRITTEN_BEFORE_S = 1.0
"""All other files get this age: what a monitor loop that turns every two seconds leaves behind."""

_VARIES = re.compile(r'(tallyship_exporter_build_info\{python=")[^"]*(",version=")[^"]*("\} 1\.0)')


def normalised(text: str) -> str:
    """Return the page without what differs between machines: the versions in `build_info`, nothing else.

    Durations do not vary here because the tests' monotonic clock stands still, mtimes because tests set them.
    """
    return _VARIES.sub(r"\g<1>PYTHON\g<2>VERSION\g<3>", text)


@dataclass(frozen=True)
class Case:
    """One recorded directory and what is known of it."""

    name: str

    @property
    def folder(self) -> Path:
        """Where the case lies."""
        return FIXTURES / self.name

    @property
    def golden(self) -> Path:
        """The exposition that is expected."""
        return FIXTURES / f"{self.name}.prom"

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The case's `case.json`."""
        spec: dict[str, Any] = json.loads((self.folder / "case.json").read_text("utf-8"))
        return spec

    @property
    def facts(self) -> dict[str, Any]:
        """Counts that an independent script took from the files."""
        facts: dict[str, Any] = self.spec["facts"]
        return facts

    @property
    def now_s(self) -> float:
        """The clock of the recording."""
        return unix_s(self.spec["recorded_at"])

    @property
    def upstream_text(self) -> str:
        """What upstream printed: evidence, not the right answer."""
        return (self.folder / "upstream-metrics.txt").read_text("utf-8")

    def copy_to(self, folder: Path) -> Path:
        """Copy the `.loki/` directory with the mtimes it had; return it."""
        root = folder / self.name / ".loki"
        shutil.copytree(self.folder / "loki-dir", root)
        for path in root.rglob("*"):
            set_mtime(path, self.now_s - REST_WRITTEN_BEFORE_S)
        if (root / "loki.pid").exists():
            set_mtime(root / "loki.pid", unix_s(PID_WRITTEN[self.name]))
        return root

    def collector(self, root: Path) -> SourceCollector:
        """Return a collector for which it is the moment of the recording."""
        live = set(self.spec["live_pids"])
        settings = Settings(environ=self.spec["env"], pid_probe=lambda pid: pid in live, pids_visible=True)
        return SourceCollector(
            single_project(str(root), settings), clock=lambda: self.now_s, monotonic=lambda: 0.0
        )

    def pages(self, folder: Path) -> tuple[str, str]:
        """Return the first page of the case in text 0.0.4 and in OpenMetrics, normalised."""
        collector = self.collector(self.copy_to(folder))
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        try:
            text, open_metrics = generate_latest(registry), generate_openmetrics(registry)
        finally:
            collector.close()
        return normalised(text.decode()), normalised(open_metrics.decode())


CASES = tuple(Case(path.parent.name) for path in sorted(FIXTURES.glob("*/case.json")))


def unix_s(text: str) -> float:
    """Return Unix seconds of RFC 3339 text."""
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def set_mtime(path: Path, mtime_s: float) -> None:
    """Set a file's mtime."""
    os.utime(path, (mtime_s, mtime_s))


def samples(text: str) -> dict[str, float]:
    """Return the values of a page in text format by their series, as it is written."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {series: float(value) for series, value in (line.rsplit(" ", 1) for line in lines)}
