"""Tools to check the files of `deploy/` and `systemd/` with; left out or required like integration tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parent.parent.parent
REQUIRED = os.environ.get("TALLYSHIP_REQUIRE_INTEGRATION") == "1"


def leave_out(reason: str) -> NoReturn:
    """Skip the test, or fail it where nothing may be left out."""
    if REQUIRED:
        pytest.fail(f"TALLYSHIP_REQUIRE_INTEGRATION=1, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(name="deploy", scope="session")
def _deploy() -> Path:
    return ROOT / "deploy"


@pytest.fixture(name="promtool", scope="session")
def _promtool() -> Callable[..., tuple[int, str]]:
    """Give a function that runs the promtool of the tested Prometheus: exit code and what it printed."""
    found = subprocess.run(
        [ROOT / "integration/images/promtool"], capture_output=True, text=True, check=False
    )
    path = found.stdout.strip() or shutil.which("promtool")
    if not path:
        leave_out("there is no promtool (integration/images/make binaries builds it)")

    def run(*arguments: str | Path) -> tuple[int, str]:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture(name="tool", scope="session")
def _tool() -> Callable[[str], str]:
    """Give a function that returns the path of a program, or leaves the test out."""

    def find(name: str) -> str:
        return shutil.which(name) or leave_out(f"there is no {name}")

    return find


@pytest.fixture(name="tools_python", scope="session")
def _tools_python() -> str:
    """Give the Python of the environment that tools.lock describes, made now if need be."""
    made = subprocess.run([ROOT / "tests/deploy/tools"], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        leave_out(f"tests/deploy/tools cannot make its environment: {made.stderr.strip()[-200:]}")
    return made.stdout.strip()


@pytest.fixture(name="alertmanager_folder", scope="session")
def _alertmanager_folder() -> Path:
    """Give the folder of a real alertmanager and amtool."""
    made = subprocess.run(
        [ROOT / "tests/deploy/alertmanager/make"], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        leave_out(f"tests/deploy/alertmanager/make cannot build it: {made.stderr.strip()[-200:]}")
    return Path(made.stdout.strip())
