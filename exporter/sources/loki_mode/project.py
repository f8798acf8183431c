"""One Loki Mode project as a source: reads its directory, judges the session, makes the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from exporter.document import Standing
from exporter.pricing import PriceTable, built_in_prices
from exporter.process import PidProbe, pids_are_visible, probe_pid
from exporter.source import Family, Labels, Row, SourceReading
from exporter.sources.loki_mode import families
from exporter.sources.loki_mode.cost import Costs, add_up
from exporter.sources.loki_mode.files import Facts, ProjectFiles
from exporter.sources.loki_mode.lists import AgentCounts
from exporter.sources.loki_mode.numbers import Derived, evidence, listed_agents, max_iterations, rows
from exporter.sources.loki_mode.session import Session, Status, judge
from exporter.tree import Reason, Refused


@dataclass(frozen=True, slots=True)
class Settings:
    """How projects are read; the same for all of them.

    `environ` stands in where a runner's own environment may not be read. `prices` override the project's
    `pricing.json`, which overrides the built-in table. `pids_visible` False: the freshness of the state
    decides instead of pids (a container that does not see the host's).
    """

    environ: Mapping[str, str] = field(default_factory=dict)
    pid_probe: PidProbe = probe_pid
    pids_visible: bool = field(default_factory=pids_are_visible)
    prices: PriceTable = field(default_factory=dict)
    state_max_age_s: float = 30.0
    keep_s: float = 60.0


class LokiModeProject:
    """The `.loki/` directory at `root`.

    `name_it` answers the labels that tell it from others (none for a single one) from the name that its state
    file states, if any; it is asked once, at the first reading.
    """

    name = "loki-mode"
    families: Sequence[Family] = families.ALL

    def __init__(self, root: str, name_it: Callable[[str | None], Labels], settings: Settings) -> None:
        self.root = root
        self._name_it = name_it
        self._labels: Labels | None = None
        self._settings = settings
        self._files = ProjectFiles(root, pid_probe=settings.pid_probe, keep_s=settings.keep_s)
        self._agents = _AgentMemory(settings.keep_s)
        self._costs: tuple[PriceTable, Costs] | None = None
        self._bad_limit: str | None = None
        self._down: Reason | None = None

    @property
    def labels(self) -> Labels:
        """The labels of every row; none before the first reading."""
        return self._labels or {}

    def read(self, now_s: float) -> SourceReading:
        """Return the project's numbers; down only when the directory itself cannot be read."""
        facts = self._files.read(now_s)
        if self._labels is None:
            state = None if isinstance(facts, Refused) else facts.state.value
            self._labels = self._name_it(state.project if state is not None else None)
        if isinstance(facts, Refused):
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
        costs = self._add_up(facts)
        limit, problems = self._limit(session)
        derived = Derived(session, costs, self._agents.counts(facts, session, now_s), limit)
        return SourceReading(
            rows=self._labelled(rows(facts, derived)),
            mtimes_s=facts.mtimes_s,
            problems=(*facts.problems, *problems),
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

    def _add_up(self, facts: Facts) -> Costs:
        """Add the records up again only when a record or a price changed."""
        own = facts.prices.value or {}
        if self._costs is not None and not (facts.records.is_changed or facts.results.is_changed):
            known_for, costs = self._costs
            if known_for is own or known_for == own:
                return costs
        prices = {**built_in_prices(), **own, **self._settings.prices}
        costs = add_up(facts.records.by_name, facts.results.by_name, prices)
        self._costs = (own, costs)
        return costs

    def _limit(self, session: Session) -> tuple[int | None, tuple[Refused, ...]]:
        """Return LOKI_MAX_ITERATIONS, the runner's own before ours; one warning for each bad value."""
        process = session.live.process if session.live is not None else None
        limit = max_iterations((process.environ() if process is not None else None, self._settings.environ))
        if isinstance(limit, int):
            self._bad_limit = None
            return limit, ()
        if limit == self._bad_limit:
            return None, ()
        self._bad_limit = limit
        shown = limit[:40]
        return None, (Refused(Reason.SHAPE, f"LOKI_MAX_ITERATIONS is {shown!r}, no whole number >= 1"),)


@dataclass(slots=True)
class _AgentMemory:
    """Bridges the moments in which a second writer empties `agents.json`, as long as the session lasts.

    A living pid tells that it does; in a container, where pids cannot be seen, a fresh state.
    """

    keep_s: float
    last: AgentCounts = (0, 0)
    seen_s: float = -inf

    def counts(self, facts: Facts, session: Session, now_s: float) -> AgentCounts | None:
        listed = listed_agents(facts)
        is_held = facts.agents.standing is Standing.HELD
        if listed is not None and listed[1] > 0 and not is_held:
            self.last, self.seen_s = listed, now_s
            return listed
        if session.status in {Status.RUNNING, Status.PAUSED} and now_s - self.seen_s <= self.keep_s:
            return self.last
        return None if is_held else listed
