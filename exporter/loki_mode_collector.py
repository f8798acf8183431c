"""The collector for people who embed it in a program of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from exporter.collector import SourceCollector
from exporter.process import PidProbe, pids_are_visible, probe_pid
from exporter.sources.loki_mode import Settings, single_project


class LokiModeCollector(SourceCollector):
    """Collects one project's `.loki/` directory: `REGISTRY.register(LokiModeCollector(".loki"))`.

    `clock` gives Unix seconds. `environ` stands in for the runner's environment where that may not be read.
    `pid_probe` answers for a pid: a `Process`, or plain True or False. One that is handed in is believed also
    in a container, where our own would ask about other processes than the agents'. `project` is the value of
    the label `project`; two of these in one registry need one each, or their series are the same.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Callable[[], float] = time.time,
        environ: Mapping[str, str] | None = None,
        pid_probe: PidProbe = probe_pid,
        cache_s: float = 2.0,
        project: str | None = None,
    ) -> None:
        settings = Settings(
            environ=os.environ if environ is None else environ,
            pid_probe=pid_probe,
            pids_visible=pid_probe is not probe_pid or pids_are_visible(),
        )
        super().__init__(single_project(str(Path(path)), settings, project), clock=clock, cache_s=cache_s)
