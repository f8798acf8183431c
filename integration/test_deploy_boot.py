"""The units on a booted systemd, installed by the commands of docs/install.md; only when asked.

TALLYSHIP_BOOT=1 pytest integration/test_deploy_boot.py

The container gets nearly everything that --privileged gives, which not every engine can give whole.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
import trustme

from integration.containers import eventually

if os.environ.get("TALLYSHIP_BOOT") != "1":
    pytest.skip("a boot takes minutes: TALLYSHIP_BOOT=1", allow_module_level=True)

ROOT = pathlib.Path(__file__).parent.parent
CHECKOUT = "/root/tallyship"
EXPORTER = "/opt/tallyship/bin/tallyship-exporter"
CAPABILITIES = (
    *("AUDIT_CONTROL", "AUDIT_READ", "BLOCK_SUSPEND", "DAC_READ_SEARCH", "IPC_LOCK", "IPC_OWNER", "LEASE"),
    *("LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "NET_ADMIN", "NET_BROADCAST", "SYS_ADMIN", "SYS_BOOT"),
    *("SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_TIME", "SYS_TTY_CONFIG", "SYSLOG", "WAKE_ALARM"),
)

Shell = Callable[..., str]


def _docker(*arguments: str, stdin: bytes | None = None) -> str:
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, check=False, timeout=600)
    assert done.returncode == 0, (arguments[-1], done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout.decode()


def blocks() -> list[str]:
    """Return the shell blocks of docs/install.md, in order."""
    page = (ROOT / "docs/install.md").read_text("utf-8")
    found = re.findall(r"^( *)```sh\n(.*?)^ *```$", page, re.DOTALL | re.MULTILINE)
    return ["\n".join(line.removeprefix(indent) for line in body.splitlines()) for indent, body in found]


@pytest.fixture(scope="module", name="shell")
def _shell() -> Iterator[Shell]:
    """Give a function that runs a script in a booted Debian that holds this checkout."""
    subprocess.run([ROOT / "integration/deploy_boot_image"], check=True, timeout=600)
    flags = ["--network", "host", "--cgroupns=host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup"]
    flags += ["--tmpfs", "/run", "--tmpfs", "/run/lock"]
    flags += [flag for name in CAPABILITIES for flag in ("--cap-add", name)]
    for option in ("seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"):
        flags += ["--security-opt", option]
    container = _docker("run", "-d", *flags, "tallyship-boot:local").strip()
    try:
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        if "PIP_CERT" in pip:
            _docker("cp", "-L", pip["PIP_CERT"], f"{container}:/root/ca.crt")
            pip["PIP_CERT"] = "/root/ca.crt"
        env = [flag for name, value in pip.items() for flag in ("-e", f"{name}={value}")]

        def shell(script: str) -> str:
            return _docker(
                "exec", "-i", *env, "-w", CHECKOUT, container, "bash", "-euo", "pipefail", "-c", script
            )

        tracked = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
        _docker("exec", "-i", container, "mkdir", CHECKOUT)
        _docker("exec", "-i", container, "tar", "-C", CHECKOUT, "-x", stdin=tracked)
        # A machine boots with a shared root, a container does not; systemd hands out credentials by that.
        shell("mount --make-rshared /")
        eventually(
            lambda: shell("systemctl is-system-running || true").strip() in {"running", "degraded"},
            within_s=60,
            what="systemd is up",
        )
        shell("useradd --create-home alice; chmod 700 /home/alice")
        yield shell
    finally:
        subprocess.run(["docker", "rm", "-f", container], check=False, capture_output=True)


@contextlib.contextmanager
def session(shell: Shell, folder: str) -> Iterator[None]:
    """Have a runner of alice's live in a project, with a limit in its environment."""
    start = f"LOKI_MAX_ITERATIONS=321 setsid sleep 1000 >/dev/null 2>&1 & echo $! >{folder}/.loki/loki.pid"
    shell(f"mkdir -p {folder}/.loki && chown -R alice {folder} && su alice -c '{start}'")
    yield
    shell(f"kill -9 $(cat {folder}/.loki/loki.pid) || true")


def value(shell: Shell, metric: str) -> float:
    """Return the one value of a metric, read anew."""
    time.sleep(2.1)  # what a reading is shared for
    samples = shell(f"{EXPORTER} metrics --filter {metric} | grep -v '^#'").splitlines()
    (sample,) = [line for line in samples if re.match(rf"{metric}[ {{]", line)]
    return float(sample.rpartition(" ")[2])


def test_the_page_installs_both_services_and_they_get_ready(shell: Shell) -> None:
    """Steps 1 to 3 of docs/install.md, word for word; in between the reader says that pids can be seen."""
    programs, settings, look, services, ask = blocks()[:5]
    shell(programs)
    shell(settings)
    shell("sed -i 's/^EXPORTER_ARGS=.*/EXPORTER_ARGS=--pids visible/' /etc/tallyship/exporter.env")

    with session(shell, "/srv/shop"):
        shell(look)
        printed = shell(services)
        shell(ask)

        assert printed.count("Active: active (running)") == 2
        assert 'Status: "answers at http://127.0.0.1:57374"' in printed
        assert value(shell, "loki_session_status") == 1
        # The limit stands in the environment of somebody else's process.
        assert value(shell, "loki_iteration_max") == 1000
    assert value(shell, "loki_session_status") == 0


def test_the_drop_in_for_one_user_reads_a_closed_home_and_the_runners_environment(shell: Shell) -> None:
    """Status from a home that nobody else may enter, and the limit from alice's process."""
    shell("sed -i 's#^LOKI_DIR=.*#LOKI_DIR=/home/alice/project/.loki#' /etc/tallyship/exporter.env")
    with session(shell, "/home/alice/project"):
        shell(blocks()[5])

        assert shell("ps -o user= -C tallyship-exporter").strip() == "alice"
        assert value(shell, "loki_session_status") == 1
        assert value(shell, "loki_iteration_max") == 321


def test_a_hanging_exporter_is_ended_and_started_again(shell: Shell) -> None:
    """The watchdog, made impatient, finds a stopped process and replaces it."""
    drop_in = "/run/systemd/system/tallyship-exporter.service.d/impatient.conf"
    shell(f"install -D /dev/null {drop_in}; printf '[Service]\\nWatchdogSec=3s\\n' >{drop_in}")
    shell("systemctl daemon-reload; systemctl restart tallyship-exporter")
    pid = shell("systemctl show -P MainPID tallyship-exporter").strip()
    time.sleep(7)
    unharmed = shell("systemctl show -P MainPID tallyship-exporter").strip()

    shell(f"kill -STOP {pid}")

    eventually(
        lambda: shell("systemctl show -P NRestarts tallyship-exporter").strip() == "1",
        within_s=30,
        what="the exporter is started again",
    )
    assert unharmed == pid


def test_a_port_that_is_late_to_be_free_is_waited_for(shell: Shell) -> None:
    """Somebody else has it at the start and leaves; the exporter comes by itself."""
    shell("systemctl stop tallyship-exporter")
    hold = "import socket, time; s = socket.create_server(('127.0.0.1', 57374)); time.sleep(1000)"
    shell(f'systemd-run --quiet --unit=holder python3 -c "{hold}"; sleep 1')
    shell("systemctl start tallyship-exporter && exit 1 || true")

    shell("systemctl stop holder")

    eventually(
        lambda: shell("systemctl is-active tallyship-exporter || true").strip() == "active",
        within_s=40,
        what="the exporter has the port",
    )


def test_an_exporter_that_is_switched_off_rests(shell: Shell) -> None:
    """Started without a complaint, ended without a restart."""
    off = "LOKI_METRICS_ENABLED=false"
    shell(f"echo {off} >>/etc/tallyship/exporter.env; systemctl restart tallyship-exporter; sleep 12")

    found = shell("systemctl show -p NRestarts -p SubState -p Result tallyship-exporter").split()

    shell(f"sed -i /^{off}/d /etc/tallyship/exporter.env; systemctl start tallyship-exporter")
    assert set(found) == {"NRestarts=0", "SubState=dead", "Result=success"}


def test_secrets_that_root_alone_may_read_reach_the_services(shell: Shell) -> None:
    """Certificate, key, users and token through LoadCredential; the page then wants a password."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    key = certificate.private_key_pem.bytes().decode()
    chain = certificate.cert_chain_pems[0].bytes().decode()
    shell(f"cat >/etc/tallyship/exporter.key <<'X'\n{key}\nX")
    shell(f"cat >/etc/tallyship/exporter.crt <<'X'\n{chain}\nX")
    shell(
        "{ echo 'tls_server_config: {cert_file: exporter.crt, key_file: exporter.key}';"
        f" echo correct-horse-battery | {EXPORTER} hash-password prometheus; }} >/etc/tallyship/web.yml"
    )
    shell("echo token-of-20-characters >/etc/tallyship/loki-token; chmod 600 /etc/tallyship/*")
    *_, web, token, _remove = blocks()

    shell(web)
    shell(token)

    curl = "curl -sk -o /dev/null -w '%{http_code}' https://localhost:57374/metrics"
    assert shell(curl) == "401"
    assert shell(f"{curl} -u prometheus:correct-horse-battery") == "200"
    assert shell("systemctl is-active tallyship-shipper").strip() == "active"
    # The port is the settings file's, and the page is to be had from elsewhere.
    shell("echo LOKI_METRICS_PORT=57384 >>/etc/tallyship/exporter.env; systemctl restart tallyship-exporter")
    address = shell("hostname -I").split()[0]
    assert shell(curl.replace("localhost:57374", f"{address}:57384")) == "401"


def test_a_configuration_that_cannot_be_used_is_not_tried_for_ever(shell: Shell) -> None:
    """With the pause between tries made short, the limit of the unit itself ends them, and it has failed."""
    drop_in = "/run/systemd/system/tallyship-exporter.service.d/impatient.conf"
    shell(f"install -D /dev/null {drop_in}; printf '[Service]\\nRestartSec=50ms\\n' >{drop_in}")
    shell("systemctl daemon-reload; systemctl reset-failed tallyship-exporter || true")
    shell("sed -i 's/^EXPORTER_ARGS=.*/EXPORTER_ARGS=--pids maybe/' /etc/tallyship/exporter.env")

    shell("systemctl restart tallyship-exporter || true")

    eventually(
        lambda: shell("systemctl show -P SubState tallyship-exporter").strip() == "failed",
        within_s=120,
        what="the exporter is given up",
    )
    assert 25 <= int(shell("systemctl show -P NRestarts tallyship-exporter")) <= 30


def test_the_removal_leaves_nothing_but_the_shippers_state(shell: Shell) -> None:
    """The last block of the page."""
    shell(blocks()[-1])

    left = shell("ls -d /etc/systemd/system/tallyship* /etc/tallyship /opt/tallyship 2>/dev/null || true")
    assert left == ""
    assert "positions.json" in shell(
        "ls /var/lib/private/tallyship-shipper /var/lib/tallyship-shipper 2>/dev/null || true"
    )
