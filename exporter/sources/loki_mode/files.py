"""Reads one project's `.loki/` directory into `Facts`: the only part of this source that touches files."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from exporter.files.document import Document, Reading, Standing
from exporter.files.jsonvalue import as_mapping, parse_json
from exporter.files.record_folder import RecordFolder, Records
from exporter.files.tree import Reason, Refused, Tree
from exporter.pricing import PriceTable, parse_prices
from exporter.process import PidProbe, Process
from exporter.sources.loki_mode import extras, lists
from exporter.sources.loki_mode.cost import Record, parse_record, parse_result_cost
from exporter.sources.loki_mode.event_log import EventLog, EventLogReading
from exporter.sources.loki_mode.session import PidFile, is_alive
from exporter.sources.loki_mode.state import State, parse_state

DOCUMENT_LIMIT_BYTES = 2 << 20
"""State and context tracker grow by half a kilobyte an iteration. Parsing this much takes 50 ms at worst, and
there are seventeen such files."""

RECEIPT_LIMIT_BYTES = 256 << 10
RECEIPTS_BUDGET_S = 0.5
"""Until all receipts were read once, within this much of a scrape each time, their numbers are absent."""

RECORD_LIMIT_BYTES = 64 << 10
PID_LIMIT_BYTES = 64
MAX_SESSIONS = 5_000
MAX_RECEIPTS = 5_000

QUEUE_FILES = {
    "pending": "queue/pending.json",
    "in_progress": "queue/in-progress.json",
    "completed": "queue/completed.json",
    "failed": "queue/failed.json",
    "review": "queue/review.json",
    "blocked": "queue/blocked.json",
    "dead_letter": "queue/dead-letter.json",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything one reading of a project's directory found; `problems` only those met for the first time.

    `receipts` is None where the version keeps none.
    """

    state: Reading[State]
    session: Reading[extras.SessionInfo]
    orchestrator: Reading[extras.Orchestrator]
    provider: Reading[str]
    queues: Mapping[str, Reading[int]]
    agents: Reading[lists.AgentCounts]
    budget: Reading[extras.Budget]
    tracking: Reading[extras.Tracking]
    prices: Reading[PriceTable]
    records: Records[Record]
    results: Records[float | None]
    receipts: tuple[extras.Receipt, ...] | None
    events: EventLogReading
    pid_files: tuple[PidFile, ...]
    is_session_pid_dead: bool
    is_pause_file: bool
    mtimes_s: Mapping[str, float]
    problems: tuple[Refused, ...]


class ProjectFiles:
    """The files of one project, remembered between readings. `read` is called by one thread at a time."""

    def __init__(self, root: str, *, pid_probe: PidProbe, keep_s: float) -> None:
        self.root = root
        self._pid_probe = pid_probe
        self._keep_s = keep_s
        self._state = self._document("dashboard-state.json", parse_state)
        self._session = self._document("session.json", extras.parse_session_info)
        self._orchestrator = self._document("state/orchestrator.json", extras.parse_orchestrator)
        self._provider = self._document("state/provider", extras.parse_provider)
        self._queues = {name: self._document(path, lists.parse_queue) for name, path in QUEUE_FILES.items()}
        self._agents = self._document("state/agents.json", lists.parse_agents)
        self._budget = self._document("metrics/budget.json", extras.parse_budget)
        self._tracking = self._document("context/tracking.json", extras.parse_tracking)
        self._prices = self._document("pricing.json", _parse_project_prices)
        self._records = RecordFolder(
            "metrics/efficiency", "", ".json", parse_record, keep_s, RECORD_LIMIT_BYTES
        )
        self._results = RecordFolder(
            "metrics", "result-cost-", ".json", parse_result_cost, keep_s, RECORD_LIMIT_BYTES
        )
        self._receipts: dict[str, Document[extras.Receipt]] = {}
        self._pids: dict[str, Document[int]] = {}
        self._unlisted: dict[str, Reason] = {}
        self.events = EventLog(keep_s=keep_s)

    def read(self, now_s: float) -> Facts | Refused:
        """Return what is there now, or why the directory itself cannot be read."""
        with Tree(self.root) as tree:
            if tree.open_error is not None:
                return tree.open_error
            return self._read(tree, now_s)

    def read_state(self, now_s: float) -> Reading[State]:
        """Return the state file alone, as it stands now."""
        with Tree(self.root) as tree:
            return self._state.read(tree, now_s)

    def catch_up(self) -> int:
        """Read a slice of the event history; return the bytes that are left."""
        with Tree(self.root) as tree:
            return self.events.catch_up(tree)

    def _read(self, tree: Tree, now_s: float) -> Facts:
        # Pids before events: a session that ends between the two is seen alive, which the next scrape
        # mends; the other way round a live one could be seen with the end of its predecessor.
        pid_problems: list[Refused] = []
        pid_files = tuple(self._pid_files(tree, now_s, pid_problems))
        session = self._session.read(tree, now_s)
        documents: dict[str, Reading[Any]] = {
            "dashboard-state.json": (state := self._state.read(tree, now_s)),
            "session.json": session,
            "state/orchestrator.json": (orchestrator := self._orchestrator.read(tree, now_s)),
            "state/provider": (provider := self._provider.read(tree, now_s)),
            "state/agents.json": (agents := self._agents.read(tree, now_s)),
            "metrics/budget.json": (budget := self._budget.read(tree, now_s)),
            "context/tracking.json": (tracking := self._tracking.read(tree, now_s)),
            "pricing.json": (prices := self._prices.read(tree, now_s)),
        }
        queues = {name: document.read(tree, now_s) for name, document in self._queues.items()}
        documents.update({QUEUE_FILES[name]: reading for name, reading in queues.items()})
        records, results = self._records.read(tree, now_s), self._results.read(tree, now_s)
        receipts, receipt_problems = self._read_receipts(tree, now_s)
        events = self.events.read(tree, now_s)
        return Facts(
            state=state,
            session=session,
            orchestrator=orchestrator,
            provider=provider,
            queues=queues,
            agents=agents,
            budget=budget,
            tracking=tracking,
            prices=prices,
            records=records,
            results=results,
            receipts=receipts,
            events=events,
            pid_files=pid_files,
            is_session_pid_dead=self._is_dead(session),
            is_pause_file=tree.exists("PAUSE"),
            mtimes_s=_mtimes(documents, records, events),
            problems=(
                *pid_problems,
                *(reading.problem for reading in documents.values() if reading.problem is not None),
                *records.problems,
                *results.problems,
                *receipt_problems,
                *((events.problem,) if events.problem is not None else ()),
            ),
        )

    def _document(self, path: str, parse: Any) -> Document[Any]:
        return Document(path, parse, keep_s=self._keep_s, limit_bytes=DOCUMENT_LIMIT_BYTES)

    def _pid_files(self, tree: Tree, now_s: float, problems: list[Refused]) -> Iterator[PidFile]:
        """Yield the project's pid file and those of its sessions (v6.4 on), as far as they exist."""
        sessions = self._listed(tree, "sessions", MAX_SESSIONS + 1, problems) or []
        if len(sessions) > MAX_SESSIONS:
            # The live one may be among those beyond: then nobody knows.
            sessions = sessions[:MAX_SESSIONS]
            yield PidFile(None, None, is_settled=False)
        paths = ["loki.pid", *(f"sessions/{name}/loki.pid" for name in sorted(sessions))]
        for gone in self._pids.keys() - set(paths):
            del self._pids[gone]
        for path in paths:
            if path not in self._pids:
                self._pids[path] = Document(
                    path, lists.parse_pid, keep_s=self._keep_s, limit_bytes=PID_LIMIT_BYTES
                )
            reading = self._pids[path].read(tree, now_s)
            if reading.problem is not None:
                problems.append(reading.problem)
            if reading.exists:
                yield replace(self._pid_file(tree, path, reading, now_s), is_own=path == "loki.pid")

    def _pid_file(self, tree: Tree, path: str, reading: Reading[int], now_s: float) -> PidFile:
        pid = reading.value
        if pid is None:
            found = tree.stat(path)
            is_young = not isinstance(found, Refused) and 0 <= now_s - found.st_mtime <= self._keep_s
            return PidFile(None, None, is_settled=not is_young)
        return PidFile(reading.mtime_s, pid, self._process(pid))

    def _process(self, pid: int) -> Process | None:
        if pid <= 0:
            return None
        answer = self._pid_probe(pid)
        return Process() if answer is True else answer or None

    def _is_dead(self, reading: Reading[extras.SessionInfo]) -> bool:
        """Whether `session.json` names a process, and it does not live or is another one by now."""
        session = reading.value
        if session is None or not session.pid:
            return False
        written_s = session.started_s if session.started_s is not None else reading.mtime_s
        return not is_alive(written_s, self._process(session.pid))

    def _listed(self, tree: Tree, path: str, limit: int, problems: list[Refused]) -> list[str] | None:
        """Return the names in a folder, None where there is none; why it may not be read is told once."""
        names = tree.names(path, limit)
        if not isinstance(names, Refused) or names.reason is Reason.MISSING:
            self._unlisted.pop(path, None)
        elif self._unlisted.get(path) is not names.reason:
            self._unlisted[path] = names.reason
            problems.append(names)
        return None if isinstance(names, Refused) else names

    def _read_receipts(
        self, tree: Tree, now_s: float
    ) -> tuple[tuple[extras.Receipt, ...] | None, list[Refused]]:
        problems: list[Refused] = []
        names = self._listed(tree, "proofs", MAX_RECEIPTS + 1, problems)
        if names is None or len(names) > MAX_RECEIPTS:
            # More than a scrape has time for are absent, not cut off.
            self._receipts.clear()
            return None, problems
        paths = {f"proofs/{name}/proof.json" for name in names}
        for gone in self._receipts.keys() - paths:
            del self._receipts[gone]
        found: list[extras.Receipt] = []
        until_s = time.monotonic() + RECEIPTS_BUDGET_S
        for path in sorted(paths):
            if time.monotonic() > until_s:
                return None, problems
            if path not in self._receipts:
                self._receipts[path] = Document(
                    path, extras.parse_receipt, keep_s=self._keep_s, limit_bytes=RECEIPT_LIMIT_BYTES
                )
            reading = self._receipts[path].read(tree, now_s)
            if reading.value is not None:
                found.append(reading.value)
            if reading.problem is not None:
                problems.append(reading.problem)
        return tuple(found), problems


def _parse_project_prices(text: bytes) -> PriceTable:
    """Return the usable prices of a project's `pricing.json`."""
    return parse_prices(as_mapping(parse_json(text)).get("models"))


def _mtimes(
    documents: Mapping[str, Reading[Any]], records: Records[Any], events: EventLogReading
) -> dict[str, float]:
    """Return the mtime of each file whose value is good now: a broken one must not look fresh."""
    mtimes = {
        path: reading.mtime_s
        for path, reading in documents.items()
        if reading.standing is Standing.GOOD and reading.mtime_s is not None
    }
    if records.newest_mtime_s is not None:
        mtimes["metrics/efficiency"] = records.newest_mtime_s
    if events.mtime_s is not None:
        mtimes["events.jsonl"] = events.mtime_s
    return mtimes
