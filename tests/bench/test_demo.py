from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import demo

PATIENCE_S = 60.0
RUN = str(demo.CHECKOUT / ".demo" / "run-")


def run(**environ: str) -> subprocess.CompletedProcess[str]:
    """Run the demo as `make demo` does."""
    return subprocess.run(
        [sys.executable, str(Path(demo.__file__))],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def runs() -> set[Path]:
    """Return the folders of the demos that go on just now."""
    return set((demo.CHECKOUT / ".demo").glob("run-*"))


def processes_in(folder: str) -> list[str]:
    """Return the command lines of processes that work in such a folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_text(errors="replace").replace("\0", " "))
        except OSError:
            continue  # it ended meanwhile
    return [line for line in lines if folder in line]


def test_the_demo_shows_live_metrics_and_leaves_nothing_behind() -> None:
    """With DEMO_SECONDS it ends by itself, exit 0; no process and no file of it is left."""
    before, running = runs(), set(processes_in(RUN))

    done = run(DEMO_SECONDS="2")

    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    assert "loki_session_status 1" in shown
    assert any(line.startswith("exporter at http://127.0.0.1:") for line in shown)
    assert done.stderr == ""
    assert runs() <= before
    assert set(processes_in(RUN)) <= running


def test_an_exporter_that_cannot_start_ends_the_demo_with_its_reason() -> None:
    """Exit 1, and the reason that the exporter gave."""
    done = run(DEMO_SECONDS="5", TALLYSHIP_EXPORTER_CACHE_SECONDS="soon")

    assert done.returncode == 1
    assert "the exporter ended with exit code 2" in done.stderr
    assert "CACHE_SECONDS" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_senseless_time_is_refused() -> None:
    """DEMO_SECONDS that is no positive number: exit 2, one line."""
    for text in ("soon", "-1", "0", "nan"):
        done = run(DEMO_SECONDS=text)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
