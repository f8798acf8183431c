"""The time of the last event, which is how a person sees that something still happens."""

from __future__ import annotations

from loki_world import World

LAST = "loki_mode_last_event_timestamp_seconds"


def test_last_event_is_the_time_its_record_tells(world: World) -> None:
    """The time is that of the last line, in file order, whatever the file's own time is."""
    world.event("session_start", age_s=50)
    world.event("iteration_start", age_s=20, iteration=1)

    assert world.page().value(LAST) == world.now_s - 20

    world.event("iteration_complete", age_s=5, iteration=1, status="completed")

    assert world.page().value(LAST) == world.now_s - 5


def test_last_event_without_a_time_leaves_the_one_before_it(world: World) -> None:
    """A last line that tells no time, or is no JSON, does not make the time unknown."""
    world.event("session_start", age_s=50)
    with (world.root / "events.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"type": "legacy_note"}\n{"timestamp": 007, "type": "phase_change"}\n')

    assert world.page().value(LAST) == world.now_s - 50


def test_last_event_is_absent_while_no_event_tells_a_time(world: World) -> None:
    """Without an event log, or with one that tells no time, there is no such number, not a 0."""
    assert world.page().value(LAST) is None

    world.write("events.jsonl", '{"type": "legacy_note"}\n')

    assert world.page().value(LAST) is None


def test_last_event_at_the_edge_of_time_costs_nothing_else(world: World) -> None:
    """A time a day before the year 1, or after 9999, is no crash: the page still counts its events."""
    for moment in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "10000-01-01T00:00:00Z"):
        with (world.root / "events.jsonl").open("a", encoding="utf-8") as log:
            log.write(f'{{"timestamp": "{moment}", "type": "session_start"}}\n')
        page = world.page()

        assert page.value("tallyship_exporter_source_up", source="loki-mode") == 1
    assert page.value("loki_events_total") == 3
