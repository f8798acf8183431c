"""Finds who listens on a port, in the kernel's tables below /proc, without asking over the network."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.doctor.facts import Listener, Process

_LISTEN = "0A"
_ENVIRON_LIMIT_BYTES = 1 << 20
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Socket:
    """A listening TCP socket: its address, the user whose it is, and its inode."""

    host: str
    port: int
    uid: int
    inode: int


def parse_sockets(table: str) -> list[Socket]:
    """Return the listening sockets of `/proc/net/tcp` or `tcp6`; lines of another form are left out.

    Addresses stand there as 32-bit words in the machine's own byte order, ports as hexadecimal numbers.
    """
    found = []
    for line in table.splitlines()[1:]:
        words = line.split()
        try:
            address, port = words[1].split(":")
            if words[3] == _LISTEN:
                found.append(Socket(_host(address), int(port, 16), int(words[7]), int(words[9])))
        except (ValueError, IndexError, struct.error, OSError):
            continue
    return found


def _host(address: str) -> str:
    words = [int(address[n : n + 8], 16) for n in range(0, len(address), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)


def listeners(hosts: frozenset[str], port: int, proc: Path = PROC) -> tuple[Listener, ...]:
    """Return who listens on the port at one of the addresses, or at every address of the machine."""
    tables = (_read(proc / "net" / name) for name in ("tcp", "tcp6"))
    sockets = [
        s for table in tables for s in parse_sockets(table) if s.port == port and _meets(s.host, hosts)
    ]
    owners = _owners(frozenset(s.inode for s in sockets), proc) if sockets else {}
    return tuple(Listener(s.host, user_name(s.uid), s.uid, owners.get(s.inode)) for s in sockets)


def _meets(host: str, hosts: frozenset[str]) -> bool:
    """Whether two listeners would get into each other's way; `::` takes IPv4, too, on most machines."""
    everywhere = {"0.0.0.0", "::"}  # noqa: S104 (recognised, not chosen)
    return host in everywhere or host in hosts or not everywhere.isdisjoint(hosts)


def _owners(inodes: frozenset[int], proc: Path) -> dict[int, Process]:
    """Return the processes that hold these sockets, as far as this user may see."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, Process] = {}
    for pid in _pids(proc):
        for link in _descriptors(proc / str(pid) / "fd"):
            if link in wanted:
                found.setdefault(wanted[link], _process(pid, proc))
    return found


def _descriptors(folder: Path) -> Iterator[str]:
    """Yield what a process has open; nothing of another user's process, or of one that is gone."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                yield os.readlink(entry.path)  # noqa: PTH115 (what it says, which is no path)


def _pids(proc: Path) -> Iterator[int]:
    try:
        yield from sorted(int(entry.name) for entry in os.scandir(proc) if entry.name.isdigit())
    except OSError:
        return


def _process(pid: int, proc: Path) -> Process:
    """Return name and the two variables that matter; arguments and other variables may hold secrets."""
    environ = _environ(proc / str(pid) / "environ")
    name = _read(proc / str(pid) / "comm").strip() or "unknown"
    return Process(pid, name, environ.get("LOKI_DIR"), environ.get("LOKI_METRICS_ENABLED"))


def _environ(path: Path) -> Mapping[str, str]:
    pairs = (entry.partition("=") for entry in _read(path).split("\0"))
    return {name: value for name, mark, value in pairs if mark}


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_ENVIRON_LIMIT_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def user_name(uid: int) -> str:
    """Return the user's name, or its number where it has none (a service's dynamic user)."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
