"""Looks: at files, processes, the port and the running exporter; changes nothing and judges nothing."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from exporter.commands.client import Access
from exporter.config import DEFAULT_REGISTRY, Config
from exporter.doctor.answer import ask_exporter
from exporter.doctor.facts import Barrier, Facts, Project
from exporter.doctor.sockets import listeners, user_name
from exporter.files.tree import Refused, Tree
from exporter.glance.overview import overview
from exporter.process import pids_are_visible, probe_pid
from exporter.selfmetrics import SourceAccount
from exporter.service import lone_title, make_collector
from exporter.source import Histogram
from exporter.sources.loki_mode import families as f
from exporter.sources.loki_mode.project import LokiModeProject
from exporter.sources.loki_mode.session import is_alive

_FILES = ("dashboard-state.json", "events.jsonl", "loki.pid", "session.json", "state/agents.json")
_MAX_RECORDS = 100_000
_REGISTRY_LIMIT_BYTES = 4 << 20


def gather(
    config: Config, environ: Mapping[str, str], access: Access, *, wants_remote: bool, now_s: float
) -> Facts:
    """Return everything there is to know; `access` is how the running exporter is asked."""
    pids_visible = pids_are_visible() if config.pids == "auto" else config.pids == "visible"
    address = config.listen_address
    answer = ask_exporter(address, config.telemetry_path, access)
    return Facts(
        is_enabled=config.is_enabled,
        is_default_dir=config.loki_dirs == Config().loki_dirs and not environ.get("LOKI_DIR"),
        patterns=config.loki_dirs,
        registered=_registered(),
        projects=_projects(config, environ, pids_visible=pids_visible, now_s=now_s),
        address=address,
        telemetry_path=config.telemetry_path,
        user=user_name(os.geteuid()),
        uid=os.geteuid(),
        listeners=listeners(_addresses(address.host), address.port),
        answer=answer,
        has_web_config=config.web_config_file is not None,
        wants_remote=wants_remote,
        pids_hidden=not pids_visible,
        state_max_age_s=config.state_max_age_s,
    )


def _addresses(host: str) -> frozenset[str]:
    """Return the addresses that a host name stands for here."""
    if not host:
        return frozenset({"::"})
    try:
        return frozenset(str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return frozenset({host})


def _registered() -> Sequence[str]:
    """Return the directories of the projects that Loki Mode registered for this user; for a hint only."""
    try:
        with Path(DEFAULT_REGISTRY).expanduser().open("rb") as file:
            projects = json.loads(file.read(_REGISTRY_LIMIT_BYTES))["projects"].values()
        directories = [Path(project["path"]) / ".loki" for project in projects]
        return sorted(str(directory) for directory in directories if directory.is_dir())
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ()


def _projects(
    config: Config, environ: Mapping[str, str], *, pids_visible: bool, now_s: float
) -> tuple[Project, ...]:
    """Return the configured projects, each read once, as a scrape would."""
    collector = make_collector(config, environ, is_patient=False)
    try:
        for _ in collector.collect():
            pass
        return tuple(
            _project(account, account.source, lone_title(config), pids_visible=pids_visible, now_s=now_s)
            for account in collector.accounts()
            if isinstance(account.source, LokiModeProject)
        )
    finally:
        collector.close()


def _project(
    account: SourceAccount, source: LokiModeProject, title: str, *, pids_visible: bool, now_s: float
) -> Project:
    directory = str(Path(source.root).absolute())
    (seen,) = overview([account], title)
    barrier = find_barrier(Path(directory))
    session = seen.session
    if barrier is not None or session is None:
        reason = account.reading.down_reason or "cannot be read"
        return Project(directory, seen.title, barrier or Barrier(directory, reason))
    with Tree(directory) as tree:
        found = {name: tree.stat(name) for name in _FILES}
        ages_s = {name: now_s - s.st_mtime for name, s in found.items() if not isinstance(s, Refused)}
        records = tree.names("metrics/efficiency", _MAX_RECORDS)
        is_global = not ages_s and tree.exists("dashboard/projects.json")
        return Project(
            directory=directory,
            title=seen.title,
            has_inner=not ages_s and Path(directory, ".loki").is_dir(),
            is_global=is_global,
            status=session.status,
            runner_lives=_runner_lives(tree) if pids_visible else None,
            uptime_s=session.uptime_s,
            ages_s=ages_s,
            cost_records=None if isinstance(records, Refused) else sum(n.endswith(".json") for n in records),
            records_unmeasured=account.reading.records_unmeasured,
            records_unpriced=account.reading.records_unpriced,
            has_cost=session.cost_usd is not None,
            iterations_ended=_iterations_ended(account),
            last_event_age_s=None if session.last_event_s is None else now_s - session.last_event_s,
            has_runner_route=tree.exists("runner-route"),
            unread_bytes=account.reading.unread_bytes,
            problems=account.reading.problems,
        )


def _iterations_ended(account: SourceAccount) -> float | None:
    counts = [
        row.value
        for row in account.reading.rows
        if row.family is f.ITERATIONS and not isinstance(row.value, Histogram)
    ]
    return sum(counts) if counts else None


def _runner_lives(tree: Tree) -> bool | None:
    """Return whether the process that `loki.pid` names wrote it and lives; None where that is not known."""
    fd = tree.open_file("loki.pid")
    if isinstance(fd, Refused):
        return None
    try:
        text, written_s = os.read(fd, 64), os.fstat(fd).st_mtime
    except OSError:
        return None
    finally:
        os.close(fd)
    with contextlib.suppress(ValueError):
        return is_alive(written_s, probe_pid(int(text)))
    return None  # being written, or no pid


def find_barrier(directory: Path) -> Barrier | None:
    """Return the first thing on the way to the directory (absolute) that cannot be passed, None for none."""
    part = directory
    try:
        for part in (*reversed(directory.parents), directory):
            if not stat.S_ISDIR(part.stat().st_mode):
                return Barrier(str(part), "is no directory")
        part = directory / "loki.pid"
        with os.scandir(directory), contextlib.suppress(FileNotFoundError):
            part.stat()  # needs the right to pass, as scandir needs that to read
    except FileNotFoundError:
        return Barrier(str(part), "does not exist", is_missing=True)
    except PermissionError as error:
        return _denied(part.parent, error)
    except OSError as error:
        return Barrier(str(part), error.strerror or str(error))
    return None


def _denied(path: Path, error: OSError) -> Barrier:
    owner = mode = None
    with contextlib.suppress(OSError):
        found = path.stat()
        owner, mode = user_name(found.st_uid), stat.filemode(found.st_mode)
    return Barrier(str(path), error.strerror or "Permission denied", is_denied=True, owner=owner, mode=mode)
