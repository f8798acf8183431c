from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.config import load_config

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "systemd"
UNITS = ("tallyship-exporter.service", "tallyship-shipper.service")
DROP_INS = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*.service.d/*.conf"))

Analyze = Callable[..., tuple[int, str]]


@pytest.fixture(name="analyze", scope="module")
def _analyze(tool: Callable[[str], str]) -> Analyze:
    """Give a function that runs systemd-analyze, which needs no booted systemd: exit code and output."""
    path = tool("systemd-analyze")

    def run(*arguments: str | Path, units: Path | None = None) -> tuple[int, str]:
        env = {**os.environ, "SYSTEMD_LOG_LEVEL": "warning"}
        if units is not None:
            env["SYSTEMD_UNIT_PATH"] = f"{units}:"
        done = subprocess.run(
            [path, "--no-pager", *arguments], env=env, capture_output=True, text=True, check=False, timeout=60
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture(name="units")
def _units(tmp_path: Path) -> Path:
    """Give a copy of the units, without drop-ins, whose program exists."""
    folder = tmp_path / "units"
    folder.mkdir()
    program = tmp_path / "bin"
    program.mkdir()
    for unit in UNITS:
        (program / unit.removesuffix(".service")).symlink_to(sys.executable)
        text = (FOLDER / unit).read_text("utf-8").replace("/opt/tallyship/bin", str(program))
        (folder / unit).write_text(text, "utf-8")
    return folder


def add_drop_in(units: Path, name: str, *, more: str = "") -> str:
    """Put a drop-in beside its unit; return the unit's name."""
    target = units / name
    target.parent.mkdir(exist_ok=True)
    text = (FOLDER / name).read_text("utf-8").replace("/opt/tallyship/bin", str(units.parent / "bin"))
    target.write_text(text + more, "utf-8")
    return target.parent.name.removesuffix(".d")


def settings(name: str) -> dict[str, list[str]]:
    """Return a unit file's settings: values by key, in order."""
    found: dict[str, list[str]] = {}
    for line in (FOLDER / name).read_text("utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_no_fault_in_the_unit(analyze: Analyze, units: Path, unit: str) -> None:
    """Every section, key and value is known, and the program is there."""
    assert analyze("verify", "--man=no", units / unit, units=units) == (0, "")


@pytest.mark.parametrize("name", DROP_INS)
def test_systemd_finds_no_fault_in_a_unit_with_its_drop_in(analyze: Analyze, units: Path, name: str) -> None:
    """Each drop-in alone on its unit."""
    unit = add_drop_in(units, name)

    assert analyze("verify", "--man=no", units / unit, units=units) == (0, "")


@pytest.mark.parametrize("name", DROP_INS)
def test_the_verification_reads_the_drop_in(analyze: Analyze, units: Path, name: str) -> None:
    """A misspelt key in it is noticed, so the test above proves something."""
    unit = add_drop_in(units, name, more="PrivateUserz=no\n")

    _, printed = analyze("verify", "--man=no", units / unit, units=units)

    assert "PrivateUserz" in printed


@pytest.mark.parametrize("unit", UNITS)
def test_the_exposure_is_at_most_1_5(analyze: Analyze, units: Path, unit: str) -> None:
    """The figure that systemd-analyze gives the unit as it is shipped (without any of it: 9.6)."""
    code, printed = analyze("security", "--offline=true", "--threshold=15", units / unit)

    assert code == 0, printed.splitlines()[-1]
    assert "Overall exposure level" in printed


@pytest.mark.parametrize("unit", UNITS)
def test_the_exposure_test_notices_a_weaker_unit(analyze: Analyze, units: Path, unit: str) -> None:
    """Without its filter of system calls the unit is beyond the limit."""
    lines = (units / unit).read_text("utf-8").splitlines()
    weaker = [line for line in lines if not line.startswith("SystemCallFilter=")]
    (units / unit).write_text("\n".join(weaker), "utf-8")

    code, _ = analyze("security", "--offline=true", "--threshold=15", units / unit)

    assert code != 0


@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_is_ready_when_told_watched_and_restarted(unit: str) -> None:
    """Type=notify with a watchdog, and restarts on failure."""
    found = settings(unit)

    assert found["Type"] == ["notify"]
    assert found["WatchdogSec"] == ["60s"]
    assert found["Restart"] == ["on-failure"]
    assert found["DynamicUser"] == ["yes"]
    assert found["ProtectSystem"] == ["strict"]
    assert found["ProtectHome"] == ["read-only"]


@pytest.mark.parametrize("unit", UNITS)
def test_a_port_that_is_late_at_boot_is_waited_for_and_a_bad_configuration_ends(unit: str) -> None:
    """No exit code is final; tries go on for minutes, and reach the limit within the window that counts."""
    found = settings(unit)
    between_s, window_s = (
        int(found[key][0].removesuffix("s")) for key in ("RestartSec", "StartLimitIntervalSec")
    )
    tries = int(found["StartLimitBurst"][0])

    assert "RestartPreventExitStatus" not in found
    assert between_s >= 5
    assert between_s * tries >= 120
    # A try that fails takes up to 3 s on a slow machine.
    assert (between_s + 3) * tries <= window_s


@pytest.mark.parametrize(
    ("in_file", "address"),
    [
        ({}, "0.0.0.0:57374"),
        ({"LOKI_METRICS_PORT": "57384"}, "0.0.0.0:57384"),
        ({"TALLYSHIP_EXPORTER_LISTEN_ADDRESS": "192.0.2.1:1"}, "192.0.2.1:1"),
    ],
)
def test_what_the_settings_file_says_of_the_address_goes_before_the_drop_in_for_other_hosts(
    in_file: dict[str, str], address: str, tmp_path: Path
) -> None:
    """The drop-in's address is a default: EnvironmentFile= goes before Environment= (systemd.exec(5))."""
    found = settings("tallyship-exporter.service.d/web.conf")
    (credential,) = found["SetCredential"]
    name, _, text = credential.partition(":")
    (tmp_path / name).write_text(text)
    (variable,) = found["Environment"]
    key, _, value = variable.partition("=")

    config = load_config({}, {key: value.replace("%d", str(tmp_path)), **in_file})

    assert (
        str(config.listen_address) == address or config.listen_address.url_for("http") == f"http://{address}"
    )
    assert not any("--web.listen-address" in line for line in found["ExecStart"])


def test_the_exporter_may_see_the_processes_that_it_judges() -> None:
    """What hides /proc would let a reused pid count as the session; private users do not hide it."""
    found = settings("tallyship-exporter.service")

    assert "ProtectProc" not in found
    assert "ProcSubset" not in found
    assert found["PrivateUsers"] == ["yes"]


def test_the_exporter_for_one_user_may_read_the_environment_of_that_users_processes() -> None:
    """The kernel lets nobody look out of a user namespace, so users are not private there."""
    found = settings("tallyship-exporter.service.d/one-user.conf")

    assert found["PrivateUsers"] == ["no"]
    assert found["DynamicUser"] == ["no"]
    assert found["User"] == ["alice"]


def test_the_shipper_has_a_state_directory_and_time_to_send_what_it_has_read() -> None:
    """$STATE_DIRECTORY for the positions, and more than its own 30 s before it is killed."""
    found = settings("tallyship-shipper.service")

    assert found["StateDirectory"] == ["tallyship-shipper"]
    assert found["TimeoutStopSec"] == ["45s"]


@pytest.mark.parametrize(
    "name", ["tallyship-exporter.service.d/web.conf", "tallyship-shipper.service.d/token.conf"]
)
def test_secrets_are_handed_over_by_systemd_and_are_in_no_command_line(name: str) -> None:
    """LoadCredential for each file under /etc/tallyship, and %d where the program looks for it."""
    found = settings(name)
    handed_over = [value.partition(":") for value in found["LoadCredential"]]
    _, command = found["ExecStart"]

    assert all(path == f"/etc/tallyship/{credential}" for credential, _, path in handed_over)
    assert f"%d/{handed_over[0][0]}" in command
    assert "/etc/" not in command


def test_the_settings_of_the_exporter_are_accepted(tmp_path: Path) -> None:
    """`check` takes the shipped environment file, with the glob as it stands there."""
    for name in ("shop", "blog"):
        (tmp_path / name / ".loki").mkdir(parents=True)
    lines = (FOLDER / "exporter.env").read_text("utf-8").replace("/srv", str(tmp_path)).splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    done = subprocess.run(
        [sys.executable, "-m", "exporter", "check", *given.pop("EXPORTER_ARGS").split()],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert "project=blog: up" in done.stdout
    assert "project=shop: up" in done.stdout


@pytest.mark.parametrize(("program", "command"), [("exporter", "serve"), ("shipper", "run")])
def test_every_option_in_the_units_is_one_that_the_program_has(program: str, command: str) -> None:
    """Flags in ExecStart and in the environment files, against the program's own help."""
    help_text = subprocess.run(
        [sys.executable, "-m", program, command, "--help"], capture_output=True, text=True, check=False
    )
    if "No module named" in help_text.stderr:
        pytest.skip(f"{program} has no command line yet")
    files = [FOLDER / f"{program}.env", *FOLDER.glob(f"tallyship-{program}.service*/*.conf")]
    files.append(FOLDER / f"tallyship-{program}.service")
    lines = [line for file in files for line in file.read_text("utf-8").splitlines() if line[:1] != "#"]

    used = {word for line in lines for word in line.replace("ARGS=", " ").split() if word.startswith("--")}

    assert {option for option in used if option not in help_text.stdout} == set()
