from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.web.config_file import WebConfig, parse

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/install.md").read_text("utf-8")
BLOCKS = [
    "\n".join(line.removeprefix(indent) for line in body.splitlines())
    for indent, body in re.findall(r"^( *)```sh\n(.*?)^ *```$", PAGE, re.DOTALL | re.MULTILINE)
]
STUBS = ("apt-get", "systemctl", "journalctl", "systemd-run", "python3", "pip")
"""What would change this machine, or needs a booted systemd: it only tells that it was called."""

STUB = '#!/bin/sh\necho "$(basename "$0") $*" >>"$CALLS"\n'


def commands() -> list[str]:
    """Return every command line of the page."""
    return [line for block in BLOCKS for line in block.splitlines() if line and not line.startswith("#")]


def options_of(program: str, command: str) -> str:
    """Return the help of a program's command, wide enough that nothing is broken over lines."""
    shown = subprocess.run(
        [sys.executable, "-m", program, *command.split(), "--help"],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout


@pytest.fixture(name="prefix")
def _prefix(tmp_path: Path) -> Path:
    """Give a root for /opt, /etc and /home, with stubs for what must not run here, and the real exporter."""
    for folder in (
        "bin",
        "opt/tallyship/bin",
        "etc/systemd/system",
        "home/alice",
        "home/bob",
        "home/lost+found",
    ):
        (tmp_path / folder).mkdir(parents=True)
    # What the reader makes between the blocks.
    (tmp_path / "etc/tallyship").mkdir()
    for name in ("web.yml", "exporter.crt", "exporter.key", "loki-token"):
        (tmp_path / "etc/tallyship" / name).touch()
    for name in STUBS:
        folder = "opt/tallyship/bin" if name == "pip" else "bin"
        (tmp_path / folder / name).write_text(STUB)
        (tmp_path / folder / name).chmod(0o755)
    program = tmp_path / "opt/tallyship/bin/tallyship-exporter"
    # What asks a running exporter is only told that it was called.
    program.write_text(
        f'#!/bin/sh\ncase $1 in healthcheck|metrics|hash-password) echo "exporter $*" >>"$CALLS";;\n'
        f'*) exec {sys.executable} -m exporter "$@";; esac\n'
    )
    program.chmod(0o755)
    return tmp_path


def run(block: str, prefix: Path) -> list[str]:
    """Run a block beneath the prefix, in the checkout; return what the stubs were called with."""
    script = re.sub(r"(?<![\w.])/(opt|etc|home)/", rf"{prefix}/\1/", block)
    calls = prefix / "calls"
    calls.write_text("")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{prefix}/bin:{os.environ['PATH']}", "CALLS": str(calls)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"{script}\n{done.stderr}"
    return calls.read_text().splitlines()


def test_every_block_is_a_script_that_bash_can_read() -> None:
    """There are blocks at all, and no typing error in their syntax."""
    assert len(BLOCKS) >= 8
    for block in BLOCKS:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


def test_the_commands_run_from_the_first_to_the_last(prefix: Path) -> None:
    """Beneath another root, in order: files are found, put where they belong, edited, and removed at last."""
    *install, remove = BLOCKS

    calls = [call for block in install for call in run(block, prefix)]

    etc = prefix / "etc"
    for unit in ("tallyship-exporter", "tallyship-shipper"):
        text = (etc / f"systemd/system/{unit}.service").read_text("utf-8")
        assert text == (ROOT / f"systemd/{unit}.service").read_text("utf-8")
        for env in re.findall(r"^EnvironmentFile=/etc/(.+)$", text, re.MULTILINE):
            assert (etc / env).exists()
        for program in re.findall(r"^ExecStart=/opt/(\S+)", text, re.MULTILINE):
            assert program.startswith("tallyship/bin/tallyship-")
    drop_ins = {path.relative_to(etc / "systemd/system").as_posix() for path in etc.rglob("*.conf")}
    assert drop_ins == {
        f"tallyship-{unit}.service.d/{name}.conf"
        for unit, name in (
            ("exporter", "one-user"),
            ("shipper", "one-user"),
            ("exporter", "web"),
            ("shipper", "token"),
        )
    }
    assert (prefix / "opt/tallyship/share/doc/tallyship/install.md").exists()
    assert "pip install --require-hashes -r requirements.lock" in calls
    assert "systemctl enable --now tallyship-exporter tallyship-shipper" in calls

    run(remove, prefix)

    assert not [path for path in etc.rglob("*") if "tallyship" in path.name]
    assert not (prefix / "opt/tallyship").exists()


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_the_user_whose_files_are_read_is_the_one_that_the_reader_names(prefix: Path, user: str) -> None:
    """Beside another user and lost+found, which belongs to root; both drop-ins run as who was named."""
    (block,) = [block for block in BLOCKS if "one-user.conf" in block]
    name, rest = block.split("\n", 1)
    assert name == "user=alice"

    run(f"user={user}\n{rest}", prefix)

    for unit in ("exporter", "shipper"):
        drop_in = prefix / f"etc/systemd/system/tallyship-{unit}.service.d/one-user.conf"
        assert re.findall(r"^User=(.*)$", drop_in.read_text("utf-8"), re.MULTILINE) == [user]


def test_the_look_before_the_start_is_through_the_eyes_of_the_service(prefix: Path) -> None:
    """User, settings file, program and arguments are the unit's, and systemd reads them, not the shell."""
    (block,) = [block for block in BLOCKS if "systemd-run" in block]
    unit = (ROOT / "systemd/tallyship-exporter.service").read_text("utf-8").replace("/etc/", f"{prefix}/etc/")
    unit = unit.replace("/opt/", f"{prefix}/opt/")
    (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)

    (call,) = run(block, prefix)

    assert call.startswith("systemd-run --quiet --pipe --wait -p ")
    assert call.endswith(command.replace(" serve ", " check "))
    for asked in re.findall(r"-p (\S+)", call):
        assert f"\n{asked}\n" in unit
    assert {asked.split("=")[0] for asked in re.findall(r"-p (\S+)", call)} == {
        "DynamicUser",
        "EnvironmentFile",
    }


def test_the_documentation_that_the_units_name_is_what_the_page_installs() -> None:
    """`systemctl help tallyship-exporter` opens this page."""
    for unit in (ROOT / "systemd").glob("*.service"):
        (where,) = re.findall(r"^Documentation=file:(\S+)$", unit.read_text("utf-8"), re.MULTILINE)
        assert f"install -D -m 644 docs/install.md docs/metrics.md -t {Path(where).parent}" in PAGE


def test_every_option_of_the_exporter_in_the_page_is_one_that_it_has() -> None:
    """What the stubs above let pass is asked of the program's help."""
    called = [re.search(r"/bin/tallyship-exporter ([a-z][a-z-]+)(.*)", line) for line in commands()]
    found = [(match[1], match[2]) for match in called if match]

    assert {command for command, _ in found} >= {"check", "healthcheck", "metrics", "hash-password"}
    for command, rest in found:
        shown = options_of("exporter", command)
        assert all(option in shown for option in re.findall(r"--[a-z-]+", rest)), command


def test_the_web_configuration_in_the_page_is_accepted() -> None:
    """The exporter's own parser takes the example, certificate and user."""
    example = re.search(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert example is not None

    parsed = parse(example[1], Path("/etc/tallyship"))

    assert isinstance(parsed, WebConfig), parsed


def test_the_versions_that_the_page_asks_for_are_those_of_the_package() -> None:
    """Python as in pyproject.toml; systemd as new as the newest thing in the units (LoadCredential, 250)."""
    wanted = re.search(
        r'^requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )

    assert wanted is not None
    assert f"Python {wanted[1]} or newer" in PAGE
