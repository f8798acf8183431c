"""A `.loki/` directory that a test writes, with a clock that it moves and pids that live when it says so."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from loki_cases import samples, set_mtime
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from exporter.collector import SourceCollector
from exporter.process import Process
from exporter.sources.loki_mode import LokiModeProjects, Settings, Wanted

START_S = 1_795_000_000.0
"""The tests' present; a whole second, because records have whole seconds."""


def rfc3339(unix_s: float) -> str:
    """Return the time as Loki Mode writes it."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def series(name: str, **labels: object) -> str:
    """Return a series as it stands on the page."""
    inner = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{inner}}}" if inner else name


class Page(dict[str, float]):
    """The numbers of one page by series."""

    def value(self, name: str, **labels: object) -> float | None:
        """Return a number, None where it is absent."""
        return self.get(series(name, **labels))

    def of(self, name: str) -> dict[str, float]:
        """Return the series of a family, without its name."""
        return {key.removeprefix(name): value for key, value in self.items() if key.partition("{")[0] == name}

    @property
    def errors(self) -> dict[str, float]:
        """Error counts over all sources that are not 0, by reason."""
        found: dict[str, float] = {}
        for labels, value in self.of("tallyship_exporter_source_errors_total").items():
            reason = labels.partition('reason="')[2].partition('"')[0]
            if value:
                found[reason] = found.get(reason, 0) + value
        return found


class World:
    """One project below `root`, and all that the exporter asks about it.

    `live`: pids that live, with what is known of the process (True: nothing more).
    """

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        self.now_s = START_S
        self.live: dict[int, Process | bool] = {}
        self.environ: dict[str, str] = {}
        self._settings = {"pids_visible": True, **settings}
        self._collectors: list[SourceCollector] = []
        self._default: SourceCollector | None = None
        root.mkdir(parents=True, exist_ok=True)

    def write(self, path: str, content: object, *, age_s: float = 0.0) -> Path:
        """Write a file as of `age_s` seconds ago: text and bytes as they are, anything else as JSON."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        self._make_way(path)
        if isinstance(content, str):
            content = content.encode("utf-8", "surrogatepass")
        target.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        set_mtime(target, self.now_s - age_s)
        return target

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it."""
        target = self.root / path
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink()

    def event(self, type_: str, *, age_s: float = 0.0, **data: object) -> None:
        """Append an event of `age_s` seconds ago."""
        self._make_way("events.jsonl")
        record = {"timestamp": self.time(age_s), "type": type_, "data": data}
        with (self.root / "events.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")

    def state(self, *, age_s: float = 1.0, **fields: object) -> None:
        """Write a state file of `age_s` seconds ago."""
        self.write("dashboard-state.json", {"timestamp": self.time(age_s), **fields}, age_s=age_s)

    def runner(self, pid: int = 4242, *, age_s: float = 60.0, process: Process | bool = True) -> None:
        """Have a runner live since `age_s` seconds ago, with its pid file."""
        self.write("loki.pid", f"{pid}\n", age_s=age_s)
        self.live[pid] = process

    def time(self, age_s: float = 0.0) -> str:
        """Return the time `age_s` seconds ago, as Loki Mode writes it."""
        return rfc3339(self.now_s - age_s)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds

    def collector(self, wanted: Wanted | None = None, **options: Any) -> SourceCollector:
        """Return a new collector, of this project alone or of what is `wanted`; every scrape reads."""
        settings = Settings(environ=self.environ, pid_probe=self._probe, **self._settings)
        provider = LokiModeProjects(wanted or Wanted((str(self.root),)), settings)
        ticks = count(step=0.001)
        defaults = {"clock": lambda: self.now_s, "monotonic": lambda: next(ticks), "cache_s": 0.0}
        collector = SourceCollector(provider, **{**defaults, **options})
        self._collectors.append(collector)
        return collector

    def page(self, collector: SourceCollector | None = None) -> Page:
        """Scrape: by default with the one collector that lives as long as this world."""
        if collector is None:
            if self._default is None:
                self._default = self.collector()
            collector = self._default
        return Page(samples(page_text(collector)))

    def close(self) -> None:
        """Close the collectors."""
        for collector in self._collectors:
            collector.close()

    def _make_way(self, path: str) -> None:
        """Remove what is no file: a test must not write through a link, nor wait for a FIFO's reader."""
        target = self.root / path
        if target.is_symlink() or (target.exists() and not target.is_file()):
            self.remove(path)

    def _probe(self, pid: int) -> Process | bool:
        return self.live.get(pid, False)


def page_text(collector: SourceCollector) -> str:
    """Return the page in text format; raises where a label could not be written."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry).decode("utf-8")


def environ_of(**environ: str) -> Process:
    """Return a process with this environment."""
    return Process(None, lambda: environ)
