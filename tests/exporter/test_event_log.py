from __future__ import annotations

import json

import pytest
from loki_world import Page, World, page_text

from exporter.sources.loki_mode import event_log

LINE = json.dumps({"timestamp": "2026-11-21T00:41:35Z", "type": "phase_change", "data": {}}).encode() + b"\n"
EVENT_FAMILIES = ("loki_events_total", "loki_mode_events_total", "loki_mode_iterations_total")


@pytest.fixture
def slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a scrape read 40 lines at most, and a slice of the catch-up 10; blocks are of 4 lines."""
    monkeypatch.setattr("exporter.files.growing_file.BLOCK_BYTES", len(LINE) * 4)
    monkeypatch.setattr(event_log, "SCRAPE_BUDGET_BYTES", len(LINE) * 40)
    monkeypatch.setattr(event_log, "SLICE_BYTES", len(LINE) * 10)
    monkeypatch.setattr(event_log, "SCRAPE_BUDGET_S", float("inf"))
    monkeypatch.setattr(event_log, "SLICE_S", float("inf"))


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the background thread from starting: the test pumps."""
    monkeypatch.setattr("exporter.collector._CatchUp.want", lambda _self, _sources: None)


def unread(page: Page) -> float | None:
    """Return the bytes of history that are still to be read."""
    return page.value("tallyship_exporter_unread_bytes", source="loki-mode")


@pytest.mark.usefixtures("slices", "no_thread")
class TestCatchUp:
    """A history that is longer than a scrape may take."""

    def test_what_hangs_on_events_is_absent_until_all_is_read(self, world: World) -> None:
        """Events, iteration, uptime and the status without a pid are absent; a gauge says what is left."""
        world.event("session_start", age_s=50)
        world.event("iteration_start", age_s=40, iteration=3)
        with (world.root / "events.jsonl").open("ab") as log:
            log.write(LINE * 100)
        world.state(mode="autonomous", iteration=1)
        first = world.page()

        assert not [key for key in first if key.startswith(EVENT_FAMILIES)]
        for name in ("loki_session_status", "loki_iteration_current", "loki_uptime_seconds"):
            assert first.value(name) is None
        assert first.value("loki_iteration_max") == 1000
        assert len(LINE) * 55 <= (unread(first) or 0) <= len(LINE) * 65

        pages = [world.page() for _ in range(2)]
        assert unread(pages[-1]) == 0
        assert pages[-1].value("loki_events_total") == 102
        assert pages[-1].value("loki_session_status") == 1
        assert pages[-1].value("loki_iteration_current") == 3
        assert pages[-1].value("loki_uptime_seconds") == 50

    def test_status_by_pid_does_not_wait(self, world: World) -> None:
        """A live pid needs no events."""
        world.runner()
        world.write("events.jsonl", LINE * 100)
        page = world.page()

        assert page.value("loki_session_status") == 1
        assert page.value("loki_uptime_seconds") is None

    def test_goes_on_outside_the_scrape(self, world: World) -> None:
        """Slices read between two scrapes are not read again by the second."""
        world.write("events.jsonl", LINE * 100)
        collector = world.collector()
        left = unread(world.page(collector))
        source = collector.accounts()[0].source
        pumped = []
        while remaining := source.catch_up():
            pumped.append(remaining)

        assert pumped == sorted(pumped, reverse=True)
        assert pumped[0] < (left or 0)
        assert world.page(collector).value("loki_events_total") == 100

    def test_leaves_the_last_totals_standing_for_a_while(self, world: World) -> None:
        """A burst that no scrape finishes keeps the last totals: late, never falling, and not for ever."""
        world.write("events.jsonl", LINE * 10)
        world.page()
        with (world.root / "events.jsonl").open("ab") as log:
            log.write(LINE * 300)
        seen = []
        for _ in range(3):
            world.advance(25)
            seen.append(world.page().value("loki_events_total"))
        assert seen == [10, 10, None]

    def test_print_reads_to_the_end(self, world: World) -> None:
        """One-shot use has all history on its one page."""
        world.write("events.jsonl", LINE * 500)
        collector = world.collector()
        collector.read_to_the_end()

        page = world.page(collector)
        assert (page.value("loki_events_total"), unread(page)) == (500, 0)


@pytest.mark.usefixtures("slices")
class TestThread:
    """The thread that reads long histories between scrapes."""

    def test_arrives_without_further_scrapes(self, world: World) -> None:
        """After one scrape the history is read to its end in the background."""
        world.write("events.jsonl", LINE * 500)
        collector = world.collector()
        first = world.page(collector)
        thread = collector._catch_up._thread
        assert thread is not None
        thread.join(30)

        assert unread(first)
        assert world.page(collector).value("loki_events_total") == 500

    def test_ends_with_the_collector(self, world: World) -> None:
        """Closing waits for the slice at hand, not for the history."""
        world.write("events.jsonl", LINE * 200_000)
        collector = world.collector()
        world.page(collector)
        thread = collector._catch_up._thread
        assert thread is not None
        collector.close()

        assert not thread.is_alive()

    def test_survives_a_source_that_fails(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """A bug in one source's catch-up does not keep the next scrape from trying again."""
        world.write("events.jsonl", LINE * 100)
        collector = world.collector()
        with monkeypatch.context() as patch:

            def fail(_self: object) -> int:
                raise RuntimeError("planted")

            patch.setattr("exporter.sources.loki_mode.project.LokiModeProject.catch_up", fail)
            world.page(collector)
            thread = collector._catch_up._thread
            assert thread is not None
            thread.join(30)
        world.page(collector)
        world.page(collector)

        assert world.page(collector).value("loki_events_total") == 100


class TestCounter:
    """loki_events_total over the life of the process."""

    def test_does_not_fall_when_the_log_does(self, world: World) -> None:
        """Rotation, truncation, removal and replacement: what was counted stays counted."""
        log = world.root / "events.jsonl"
        seen = []

        def scrape() -> None:
            world.advance(15)
            seen.append(world.page().value("loki_events_total"))

        world.write("events.jsonl", LINE * 3)
        scrape()
        log.rename(world.root / "events.jsonl.1")
        scrape()
        world.write("events.jsonl", LINE.replace(b"41:35", b"41:36") * 2)
        scrape()
        world.write("events.jsonl", b"")
        scrape()
        world.write("events.jsonl", LINE)
        scrape()
        log.unlink()
        scrape()
        world.write("events.jsonl", LINE.replace(b"41:35", b"41:37") * 4)
        scrape()

        assert seen == [3, 3, 5, 5, 6, 6, 10]

    def test_is_zero_without_a_log_and_its_kinds_are_absent(self, world: World) -> None:
        """No log is no event; which kinds there might be is not known."""
        page = world.page()

        assert page.value("loki_events_total") == 0
        assert not page.of("loki_mode_events_total")

    def test_counts_rejected_lines_beside(self, world: World) -> None:
        """A broken line is an event of no kind, counted as rejected."""
        world.write("events.jsonl", LINE + b'{"type":"x","n":007}\n' + b"\n  \n" + b'{"torn')
        page = world.page()

        assert page.value("loki_events_total") == 2
        assert page.value("tallyship_exporter_lines_rejected_total", source="loki-mode") == 1

    def test_stays_when_the_log_cannot_be_read_for_a_moment(self, world: World) -> None:
        """A directory in its place: the last total for 60 s, then none, one error, and then it goes on."""
        world.write("events.jsonl", LINE * 3)
        world.page()
        (world.root / "events.jsonl").rename(world.root / "aside")
        (world.root / "events.jsonl").mkdir()
        seen = []
        for _ in range(3):
            world.advance(25)
            seen.append(world.page().value("loki_events_total"))
        errors = world.page().errors
        (world.root / "events.jsonl").rmdir()
        (world.root / "aside").rename(world.root / "events.jsonl")

        assert seen == [3, 3, None]
        assert errors == {"not_regular": 1}
        assert world.page().value("loki_events_total") == 3

    def test_iterations_and_durations_are_on_the_page(self, world: World) -> None:
        """Outcomes, the histogram and council votes of the history."""
        world.event("iteration_start", age_s=100, iteration=1)
        world.event("iteration_complete", age_s=55, iteration=1, status="completed")
        world.event("council_vote", approve="2", reject=1)
        page = world.page()

        assert page.value("loki_mode_iterations_total", outcome="completed") == 1
        assert page.value("loki_mode_iterations_total", outcome="failed") == 0
        assert page.value("loki_mode_iteration_duration_seconds_sum") == 45
        assert page.value("loki_mode_iteration_duration_seconds_bucket", le="30.0") == 0
        assert page.value("loki_mode_iteration_duration_seconds_bucket", le="60.0") == 1
        assert page.value("loki_mode_council_votes_total", vote="approve") == 2
        assert "# TYPE loki_mode_iteration_duration_seconds histogram" in page_text(world.collector())


class TestLookingBack:
    """A log that was rotated in the middle of a session, before the exporter began."""

    def test_the_session_goes_on_from_the_rotated_log(self, world: World) -> None:
        """Its start and its iteration are in the old file; the lines of that are not counted."""
        world.runner(age_s=600)
        world.event("session_start", age_s=590)
        world.event("iteration_start", age_s=100, iteration=37)
        (world.root / "events.jsonl").rename(world.root / "events.jsonl.1")
        world.event("phase_change", age_s=5)
        world.state(age_s=1, iteration=0)
        page = world.page()

        assert page.value("loki_iteration_current") == 37
        assert page.value("loki_uptime_seconds") == 590
        assert page.value("loki_events_total") == 1

    @pytest.mark.parametrize("content", [b"", b"x", b"\xff\n{}\n[", b"{" * 2_000_000])
    def test_a_rotated_log_that_is_none_is_no_help_and_no_harm(self, world: World, content: bytes) -> None:
        """Whatever lies there, the page is made."""
        world.write("events.jsonl.1", content)
        world.event("phase_change")

        assert world.page().value("loki_events_total") == 1

    def test_a_later_session_start_has_the_last_word(self, world: World) -> None:
        """What the rotated log tells is of an earlier session then."""
        world.event("iteration_start", age_s=900, iteration=37)
        (world.root / "events.jsonl").rename(world.root / "events.jsonl.1")
        world.event("session_start", age_s=50)
        world.event("iteration_start", age_s=40, iteration=1)

        assert world.page().value("loki_iteration_current") == 1
