"""What the system allows the process is shared by files, pushes, saves and pages."""

from __future__ import annotations

import json
import pathlib
import resource
import subprocess
import sys

import pytest
from receiver import Receiver

from shipper import room

_LIMITED = (
    "import os, resource, sys; n = int(sys.argv[1]);"
    " resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)); os.execv(sys.argv[2], sys.argv[2:])"
)


@pytest.mark.parametrize(
    ("wanted", "soft", "hard", "limit", "max_open"),
    [
        (512, 1024, 1 << 20, 1024, 512),
        (512, 256, 1 << 20, 576, 512),
        (4096, 1024, 4096, 4096, 4032),
        (4096, 1024, 1024, 1024, 960),
        (512, 256, 256, 256, 192),
        (512, 64, 64, 64, 32),
        (512, 20, 20, 20, 1),
        (10, 64, 64, 64, 10),
    ],
)
def test_files_get_what_is_left_of_the_limit(
    wanted: int, soft: int, hard: int, limit: int, max_open: int
) -> None:
    """It is raised as far as needed and allowed, and a part of it is never for files."""
    assert room.plan(wanted, soft, hard) == (limit, max_open)


def test_no_limit_at_all_is_room_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Infinity is written as a small number."""
    infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr("shipper.room.resource.getrlimit", lambda _which: infinite)
    told: list[str] = []

    assert room.make(100_000, lambda event, **_: told.append(event)) == 100_000
    assert not told


@pytest.mark.timeout(120)
def test_a_small_limit_of_descriptors_slows_and_stops_nothing(tmp_path: pathlib.Path) -> None:
    """Two hundred files, sixty-four descriptors, default settings: all is sent and saved, and it is said."""
    receiver = Receiver()
    logs = tmp_path / "logs"
    for number in range(200):
        directory = logs / f"d{number % 7}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{number}.jsonl").write_text(
            "".join(json.dumps({"n": n, "f": number}) + "\n" for n in (1, 2))
        )
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-c", _LIMITED, "64"),
                *(sys.executable, "-m", "shipper", "run", "--once", "--source", f"jsonl={logs}/**/*.jsonl"),
                *("--loki-url", receiver.url, "--state-dir", str(tmp_path / "state"), "--listen-address", ""),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        with receiver.lock:
            arrived = len(receiver.model.lines())
    finally:
        receiver.close()

    assert (done.returncode, arrived) == (0, 400), done.stderr[-2000:]
    assert done.stderr.count("few_descriptors") == 1
    assert "not_saved" not in done.stderr
