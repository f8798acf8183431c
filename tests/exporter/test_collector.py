from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from loki_world import World, page_text, samples, series
from prometheus_client import CollectorRegistry

import exporter
from exporter.collector import SourceCollector
from exporter.files.tree import Reason, Refused
from exporter.process import Process
from exporter.source import Family, Histogram, Kind, Row, SourceReading

NUMBER = Family("sample_number", Kind.GAUGE, "A number.")


@dataclass
class Steps:
    """A monotonic clock that the test moves."""

    now_s: float = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


@dataclass(eq=False)
class Fake:
    """A source that counts its readings and does what it is told."""

    name: str = "fake"
    labels: dict[str, str] = field(default_factory=dict)
    families: Sequence[Family] = (NUMBER,)
    readings: int = 0
    act: Callable[[], object] = lambda: None
    problems: tuple[Refused, ...] = ()

    def read(self, now_s: float) -> SourceReading:
        """Return the number of this reading."""
        assert now_s > 0
        self.readings += 1
        self.act()
        return SourceReading(rows=(Row(NUMBER, self.labels, self.readings),), problems=self.problems)

    def catch_up(self) -> int:
        """Have nothing left."""
        return 0

    def close(self) -> None:
        """Hold nothing."""


def collector_of(*sources: Fake, clock: Steps | None = None, cache_s: float = 2.0) -> SourceCollector:
    """Return a collector of these sources."""
    steps = clock or Steps()
    return SourceCollector(lambda _now_s: sources, clock=lambda: 1e9, monotonic=steps, cache_s=cache_s)


def number(collector: SourceCollector, **labels: str) -> float | None:
    """Scrape and return the number."""
    return samples(page_text(collector)).get(series("sample_number", **labels))


class TestCache:
    """Scrapes that share a reading."""

    def test_two_scrapes_within_two_seconds_share_one(self) -> None:
        """Upstream's documented 2 s: the third scrape reads anew."""
        source, clock = Fake(), Steps()
        collector = collector_of(source, clock=clock)
        seen = []
        for wait_s in (0, 1.0, 1.0, 0.1):
            clock.now_s += wait_s
            seen.append(number(collector))

        assert seen == [1, 1, 1, 2]

    def test_is_configurable(self) -> None:
        """With no cache time, a later scrape reads anew, however soon."""
        source, clock = Fake(), Steps()
        collector = collector_of(source, clock=clock, cache_s=0)
        seen = []
        for _ in range(3):
            clock.now_s += 0.001
            seen.append(number(collector))

        assert seen == [1, 2, 3]

    def test_concurrent_scrapes_share_one_reading(self) -> None:
        """Scrapes that come while a reading goes on wait for it and take its numbers."""
        started, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            started.set()
            assert go_on.wait(30)

        source = Fake(act=hold)
        collector = collector_of(source, cache_s=0)
        seen: list[float | None] = []
        arrived = threading.Barrier(4)

        def scrape() -> None:
            arrived.wait(30)
            seen.append(number(collector))

        first = threading.Thread(target=lambda: seen.append(number(collector)))
        first.start()
        assert started.wait(30)
        others = [threading.Thread(target=scrape) for _ in range(3)]
        for thread in others:
            thread.start()
        arrived.wait(30)
        go_on.set()
        for thread in (first, *others):
            thread.join(30)

        assert seen == [1, 1, 1, 1]
        assert source.readings == 1

    def test_registering_reads_nothing(self) -> None:
        """A registry asks a collector to describe itself; that opens no file."""
        source = Fake()
        CollectorRegistry(auto_describe=True).register(collector_of(source))

        assert source.readings == 0


class TestGuard:
    """The one place where a source's failures are caught."""

    def test_a_source_that_raises_costs_its_own_numbers(self, caplog: pytest.LogCaptureFixture) -> None:
        """A bug in one: its up is 0 by reason `internal`, it is logged, and the others are on the page."""

        def fail() -> None:
            raise ZeroDivisionError("planted")

        collector = collector_of(Fake(labels={"project": "bad"}, act=fail), Fake(labels={"project": "good"}))
        page = samples(page_text(collector))
        up = "tallyship_exporter_source_up"

        assert page[series(up, source="fake", project="bad")] == 0
        assert page[series(up, source="fake", project="good")] == 1
        assert page[series("sample_number", project="good")] == 1
        errors = series(
            "tallyship_exporter_source_errors_total", source="fake", project="bad", reason="internal"
        )
        assert page[errors] == 1
        assert "planted" in caplog.text

    def test_every_reason_stands_at_zero_from_the_start(self) -> None:
        """What can go wrong has a series before it goes wrong."""
        page = samples(page_text(collector_of(Fake())))

        for reason in Reason:
            assert (
                page[series("tallyship_exporter_source_errors_total", source="fake", reason=reason.value)]
                == 0
            )

    def test_repeats_are_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """The same problem on every scrape counts each time and is one line in the log."""
        clock = Steps()
        collector = collector_of(Fake(problems=(Refused(Reason.IO, "disk"),)), clock=clock, cache_s=0)
        for _ in range(5):
            clock.now_s += 1
            page = samples(page_text(collector))

        assert page[series("tallyship_exporter_source_errors_total", source="fake", reason="io")] == 5
        assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1

    def test_durations_are_those_of_the_reading(self) -> None:
        """By the monotonic clock, for the source and for the whole."""
        clock = Steps()

        def take_a_while() -> None:
            clock.now_s += 0.25

        page = samples(page_text(collector_of(Fake(act=take_a_while), clock=clock)))

        assert page[series("tallyship_exporter_source_duration_seconds", source="fake")] == 0.25
        assert page["tallyship_exporter_reading_duration_seconds"] == 0.25

    def test_a_histogram_is_cumulative_on_the_page(self) -> None:
        """Buckets come uncounted from the source and cumulative to Prometheus."""
        family = Family("sample_seconds", Kind.HISTOGRAM, "Times.")
        source = Fake(families=(family,))
        source.read = lambda _now_s: SourceReading(  # type: ignore[method-assign]
            rows=(Row(family, {}, Histogram((1.0, 5.0), (2, 0, 3), 40.0)),)
        )
        page = samples(page_text(collector_of(source)))

        assert [page[series("sample_seconds_bucket", le=le)] for le in ("1.0", "5.0", "+Inf")] == [2, 2, 5]
        assert (page["sample_seconds_count"], page["sample_seconds_sum"]) == (5, 40)


class TestEmbedding:
    """`REGISTRY.register(LokiModeCollector(path))` in somebody else's program."""

    @pytest.fixture
    def made(self, world: World) -> Iterator[exporter.LokiModeCollector]:
        """Return a collector with everything handed in."""
        world.runner(77)
        collector = exporter.LokiModeCollector(
            world.root,
            clock=lambda: world.now_s,
            environ={"LOKI_MAX_ITERATIONS": "3"},
            pid_probe=lambda pid: pid == 77,
        )
        yield collector
        collector.close()

    def test_reads_nothing_at_registration(
        self, made: exporter.LokiModeCollector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also with a registry that describes its collectors."""

        def refuse(*_args: object) -> None:
            raise AssertionError("read")

        monkeypatch.setattr(made, "_read", refuse)
        CollectorRegistry(auto_describe=True).register(made)

    def test_believes_what_it_is_handed(self, made: exporter.LokiModeCollector) -> None:
        """Clock, environment and pid probe are the caller's."""
        page = samples(page_text(made))

        assert page["loki_session_status"] == 1
        assert page["loki_uptime_seconds"] == 60
        assert page["loki_iteration_max"] == 3

    def test_believes_a_probe_in_a_container_too(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever hands in a probe knows how to ask about pids, whatever namespace we are in."""
        monkeypatch.setattr("exporter.loki_mode_collector.pids_are_visible", lambda: False)
        world.runner(77)
        collector = exporter.LokiModeCollector(
            world.root, clock=lambda: world.now_s, pid_probe=lambda _pid: Process()
        )
        page = samples(page_text(collector))
        collector.close()

        assert page["loki_session_status"] == 1

    def test_needs_no_more_than_a_path(self, world: World) -> None:
        """All else has a default."""
        collector = exporter.LokiModeCollector(str(world.root))
        page = samples(page_text(collector))
        collector.close()

        assert page[series("tallyship_exporter_source_up", source="loki-mode")] == 1

    def test_imports_no_web_server(self) -> None:
        """An embedder gets a collector, not a server: `import exporter` is light."""
        code = (
            "import sys; from exporter import LokiModeCollector;"
            "print([m for m in ('uvicorn', 'click', 'requests') if m in sys.modules])"
        )
        answer = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
        )

        assert answer.stdout.strip() == "[]"

    def test_is_loaded_when_it_is_asked_for(self) -> None:
        """A container's healthcheck, every few seconds, has no use for it; a wrong name stays an error."""
        code = """if True:
            import sys, exporter.cli
            try:
                exporter.cli.main(["healthcheck", "http://127.0.0.1:1/health"])
            except SystemExit as end:
                assert end.code == 1
            print([m for m in ("prometheus_client", "exporter.loki_mode_collector") if m in sys.modules])
        """
        answer = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )

        assert answer.stdout.splitlines()[-1:] == ["[]"], answer.stderr
        with pytest.raises(AttributeError, match="LokiModeColector"):
            _ = exporter.LokiModeColector


class TestSources:
    """Which sources there are."""

    def test_a_search_that_fails_goes_on_with_those_known(self, caplog: pytest.LogCaptureFixture) -> None:
        """A bug in finding sources costs no page: those last known are read, and the failure is counted."""
        source, clock = Fake(), Steps()
        is_broken = False

        def provide(_now_s: float) -> Sequence[Fake]:
            if is_broken:
                raise RuntimeError("planted")
            return (source,)

        collector = SourceCollector(provide, clock=lambda: 1e9, monotonic=clock, cache_s=0)
        before = samples(page_text(collector))
        is_broken = True
        clock.now_s += 1
        after = samples(page_text(collector))
        name = "tallyship_exporter_search_failures_total"

        assert (before["sample_number"], after["sample_number"]) == (1, 2)
        assert (before[name], after[name]) == (0, 1)
        assert "planted" in caplog.text

    def test_a_source_that_returns_goes_on_counting(self) -> None:
        """Gone and back: its errors are those it had, and while it is gone it is not on the page."""
        first, second = Fake(labels={"project": "a"}), Fake(labels={"project": "b"})
        second.problems = (Refused(Reason.IO, "disk"),)
        there: list[Fake] = [first, second]
        clock = Steps()
        collector = SourceCollector(lambda _now_s: there, clock=lambda: 1e9, monotonic=clock, cache_s=0)
        errors = series("tallyship_exporter_source_errors_total", source="fake", project="b", reason="io")
        seen = []
        for now_there in ([first, second], [first], [first, second]):
            there[:] = now_there
            clock.now_s += 1
            seen.append(samples(page_text(collector)).get(errors))

        assert seen == [1, None, 2]

    def test_what_is_wrong_is_logged_with_its_consequence(self, caplog: pytest.LogCaptureFixture) -> None:
        """One line for a folder full of damage, another for another place, each with what follows."""
        clock = Steps()
        source = Fake()
        collector = collector_of(source, clock=clock, cache_s=0)
        for detail in ("queue/a.json: empty", "queue/b.json: empty", "events.jsonl: gone"):
            source.problems = (Refused(Reason.TORN, detail),)
            clock.now_s += 1
            page_text(collector)
        source.read = lambda _now_s: SourceReading(  # type: ignore[method-assign]
            is_up=False, down_reason="away", problems=(Refused(Reason.MISSING, "away"),)
        )
        clock.now_s += 1
        page_text(collector)
        said = [(r.getMessage().split(" source=")[0], r.__dict__["fields"]) for r in caplog.records]

        assert [(event, fields["detail"]) for event, fields in said] == [
            ("file not read", "queue/a.json: empty"),
            ("file not read", "events.jsonl: gone"),
            ("source is down", "away"),
        ]
        assert {fields["consequence"] for _, fields in said} == {
            "its last good value stands, or it is absent",
            "its numbers are absent",
        }
