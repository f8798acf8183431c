"""What `run` loads: a process that runs for weeks on a small host holds no code that it does not use."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import click
import pytest

from shipper.cli import main

_UNUSED = {
    "another command": ["shipper.commands.verify", "shipper.commands.status", "shipper.dryrun"],
    "the proof": ["shipper.proof", "sqlite3"],
    "another way to speak HTTP": ["asyncio", "requests", "urllib3", "h11"],
    "the exporter": ["exporter", "uvicorn", "yaml", "bcrypt"],
    "a server where there is no address": ["http.server", "socketserver", "shipper.telling.web"],
    "what nobody has scraped": ["prometheus_client", "shipper.telling.exposition"],
    "a file that is not given": ["tomllib"],
    "what is for tests": ["unittest", "doctest", "pdb"],
    "what the own log does without": ["logging"],
}
_RUN = """
import sys
from shipper.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end.code
print(*sorted(sys.modules))
"""


@pytest.fixture(name="loaded", scope="module")
def _loaded(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the modules of a `run --once` that found nothing, without an own HTTP."""
    here = tmp_path_factory.mktemp("start")
    arguments = ["--source", f"jsonl={here}/*.jsonl", "--state-dir", str(here / "state")]
    arguments += ["--loki-url", "http://127.0.0.1:9", "--listen-address", ""]
    done = subprocess.run(
        [sys.executable, "-c", _RUN, "run", "--once", *arguments],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("what", _UNUSED)
def test_run_loads_nothing_that_it_does_not_use(loaded: set[str], what: str) -> None:
    """Neither at the start nor until it ends."""
    assert "shipper.engine" in loaded
    assert loaded.isdisjoint(_UNUSED[what])


def test_the_group_has_every_command_that_there_is() -> None:
    """One that is loaded when it is called is named in a table, and could be forgotten there."""
    context = click.Context(main)
    named = {name: main.get_command(context, name) for name in main.list_commands(context)}
    folder = pathlib.Path(sys.modules["shipper.cli"].__file__ or "").parent / "commands"
    there = {
        path.stem.replace("_", "-") for path in folder.glob("*.py") if "\n@click.command(" in path.read_text()
    }

    assert set(named) == there
    assert {command.name for command in named.values() if command} == there
    assert main.get_command(context, "no-such") is None
