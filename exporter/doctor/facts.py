"""What the doctor looked at: values only. None is "could not be known", unless a field says otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from exporter.files.tree import Refused
from exporter.sources.loki_mode.session import Status
from exporter.web.listen import Address
from exporter.web.neighbour import Neighbour
from shared.healthcheck import Report


@dataclass(frozen=True, slots=True)
class Barrier:
    """The first thing on the way to a directory that cannot be passed, and whose it is.

    `why` is the system's word; `is_missing`, `is_denied` tell the two that are mended in different ways.
    """

    path: str
    why: str
    is_missing: bool = False
    is_denied: bool = False
    owner: str | None = None
    mode: str | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """One configured directory. Ages in seconds, negative for a time in the future.

    `ages_s`: of the files that count, those that are there. `runner_lives`: whether the process that
    `loki.pid` names lives; None without such a file, or where pids cannot be seen. `is_global`: this is Loki
    Mode's own folder, no project's. `has_inner`: a `.loki` lies in it. `has_runner_route`: v9's
    runner is used, which writes no state file.
    """

    directory: str
    title: str
    barrier: Barrier | None = None
    has_inner: bool = False
    is_global: bool = False
    status: Status | None = None
    runner_lives: bool | None = None
    uptime_s: float | None = None
    ages_s: Mapping[str, float] = field(default_factory=dict)
    cost_records: int | None = None
    records_unmeasured: int = 0
    records_unpriced: int = 0
    has_cost: bool = False
    iterations_ended: float | None = None
    last_event_age_s: float | None = None
    has_runner_route: bool = False
    unread_bytes: int = 0
    problems: Sequence[Refused] = ()


@dataclass(frozen=True, slots=True)
class Process:
    """A process by its pid; `loki_dir` and `metrics_enabled` of its environment, where that may be read."""

    pid: int
    name: str
    loki_dir: str | None = None
    metrics_enabled: str | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """Somebody who listens on the port: at which address, as which user, and which process that is."""

    host: str
    user: str
    uid: int
    process: Process | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host.startswith("127.") or self.host == "::1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back from the port.

    `who` None: nobody listens. `page_failure`: why the metrics could not be fetched. `needs_user`: it
    answered 401; `is_user_refused`: although a user or token was sent. `needs_certificate`: it wants a
    client's certificate, and got none. `samples`: the values of the page by name, summed over labels;
    `denied_files`: files that the exporter may not read.
    """

    who: Neighbour | None = None
    is_tls: bool = False
    report: Report | None = None
    page_failure: str | None = None
    needs_user: bool = False
    is_user_refused: bool = False
    needs_certificate: bool = False
    samples: Mapping[str, float] = field(default_factory=dict)
    denied_files: float = 0.0


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything. `is_default_dir`: neither flag, variable nor file said which directory.

    `registered`: directories that Loki Mode registered. `wants_remote`: the Prometheus is on another host.
    `pids_hidden`: the host's pids cannot be seen from here.
    """

    is_enabled: bool
    is_default_dir: bool
    patterns: Sequence[str]
    registered: Sequence[str]
    projects: Sequence[Project]
    address: Address
    telemetry_path: str
    user: str
    uid: int
    listeners: Sequence[Listener] = ()
    answer: Answer = field(default_factory=Answer)
    has_web_config: bool = False
    wants_remote: bool = False
    pids_hidden: bool = False
    state_max_age_s: float = 30.0
