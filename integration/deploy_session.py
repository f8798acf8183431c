"""A moving session of Loki Mode for the tests of `deploy/`: the bench's generator, in its own process."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

from integration.containers import eventually

GENERATOR = pathlib.Path(__file__).parent.parent / "bench/sample_session.py"
DEPLOY = pathlib.Path(__file__).parent.parent / "deploy"
MAX_ITERATIONS = 400


@contextlib.contextmanager
def running_session(
    loki_dir: pathlib.Path, *, project: str, speed: float = 20
) -> Iterator[subprocess.Popen[bytes]]:
    """Give the process that plays a session in `loki_dir`, with at least one iteration recorded.

    Its pid is in `loki.pid`. It is killed at the end, if the test has not done so.
    """
    command = [sys.executable, GENERATOR, loki_dir, "--speed", str(speed), "--project", project]
    player = subprocess.Popen(command, env={**os.environ, "LOKI_MAX_ITERATIONS": str(MAX_ITERATIONS)})
    try:
        efficiency = loki_dir / "metrics/efficiency"
        eventually(
            lambda: any(efficiency.glob("*.json")), within_s=30, what=f"{project} records an iteration"
        )
        yield player
    finally:
        player.kill()
        player.wait()
