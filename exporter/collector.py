"""The Prometheus collector: reads every source once per scrape, behind one guard.

Scrapes that come at once, or within the cache window, share one reading. A source that fails costs its own
numbers and nothing else.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from exporter.exposition import metrics_of
from exporter.files.tree import Reason, Refused
from exporter.logs import RepeatLimiter, log_event
from exporter.selfmetrics import SourceAccount, self_rows
from exporter.source import Row, Source, SourceReading

_log = logging.getLogger("exporter")

_MAX_ACCOUNTS = 2_000
_CLOSE_WAIT_S = 2.0

SourceProvider = Callable[[float], Sequence[Source]]
"""Answers which sources there are now (Unix seconds); the same objects as long as they are the same."""


class SourceCollector(Collector):
    """Collects all sources of a provider.

    `clock` gives Unix seconds, `monotonic` seconds for the cache window. Safe for concurrent scrapes.
    """

    def __init__(
        self,
        provider: SourceProvider,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        cache_s: float = 2.0,
        limiter: RepeatLimiter | None = None,
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._monotonic = monotonic
        self._cache_s = cache_s
        self._limiter = limiter if limiter is not None else RepeatLimiter()
        self._lock = threading.Lock()
        self._accounts: dict[int, SourceAccount] = {}
        self._page: list[Metric] = []
        self._page_at_s: float | None = None
        self._readings = 0
        self._sources: Sequence[Source] = ()
        self._search_failures = 0
        self._catch_up = _CatchUp()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering must not read any file."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of a reading that is at most `cache_s` old."""
        arrived_s = self._monotonic()
        with self._lock:
            # A reading that ended after we arrived is as good as our own.
            if self._page_at_s is None or self._page_at_s < arrived_s - self._cache_s:
                self._page = self._read()
                self._page_at_s = self._monotonic()
            return self._page

    def accounts(self) -> Sequence[SourceAccount]:
        """Return how each source stood at the last reading; waits for none that is going on."""
        accounts = self._accounts.copy()
        return tuple(accounts[id(source)] for source in self._sources if id(source) in accounts)

    def read_to_the_end(self) -> None:
        """Read whatever history is left, in this thread; for one-shot use."""
        for source in self._provider(self._clock()):
            while source.catch_up():
                pass

    def close(self) -> None:
        """Stop reading and give back descriptors; a reading that hangs is not waited for."""
        self._catch_up.stop()
        if self._lock.acquire(timeout=_CLOSE_WAIT_S):
            try:
                for account in self._accounts.values():
                    account.source.close()
                self._accounts.clear()
            finally:
                self._lock.release()

    def _read(self) -> list[Metric]:
        began_s = self._monotonic()
        now_s = self._clock()
        sources = self._find_sources(now_s)
        self._forget_some_but(sources)
        rows: list[Row] = []
        for source in sources:
            rows.extend(self._read_source(source, now_s).rows)
        self._readings += 1
        accounts = [self._accounts[id(source)] for source in sources]
        self._catch_up.want([a.source for a in accounts if a.reading.unread_bytes])
        duration_s = self._monotonic() - began_s
        families = dict.fromkeys(family for source in sources for family in source.families)
        return metrics_of(rows, list(families)) + metrics_of(
            self_rows(accounts, self._readings, self._search_failures, duration_s)
        )

    def _find_sources(self, now_s: float) -> Sequence[Source]:
        """Return the sources there are now; the last ones known when finding them fails."""
        try:
            self._sources = self._provider(now_s)
        except Exception:  # noqa: BLE001 (the boundary, as below: it must not cost the page)
            self._search_failures += 1
            _log.exception("finding sources failed; going on with those known")
        return self._sources

    def _read_source(self, source: Source, now_s: float) -> SourceReading:
        """Read one source: the one place where its failures are caught, counted, timed and logged."""
        account = self._accounts.setdefault(id(source), SourceAccount(source))
        began_s = self._monotonic()
        try:
            reading = source.read(now_s)
        except Exception as error:  # noqa: BLE001 (the boundary: a bug in one source must not cost the page)
            _log.exception("source failed", extra={"fields": {"source": source.name, **source.labels}})
            problem = Refused(Reason.INTERNAL, f"{type(error).__name__}: see the log")
            reading = SourceReading(is_up=False, down_reason=problem.detail, problems=(problem,))
        account.take(reading, self._monotonic() - began_s, now_s)
        for problem in reading.problems:
            self._report(source, problem, is_down=not reading.is_up)
        for warning in reading.warnings:
            log_event(_log, logging.WARNING, warning, source=source.name, **source.labels)
        return reading

    def _report(self, source: Source, problem: Refused, *, is_down: bool) -> None:
        held_back = self._limiter.admit((id(source), problem.reason, _place(problem.detail)))
        if held_back is None:
            return
        log_event(
            _log,
            logging.WARNING,
            "source is down" if is_down else "file not read",
            source=source.name,
            **source.labels,
            reason=problem.reason.value,
            detail=problem.detail,
            consequence="its numbers are absent"
            if is_down
            else "its last good value stands, or it is absent",
            **({"repeats": held_back} if held_back else {}),
        )

    def _forget_some_but(self, sources: Sequence[Source]) -> None:
        """Forget sources that are gone, once there are very many: one that returns goes on counting."""
        excess = len(self._accounts) - _MAX_ACCOUNTS
        if excess > 0:
            kept = {id(source) for source in sources}
            for gone in [key for key in self._accounts if key not in kept][:excess]:
                self._accounts.pop(gone).source.close()


def _place(detail: str) -> str:
    """Return where a problem is, coarsely: a folder full of torn records is one thing to tell."""
    folder, slash, _ = detail.partition("/")
    return folder if slash else re.split(r"[\s:]", detail, maxsplit=1)[0]


class _CatchUp:
    """Reads long histories in a thread of its own, slice by slice, until none is left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_stopped = False

    def want(self, sources: Sequence[Source]) -> None:
        """Have the sources read on; does nothing while that is already going on."""
        with self._lock:
            if sources and not self._is_stopped and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(
                    target=self._run, args=(list(sources),), name="catch-up", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """End after the slice at hand."""
        with self._lock:
            self._is_stopped = True
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self, sources: list[Source]) -> None:
        for source in sources:
            try:
                while not self._is_stopped and source.catch_up():
                    time.sleep(0)  # let a waiting scrape go first
            except Exception:  # noqa: BLE001 (a scrape's boundary, too: the next one counts what it meets)
                _log.exception("catching up failed", extra={"fields": {"source": source.name}})
