"""Looks at a process by its pid: is it alive, since when, and with what environment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_INITIAL_PID_NAMESPACE = "pid:[4026531836]"
"""The inode of the host's pid namespace is a constant of the kernel (PROC_PID_INIT_INO)."""

_KERNEL_THREAD = 0x00200000
"""PF_KTHREAD, in the flags of /proc/PID/stat."""

_ENVIRON_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Process:
    """A live process: its start in Unix seconds and its environment, None where they may not be known."""

    started_s: float | None = None
    environ: Callable[[], Mapping[str, str] | None] = field(default=lambda: None)


PidProbe = Callable[[int], Process | bool | None]
"""Answers what lives under a pid: a `Process`, True where nothing more is known, None or False if none."""


def probe_pid(pid: int) -> Process | None:
    """Return the live process under `pid`, None when there is none.

    A zombie is none; nor are the host's pid 1 and the kernel's threads, whose low numbers a runner in a
    container of its own writes into its pid file.

    A process that may not be signalled (another user's) is alive.
    """
    if pid <= 0 or (pid == 1 and pids_are_visible()):
        return None
    try:
        os.kill(pid, 0)
    except PermissionError:
        pass
    except (ProcessLookupError, OverflowError):
        return None
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        # Hidden from us (hidepid) or gone this instant; the signal said it lives.
        return Process()
    return _from_stat(pid, stat, time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))


def pids_are_visible() -> bool:
    """Whether this process sees the host's pids, in which the agents write theirs.

    In a container it does not, unless it was given the host's pid namespace.
    """
    try:
        return os.readlink("/proc/self/ns/pid") == _INITIAL_PID_NAMESPACE  # noqa: PTH115 (no real path)
    except OSError:
        return True


def _from_stat(pid: int, stat: bytes, now_s: float, uptime_s: float) -> Process | None:
    # The command's name stands in parentheses and may hold anything: fields are counted after the last one.
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] in {b"Z", b"X"} or int(fields[6]) & _KERNEL_THREAD:
        return None
    age_s = uptime_s - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return Process(now_s - age_s, lambda: _environ(pid))


def _environ(pid: int) -> Mapping[str, str] | None:
    """Return the environment with which the process was started (later changes do not show)."""
    try:
        with Path(f"/proc/{pid}/environ").open("rb") as file:
            text = file.read(_ENVIRON_LIMIT_BYTES)
    except OSError:
        return None
    pairs = (entry.partition("=") for entry in text.decode("utf-8", "replace").split("\0"))
    return {name: value for name, mark, value in pairs if mark}
