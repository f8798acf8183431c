"""What Loki answers, and what becomes of the lines."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable

import pytest
from receiver import Answer, Rules
from shipper_world import World

from shipper.entries.sorting import Policy
from shipper.keeping.deadletter import DeadLetters
from shipper.sending.batch import Limits
from shipper.sources.loki_mode import LokiMode
from shipper.state import Options

Make = Callable[..., World]
HOUR_S = 3600.0


def loki_mode(logs: pathlib.Path) -> list[LokiMode]:
    """Return a source whose lines go to streams by their type."""
    return [LokiMode(f"{logs}/p/.loki", "test", "u@h")]


def events(world: World, kind: str, count: int, **fields: object) -> None:
    """Write so many events of a kind."""
    world.write(
        "p/.loki/events.jsonl", *(world.line(f"{kind} {n}", type=kind, **fields) for n in range(count))
    )


def count(world: World, label: str) -> int:
    """Return how many lines are in streams that have this label value."""
    return sum(len(kept) for labels, kept in world.model.entries.items() if label in dict(labels).values())


def test_equal_lines_of_one_millisecond_all_arrive_from_one_file_and_from_several(world: Make) -> None:
    """Loki drops what agrees in time and text, so no two of them may agree in time."""
    one = world()
    line = one.line("same")
    for name in ("a", "b", "c"):
        one.write(f"{name}.jsonl", *[line] * 5)
    one.start()
    one.settle()

    assert one.arrived() == [line] * 15


def test_a_repeat_after_a_crash_is_the_same_entry(world: Make) -> None:
    """The answer was lost and nothing was saved: the lines are pushed again, and Loki shows each once."""
    one = world()
    one.write(
        "a.jsonl", *(one.line(str(n)) for n in range(50)), "no time at all", one.line("late", ago_s=-7200)
    )
    one.script = lambda _labels: "stored-reset"
    one.start()
    one.pump(5.4)
    one.crash()
    one.clock.elapsed_s += 1000
    one.script = lambda _labels: None
    one.start()
    one.settle()

    assert len(one.arrived()) == 52
    assert one.model.repeats >= 52


def test_each_push_carries_one_stream(world: Make) -> None:
    """A 204 is only truthful for one."""
    one = world(sources=loki_mode)
    for kind in ("session_start", "session_end", "phase_change"):
        events(one, kind, 3)
    one.start()
    one.settle()

    assert one.model.problems == []
    assert {len(json.loads(body)["streams"]) for _, body in one.transport.pushed} == {1}


def test_a_stream_that_is_refused_holds_back_no_other_and_makes_no_other_repeat(world: Make) -> None:
    """Its lines leave memory, the others go on, and in the end it gets all of its own, also after a crash."""
    one = world(sources=loki_mode, options=Options(window_entries=50, limits=Limits(entries=10)))
    one.script = lambda labels: Answer(429, "no") if labels["log_type"] == "session_end" else None
    for _ in range(20):
        events(one, "session_end", 20)
        events(one, "session_start", 20)
    one.start()
    one.pump(120.0)
    passed = count(one, "session_start")
    one.crash()
    one.start()
    one.pump(60.0)
    repeats = one.model.repeats
    one.script = lambda _labels: None
    one.settle()

    assert passed == 400
    assert repeats == 0
    assert count(one, "session_end") == 400


def test_loki_away_for_an_hour_costs_nothing_but_time(world: Make) -> None:
    """Reading stops when the window is full, rounds are counted as failed, everything arrives afterwards."""
    one = world(options=Options(window_entries=100))
    one.script = lambda _labels: "reset"
    one.write("a.jsonl", *(one.line(f"{n:04}", pad="x" * 500) for n in range(3000)))
    one.start()
    one.pump(HOUR_S)
    assert one.engine is not None
    held = one.engine.window.entries
    one.script = lambda _labels: None
    one.settle()

    assert held < 3000
    assert len(one.arrived()) == 3000
    assert one.meter.counts["entries_failed", ""] > 0


def test_a_line_too_far_behind_goes_into_a_backfill_stream(world: Make) -> None:
    """With its own time; the lines beside it stay where they belong."""
    one = world()
    one.write("a.jsonl", one.line("now"), one.line("old", ago_s=3 * HOUR_S), one.line("now too"))
    one.start()
    one.settle()

    streams = one.streams()
    (backfill,) = (name for name in streams if "backfill" in name)
    assert [json.loads(line)["text"] for line in streams[backfill]] == ["old"]
    assert len(streams[""]) == 2
    assert one.buried() == []


def test_a_line_older_than_loki_takes_gets_the_time_of_reading_and_keeps_its_own_as_metadata(
    world: Make,
) -> None:
    """In a stream of its own, else it would shut out the rest of the backlog."""
    one = world()
    one.write("a.jsonl", one.line("ancient", ago_s=8 * 24 * HOUR_S), one.line("hours old", ago_s=2 * HOUR_S))
    one.start()
    one.settle()

    ((labels, kept),) = [item for item in one.model.entries.items() if ("restamped", "true") in item[0]]
    ((meta),) = kept.values()
    assert meta["original_timestamp"].startswith("2026-11-10T")
    assert len(one.arrived()) == 2
    assert dict(labels)["app"] == "jsonl"


def test_a_loki_with_a_smaller_limit_makes_lines_restamped_by_its_answer(world: Make) -> None:
    """The decision is durable: after a crash the same lines get the same stamps."""
    one = world()
    one.model.rules = Rules(reject_old_ns=10**9 * 600)
    one.write("a.jsonl", *(one.line(str(n), ago_s=1000) for n in range(30)), one.line("fresh"))
    one.script = lambda labels: "stored-reset" if "restamped" in labels else None
    one.start()
    one.pump(8.0)
    one.crash()
    one.script = lambda _labels: None
    one.start()
    one.settle()

    assert len(one.arrived()) == 31
    assert sum(map(len, (v for k, v in one.streams().items() if "restamped" in k))) == 30


def test_old_lines_become_dead_letters_where_that_is_wanted(world: Make) -> None:
    """The other choice of `old_lines`."""
    one = world(options=Options(policy=Policy(7 * 24 * 3600 * 10**9, "dead-letter")))
    one.write("a.jsonl", one.line("ancient", ago_s=8 * 24 * HOUR_S), one.line("now"))
    one.start()
    one.settle()

    assert len(one.arrived()) == 1
    assert [letter["reason"] for letter in one.buried()] == ["too_old"]


def refuses_poison(world: World) -> Answer | None:
    """Answer as Loki does to a push that it cannot read."""
    return Answer(400, "cannot be parsed") if b"poison" in world.transport.pushed[-1][1] else None


def test_one_line_that_loki_never_takes_is_found_among_hundreds_and_buried(world: Make) -> None:
    """The good ones arrive, the culprit lies in the dead-letter file with reason, file and offset."""
    one = world()
    poison = one.line("poison")
    one.script = lambda _labels: refuses_poison(one)
    one.write(
        "a.jsonl", *(one.line(f"{n:03}") for n in range(300)), poison, *(one.line(f"b{n}") for n in range(99))
    )
    one.start()
    one.settle()

    (letter,) = one.buried()
    assert len(one.arrived()) == 399
    assert (letter["reason"], letter["status"], letter["line"]) == ("invalid", 400, poison)
    assert pathlib.Path(letter["file"]).read_bytes()[letter["offset"] :].startswith(poison.encode())


def test_a_full_dead_letter_file_stops_its_stream_and_loses_nothing(world: Make) -> None:
    """It is an error state that says so; the other stream goes on."""
    one = world(sources=loki_mode)
    one.dead = DeadLetters(one.state / "dead-letters.jsonl", 1000)
    one.script = lambda labels: Answer(400, "no") if labels["log_type"] == "session_start" else None
    events(one, "session_start", 1, pad="x" * 5000)
    events(one, "session_end", 5)
    one.start()
    one.pump(60.0)
    assert count(one, "session_end") == 5
    assert "full" in one.dead.problem
    one.crash()
    one.dead = DeadLetters(one.state / "dead-letters.jsonl", 1 << 20)
    one.start()
    one.settle()

    assert len(one.buried()) == 1


@pytest.mark.parametrize("status", [200, 202, 260, 301, 401, 403, 404, 418, 500, 502, 503])
def test_no_other_answer_than_204_moves_the_position(world: Make, status: int) -> None:
    """However long it lasts, the data stays, and arrives once the answer is right."""
    one = world()
    one.script = lambda _labels: Answer(status, "")
    one.write("a.jsonl", one.line("a"))
    one.start()
    one.pump(60.0)
    assert one.engine is not None
    (balance,) = one.engine.balances()
    assert (balance.acked, balance.dead, balance.in_flight) == (0, 0, 1)
    one.script = lambda _labels: None
    one.settle()

    assert len(one.arrived()) == 1


@pytest.mark.parametrize("status", [413, 500])
def test_a_push_that_is_too_large_is_sent_in_halves(world: Make, status: int) -> None:
    """And never larger than what passed."""
    one = world()
    sizes: list[int] = []

    def too_large(_labels: dict[str, str]) -> Answer | None:
        sizes.append(len(one.transport.pushed[-1][1]))
        return Answer(status, "ResourceExhausted") if sizes[-1] > 3000 else None

    one.script = too_large
    one.write("a.jsonl", *(one.line(f"{n:03}") for n in range(200)))
    one.start()
    one.settle()

    assert len(one.arrived()) == 200


def test_a_body_is_never_larger_than_the_cap_unless_it_is_one_line(world: Make) -> None:
    """256 KiB before compression, whatever the escapes make of the lines."""
    one = world()
    one.write(
        "a.jsonl",
        *(one.line(f"{n:04}", pad='"\\' * 200) for n in range(2000)),
        one.line("x", pad="x" * 200_000),
    )
    one.start()
    one.settle()

    sizes = [len(body) for _, body in one.transport.pushed]
    assert len(one.arrived()) == 2001
    assert max(sizes) <= 256 * 1024


def test_no_push_spans_more_than_thirty_minutes_nor_runs_ahead_of_a_missing_ack(world: Make) -> None:
    """So that a repeat never comes too late to be recognised."""
    one = world()
    one.write("a.jsonl", *(one.line(str(n), ago_s=20_000 - 60 * n) for n in range(300)))
    one.saver.problem = "disk full"
    one.start()
    one.saver.problem = ""
    one.settle()

    for _, body in one.transport.pushed:
        stamps = [int(value[0]) for value in json.loads(body)["streams"][0]["values"]]
        assert max(stamps) - min(stamps) <= 1800 * 10**9
    assert len(one.arrived()) == 300


def test_without_a_durable_save_nothing_is_pushed_and_nothing_lost(world: Make) -> None:
    """The slot of a file must be on disk before its first line leaves."""
    one = world()
    one.write("a.jsonl", one.line("a"))
    one.start()
    one.saver.problem = "disk full"
    one.pump(30.0)
    assert one.transport.pushed == []
    assert one.engine is not None
    assert one.engine.saving.problem == "disk full"
    one.saver.problem = ""
    one.settle()

    assert len(one.arrived()) == 1


def test_invalid_text_is_replaced_and_an_escaped_surrogate_stays_as_written(world: Make) -> None:
    """One raw surrogate in a body would lose the whole push."""
    one = world(sources=loki_mode)
    one.write(
        "p/.loki/events.jsonl",
        b'{"timestamp":"%s","type":"x","data":{"iteration":"\\ud800"}}' % one.line("").split('"')[3].encode(),
        b'{"bad": "\xff\xfe"}',
    )
    one.start()
    one.settle()

    lines = one.arrived()
    assert any('"\\ud800"' in line for line in lines)
    assert any("\ufffd\ufffd" in line for line in lines)
    metas = [meta for kept in one.model.entries.values() for meta in kept.values()]
    assert {"iteration": "\ufffd"} in metas


def test_pacing_keeps_a_stream_below_its_rate(world: Make) -> None:
    """Above 1.5 MB/s Loki would split the stream into shards, and a repeat would show twice."""
    one = world(options=Options(max_stream_rate_bps=100_000))
    one.write("a.jsonl", *(one.line(f"{n:04}", pad="x" * 900) for n in range(2000)))
    one.start()
    one.pump(10.0)

    sent = sum(len(body) for _, body in one.transport.pushed)
    assert 500_000 < sent < 100_000 * 10 + 300_000


def test_the_oldest_unacknowledged_line_is_known_also_when_it_has_left_memory(world: Make) -> None:
    """A stream refused for five minutes: its first line waits for all of them, whatever was done with it."""
    one = world(sources=loki_mode, options=Options(window_entries=50, limits=Limits(entries=10)))
    one.script = lambda labels: Answer(429, "no") if labels["log_type"] == "session_end" else None
    engine = one.start()
    events(one, "session_end", 30)
    for _ in range(30):
        events(one, "session_start", 5)
        one.pump(10.0)

    assert engine.sender.queues
    assert any(queue.parked or queue.probing for queue in engine.sender.queues.values())
    since_s = engine.sender.oldest_since_s()
    assert since_s is not None
    assert one.clock.monotonic() - since_s >= 290
    one.script = lambda _labels: None
    one.settle()
    assert engine.sender.oldest_since_s() is None


def test_the_oldest_line_is_the_oldest_after_its_batch_was_halved(world: Make) -> None:
    """The second half waits as long as the first did."""
    one = world()
    answers = iter([Answer(413, ""), None])
    one.script = lambda _labels: next(answers, "reset")
    engine = one.start()
    one.write("a.jsonl", *(one.line(str(n)) for n in range(10)))
    one.pump(60.0)

    since_s = engine.sender.oldest_since_s()
    assert since_s is not None
    assert one.clock.monotonic() - since_s >= 49


def test_a_line_that_is_read_again_is_counted_as_sent_once_and_not_pushed_twice(world: Make) -> None:
    """Lines after one that waits were taken already when all of them left memory."""
    one = world(sources=loki_mode, options=Options(window_entries=100, limits=Limits(entries=10)))
    bad = [True]

    def script(labels: dict[str, str]) -> Answer | None:
        if labels["log_type"] != "session_end" or not bad[0]:
            return None
        first = b"session_end 0" in one.transport.pushed[-1][1]
        return Answer(429, "maximum active stream limit") if first or one.clock.elapsed_s > 40 else None

    one.script = script
    engine = one.start()
    events(one, "session_end", 40)
    one.pump(30.0)
    for _ in range(20):
        events(one, "session_start", 5)
        one.pump(10.0)
    bad[0] = False
    one.settle()

    assert len(one.arrived()) == 140
    assert engine.sender.sent == 140


def test_a_refused_push_that_stored_nothing_costs_no_pace(world: Make) -> None:
    """Halves of what was too large go at once, as if it had never been sent."""
    one = world(options=Options(max_stream_rate_bps=100_000))
    one.script = lambda _labels: Answer(413, "") if len(one.transport.pushed[-1][1]) > 30_000 else None
    one.write("a.jsonl", *(one.line(f"{n:04}", pad="x" * 900) for n in range(200)))
    one.start()
    one.pump(2.62 + 5.0)

    assert len(one.arrived()) >= 60


def test_lines_too_far_behind_of_more_hours_than_there_may_be_streams_are_kept(world: Make) -> None:
    """Past the cap they get the time of reading, with their own as metadata."""
    one = world(options=Options(policy=Policy(400 * 24 * 3600 * 10**9)))
    one.model.rules = Rules(reject_old_ns=None)
    engine = one.start()
    engine.registry.max_backfill_streams = 5
    one.write("a.jsonl", one.line("new"))
    one.settle()
    lines = [one.line(f"old {n}", ago_s=HOUR_S * (n + 3)) for n in range(12)]
    one.write("a.jsonl", *lines)
    one.settle()

    names = [name for name in one.streams() if "backfill" in name]
    assert len(names) == 5
    assert len(one.arrived()) == 13
    one.crash()
    engine = one.start()
    assert sum("backfill" in stream.labels for stream in engine.registry.streams) == 0


def test_large_positions_are_not_saved_for_each_line(world: Callable[..., World]) -> None:
    """A thousand settled files, and a line a second in one of them: its push waits for nothing."""
    shop = world()
    for number in range(1000):
        shop.write(f"{number}.jsonl", shop.line(f"x{number}"))
    shop.start()
    shop.settle()
    saves = shop.meter.counts["position_saves", ""]
    assert shop.engine is not None
    for number in range(30):
        shop.write("7.jsonl", shop.line(f"y{number}"))
        shop.engine.files.rescan(shop.clock.monotonic(), shop.engine.saves.next)
        shop.pump(1)
    shop.pump(10)

    assert len(shop.arrived()) == 1030
    assert shop.meter.counts["position_saves", ""] - saves <= 20
