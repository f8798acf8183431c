"""Runs other shippers over the same file into the same receiver, where they are on PATH."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from measured import Cost, Run, cpu_s, rss_bytes

GIVEN_UP_AFTER_S = 300.0
_CALM_S = 8.0
"""A tailer does not end by itself: it is done when it has used next to no CPU for so long. Some look for
files only after seconds."""
_CALM_SHARE = 0.05
_LOOK_EVERY_S = 0.25


@dataclass(frozen=True)
class Peer:
    """Another shipper: the names of its program, and its command line for a file and a receiver."""

    name: str
    programs: tuple[str, ...]
    command: Callable[[str, Path, str, Path], Sequence[str]]
    """Of the program, the file, the receiver's address, and a directory of its own."""

    def program(self) -> str | None:
        """Return where its program is, or None."""
        return next(filter(None, map(shutil.which, self.programs)), None)


def measure(peer: Peer, program: str, file: Path, url: str, folder: Path) -> Run:
    """Run it until it is calm again; raises `ChildProcessError` where it ends by itself or never rests."""
    folder.mkdir(parents=True, exist_ok=True)
    argv = peer.command(program, file, url, folder)
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            cost, rss = _until_calm(peer, process)
        finally:
            process.kill()
    return Run(cost, rss, b"")


def _until_calm(peer: Peer, process: subprocess.Popen[bytes]) -> tuple[Cost, int]:
    began_s = time.perf_counter()
    worked_s = before_s = 0.0
    busy_at_s = began_s
    rss = 0
    while (now_s := time.perf_counter()) - busy_at_s < _CALM_S:
        if process.poll() is not None or now_s - began_s > GIVEN_UP_AFTER_S:
            raise ChildProcessError(f"{peer.name} ended by itself or does not come to rest; see its log")
        used_s = cpu_s(process.pid)
        rss = max(rss, rss_bytes(process.pid))
        if used_s - before_s > _CALM_SHARE * _LOOK_EVERY_S:
            busy_at_s, worked_s = now_s, used_s
        before_s = used_s
        time.sleep(_LOOK_EVERY_S)
    return Cost(worked_s, busy_at_s - began_s), rss


def _promtail(program: str, file: Path, url: str, folder: Path) -> Sequence[str]:
    config = {
        "server": {"disable": True},
        "positions": {"filename": f"{folder}/positions.yaml"},
        "clients": [{"url": f"{url}/loki/api/v1/push"}],
        "scrape_configs": [
            {
                "job_name": "bench",
                "static_configs": [
                    {"targets": ["localhost"], "labels": {"job": "bench", "__path__": str(file)}}
                ],
            }
        ],
    }
    return [program, f"-config.file={_written(folder, config)}"]


def _fluent_bit(program: str, file: Path, url: str, folder: Path) -> Sequence[str]:
    address = urlsplit(url)
    tail = {"path": file, "read_from_head": "on", "db": folder / "positions.db"}
    loki = {"host": address.hostname, "port": address.port, "labels": "job=bench", "compress": "gzip"}
    return [program, "-q", "-i", "tail", *_properties(tail), "-o", "loki", "-m", "*", *_properties(loki)]


def _otelcol(program: str, file: Path, url: str, folder: Path) -> Sequence[str]:
    address = urlsplit(url)
    config = {
        "receivers": {"filelog": {"include": [str(file)], "start_at": "beginning"}},
        "exporters": {"otlphttp": {"logs_endpoint": f"{address.scheme}://{address.netloc}/otlp/v1/logs"}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"logs": {"receivers": ["filelog"], "exporters": ["otlphttp"]}},
        },
    }
    return [program, f"--config={_written(folder, config)}"]


def _written(folder: Path, config: object) -> Path:
    """Write a configuration as JSON, which every YAML reader takes."""
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))
    return path


def _properties(values: dict[str, object]) -> list[str]:
    return [word for name, value in values.items() for word in ("-p", f"{name}={value}")]


PEERS = (
    Peer("promtail", ("promtail",), _promtail),
    Peer("fluent-bit", ("fluent-bit",), _fluent_bit),
    Peer("otelcol", ("otelcol-contrib", "otelcol"), _otelcol),
)
