"""One Loki Mode project as a source: reads its directory, judges the session, makes the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from exporter.files.document import Standing
from exporter.files.tree import Reason, Refused
from exporter.pricing import PriceTable, built_in_prices
from exporter.process import PidProbe, pids_are_visible, probe_pid
from exporter.source import Family, Labels, Row, SourceReading
from exporter.sources.loki_mode import families
from exporter.sources.loki_mode.cost import UNKNOWN_COSTS, Costs, add_up
from exporter.sources.loki_mode.files import Facts, ProjectFiles
from exporter.sources.loki_mode.lists import AgentCounts
from exporter.sources.loki_mode.numbers import (
    Derived,
    agents_of_state,
    evidence,
    max_iterations,
    rows,
    state_written_s,
)
from exporter.sources.loki_mode.session import Session, Status, judge


@dataclass(frozen=True, slots=True)
class Settings:
    """How projects are read; the same for all of them.

    `environ` stands in where a runner's own environment may not be read. `prices` override the project's
    `pricing.json`, which overrides the built-in table. `pids_visible` False: the freshness of the state
    decides instead of pids (a container that does not see the host's). `name_patience_s`: how long a torn
    state is waited for, because it may state the project's name.
    """

    environ: Mapping[str, str] = field(default_factory=dict)
    pid_probe: PidProbe = probe_pid
    pids_visible: bool = field(default_factory=pids_are_visible)
    prices: PriceTable = field(default_factory=dict)
    state_max_age_s: float = 30.0
    keep_s: float = 60.0
    name_patience_s: float = 60.0


class LokiModeProject:
    """The `.loki/` directory at `root`.

    `name_it` answers the labels that tell it from others (none for a single one) from the name that its state
    file states, if any; it is asked once, at the latest at the first reading.
    """

    name = "loki-mode"
    families: Sequence[Family] = families.ALL

    def __init__(self, root: str, name_it: Callable[[str | None], Labels], settings: Settings) -> None:
        self.root = root
        self._name_it = name_it
        self._labels: Labels | None = None
        self._first_asked_s = inf
        self._early_problems: list[Refused] = []
        self._settings = settings
        self._files = ProjectFiles(root, pid_probe=settings.pid_probe, keep_s=settings.keep_s)
        self._agents = _AgentMemory(settings.keep_s)
        self._costs: tuple[PriceTable, Costs] | None = None
        self._costs_at_s = -inf
        self._bad_limit: str | None = None
        self._down: Reason | None = None

    @property
    def labels(self) -> Labels:
        """The labels of every row; none before the first reading."""
        return self._labels or {}

    def settle_labels_unstated(self) -> None:
        """Settle the labels where the state file has no say in them."""
        self._labels = self._name_it(None)

    def settle_labels(self, now_s: float, patience_s: float) -> bool:
        """Settle what the project is called, once; False: ask again, its state file is torn just now.

        A torn state may hold the name, and labels never change: so it is waited for, `patience_s` at most.
        """
        if self._labels is None:
            state = self._files.read_state(now_s)
            if state.problem is not None:
                self._early_problems.append(state.problem)
            self._first_asked_s = min(self._first_asked_s, now_s)
            if state.standing is Standing.BROKEN and now_s - self._first_asked_s < patience_s:
                return False
            self._labels = self._name_it(state.value.project if state.value is not None else None)
        return True

    def read(self, now_s: float) -> SourceReading:
        """Return the project's numbers; down only when the directory itself cannot be read."""
        facts = self._files.read(now_s)
        if self._labels is None:
            state = None if isinstance(facts, Refused) else facts.state.value
            self._labels = self._name_it(state.project if state is not None else None)
        early_problems, self._early_problems = self._early_problems, []
        if isinstance(facts, Refused):
            self._files.events.close()  # the position is kept, and with it the counters
            is_new, self._down = facts.reason is not self._down, facts.reason
            return SourceReading(is_up=False, down_reason=facts.detail, problems=(facts,) if is_new else ())
        self._down = None
        settings = self._settings
        session = judge(
            evidence(
                facts,
                now_s,
                pids_visible=settings.pids_visible,
                state_max_age_s=settings.state_max_age_s,
            )
        )
        costs = self._add_up(facts, now_s)
        limit, warnings = self._limit(session)
        derived = Derived(session, costs, self._agents.counts(facts, session, now_s), limit)
        return SourceReading(
            rows=self._labelled(rows(facts, derived)),
            mtimes_s=facts.mtimes_s,
            problems=(*early_problems, *facts.problems),
            warnings=warnings,
            lines_rejected=self._files.events.lines_rejected,
            records_unpriced=costs.unpriced,
            records_unmeasured=costs.unmeasured,
            unread_bytes=facts.events.unread_bytes,
        )

    def catch_up(self) -> int:
        """Read a slice of the event history; return the bytes that are left."""
        return self._files.catch_up()

    def close(self) -> None:
        """Give back descriptors."""
        self._files.events.close()

    def _labelled(self, found: Iterable[Row]) -> tuple[Row, ...]:
        labels = self.labels
        if not labels:
            return tuple(found)
        return tuple(replace(row, labels={**labels, **row.labels}) for row in found)

    def _add_up(self, facts: Facts, now_s: float) -> Costs:
        """Add the records up again only when a record or a price changed.

        Until all records were read, the last complete sum stands for `keep_s` seconds, and is then unknown.
        """
        if not (facts.records.is_complete and facts.results.is_complete):
            is_young = self._costs is not None and now_s - self._costs_at_s <= self._settings.keep_s
            return self._costs[1] if self._costs is not None and is_young else UNKNOWN_COSTS
        self._costs_at_s = now_s
        own = facts.prices.value or {}
        if self._costs is not None and not (facts.records.is_changed or facts.results.is_changed):
            known_for, costs = self._costs
            if known_for is own or known_for == own:
                return costs
        prices = {**built_in_prices(), **own, **self._settings.prices}
        costs = add_up(facts.records.by_name, facts.results.by_name, prices)
        self._costs = (own, costs)
        return costs

    def _limit(self, session: Session) -> tuple[int | None, tuple[str, ...]]:
        """Return LOKI_MAX_ITERATIONS, the runner's own before ours; one warning for each bad value."""
        process = session.live.process if session.live is not None else None
        limit = max_iterations((process.environ() if process is not None else None, self._settings.environ))
        if isinstance(limit, int):
            self._bad_limit = None
            return limit, ()
        if limit == self._bad_limit:
            return None, ()
        self._bad_limit = limit
        warning = f"LOKI_MAX_ITERATIONS is {limit[:40]!r}, no whole number >= 1; loki_iteration_max is absent"
        return None, (warning,)


@dataclass(slots=True)
class _AgentMemory:
    """Bridges the moments in which a second writer empties `agents.json`, as long as the session lasts.

    A living pid tells that it does; in a container, where pids cannot be seen, a fresh state.
    """

    keep_s: float
    last: AgentCounts = (0, 0)
    seen_s: float = -inf

    def counts(self, facts: Facts, session: Session, now_s: float) -> AgentCounts | None:
        """Return the agents by their own file; while that is empty or torn, by what stands in for it."""
        listed = facts.agents.value if facts.agents.standing is Standing.GOOD else None
        if session.status not in {Status.RUNNING, Status.PAUSED}:
            return agents_of_state(facts) if not facts.agents.exists else listed
        if not session.is_of(facts.agents.mtime_s, slack_s=2.0):
            listed = None  # an earlier session left it behind
        if listed is not None and listed[1] > 0:
            self.last, self.seen_s = listed, now_s
            return listed
        if now_s - self.seen_s <= self.keep_s and session.is_of(self.seen_s):
            return self.last
        copied = agents_of_state(facts) if session.is_of(state_written_s(facts), slack_s=2.0) else None
        return copied if copied is not None and (listed is None or copied[1] > 0) else listed
