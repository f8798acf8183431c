"""Measures other processes: CPU to the nanosecond, memory, and the times of scrapes."""

from __future__ import annotations

import http.client
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import Self

_CPUCLOCK_SCHED = 2
_HEADERS = {"Accept": "text/plain;version=0.0.4"}


@dataclass(frozen=True)
class Cost:
    """What something took: CPU of the measured process and time on the wall, in seconds."""

    cpu_s: float
    wall_s: float


@dataclass(frozen=True)
class Run:
    """A process that ran to its end: its cost, its largest resident set, and what it printed."""

    cost: Cost
    max_rss_bytes: int
    output: bytes


def mean_cost(costs: Sequence[Cost]) -> Cost:
    """Return the mean of some costs, at least one."""
    return Cost(fmean(cost.cpu_s for cost in costs), fmean(cost.wall_s for cost in costs))


def cpu_s(pid: int) -> float:
    """Return the CPU time of all threads of a process (clock_getcpuclockid's clock: nanoseconds)."""
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)


def rss_bytes(pid: int) -> int:
    """Return the resident set of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no memory")


def written_bytes(pid: int) -> int:
    """Return how much a process has had written to storage."""
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise ValueError(f"process {pid} has no storage")


def environment() -> dict[str, str]:
    """Return ours, but that Python keeps what it compiles, as it does of an installed program."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run(argv: Sequence[str]) -> Run:
    """Run a program to its end; raises `ChildProcessError` when it fails.

    A child begins with its parent's largest resident set as its own, so ours must be smaller than what is
    to be measured.
    """
    with tempfile.TemporaryFile() as output:
        began_s = time.perf_counter()
        with subprocess.Popen(argv, stdout=output, env=environment()) as process:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - began_s
        if process.returncode:
            raise ChildProcessError(f"{' '.join(argv)} ended with {process.returncode}")
        output.seek(0)
        return Run(Cost(used.ru_utime + used.ru_stime, wall_s), used.ru_maxrss * 1024, output.read())


class Scraper:
    """Scrapes one server over one connection, as Prometheus does, and measures it. A context manager."""

    def __init__(self, pid: int, port: int) -> None:
        self._pid = pid
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up the connection; the next scrape makes a new one."""
        self._connection.close()

    def page(self) -> str:
        """Scrape once and return the page; raises `OSError` or `HTTPException` where there is none."""
        self._connection.request("GET", "/metrics", headers=_HEADERS)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"HTTP {answer.status}")
        return body.decode()

    def cost(self, scrapes: int) -> Cost:
        """Return what one scrape takes, the mean of so many."""
        before_s, began_s = cpu_s(self._pid), time.perf_counter()
        for _ in range(scrapes):
            self.page()
        used_s, took_s = cpu_s(self._pid) - before_s, time.perf_counter() - began_s
        return Cost(used_s / scrapes, took_s / scrapes)
