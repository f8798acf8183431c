"""Loki with the file of `deploy/loki`, llm-proxy's recorded sessions as of today, and the shipper."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from testcontainers.core.container import DockerContainer

from integration.containers import LOKI_IMAGE, Loki, free_port

CONFIG = pathlib.Path(__file__).parent.parent / "deploy/loki/local-config.yaml"
CONFIG_IN_IMAGE = "/etc/loki/local-config.yaml"
RECORDED = pathlib.Path(__file__).parent.parent / "tests/fixtures/llm-proxy/run1"
_TIME = re.compile(r'("_meta":\{[^}]*"ts":")([^"]+)"')


def start(*, config: str | None = None) -> Loki:
    """Start Loki with the file or `config`; the caller stops `container`."""
    text = CONFIG.read_text("utf-8") if config is None else config
    container = (
        DockerContainer(LOKI_IMAGE)
        .with_bind_ports(3100, free_port())
        .with_copy_into_container(text.encode(), CONFIG_IN_IMAGE, 0o644)
        .with_command(f"-config.file={CONFIG_IN_IMAGE} -server.http-listen-address=0.0.0.0")
    )
    container.start()
    try:
        loki = Loki(
            f"http://{container.get_container_host_ip()}:{container.get_exposed_port(3100)}", container
        )
        loki.wait_ready()
    except BaseException as error:
        out, err = container.get_logs()
        error.add_note((out + err).decode(errors="replace")[-4000:])
        container.stop()
        raise
    return loki


def recorded_as_of_today(to: pathlib.Path, *, ends_s_ago: float = 120) -> dict[str, list[str]]:
    """Copy the recorded sessions with all times moved by the same amount; return each session's lines.

    Loki takes no line that is older than a week, and the recordings get older.
    """
    files = sorted(RECORDED.glob("*/*/*.jsonl"))
    texts = {path: path.read_text("utf-8") for path in files}
    latest_s = max(_seconds(found[2]) for text in texts.values() for found in _TIME.finditer(text))
    ahead_s = time.time() - ends_s_ago - latest_s
    sessions = {}
    for path, text in texts.items():
        moved = _TIME.sub(lambda found: f'{found[1]}{_moved(found[2], ahead_s)}"', text)
        target = to / path.relative_to(RECORDED)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(moved, "utf-8")
        sessions[path.stem] = moved.rstrip("\n").split("\n")
    return sessions


def ship(loki: Loki, logs: pathlib.Path, state: pathlib.Path, *more: str) -> None:
    """Let the real shipper send what is there."""
    argv = [sys.executable, "-m", "shipper", "run", "--once", "--listen-address", ""]
    argv += ["--loki-url", loki.url, "--source", f"llm-proxy={logs}", "--state-dir", str(state), *more]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr


def by_page(loki: Loki, logql: str, *, start_ns: int, end_ns: int, limit: int = 5000) -> Iterator[str]:
    """Yield the lines of one query in order, page by page, whatever streams they are in.

    A page begins at the last time of the page before, because several lines may have it; what was seen of it
    is left out.
    """
    seen: set[tuple[str, str, str]] = set()
    while True:
        streams = loki.query(logql, start_ns=start_ns, end_ns=end_ns, limit=limit)
        page = sorted(
            (ns, line, json.dumps(found["stream"], sort_keys=True))
            for found in streams
            for ns, line in found["values"]
        )
        yield from (line for ns, line, stream in page if (ns, line, stream) not in seen)
        if len(page) < limit:
            return
        last_ns = page[-1][0]
        seen = {entry for entry in page if entry[0] == last_ns}
        assert last_ns != page[0][0], f"more than {limit} lines have one time"
        start_ns = int(last_ns)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _moved(text: str, by_s: float) -> str:
    at = datetime.fromtimestamp(_seconds(text) + by_s, UTC)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
