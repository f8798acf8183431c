"""Lines that are read again under another clock, another limit of age or other labels."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable

import pytest
from receiver import Answer
from shipper_world import START_S, World

from shipper.entries.sorting import Policy
from shipper.sources.base import Source
from shipper.sources.jsonl import Jsonl
from shipper.sources.llm_proxy import LlmProxy
from shipper.sources.loki_mode import LokiMode
from shipper.state import Options

DAY_S = 24 * 3600
DAY_NS = DAY_S * 10**9
MakeWorld = Callable[..., World]


def unsent(shop: World, *, ago_s: float = 0.0) -> list[str]:
    """Start, read five lines that nobody takes, and crash; return the lines."""
    lines = [shop.line(f"x{i}", ago_s=ago_s) for i in range(5)]
    shop.start()
    shop.script = lambda _labels: "reset"
    shop.write("a.jsonl", *lines)
    shop.pump(20)
    shop.crash()
    shop.script = lambda _labels: None
    return lines


def test_lines_unsent_before_a_week_without_the_shipper_arrive(world: MakeWorld) -> None:
    """Loki takes them no more under their own time; its answer moves them, and none is lost."""
    shop = world()
    lines = unsent(shop)
    shop.clock.elapsed_s += 8 * DAY_S

    shop.start()
    shop.settle()

    assert sorted(shop.arrived()) == lines
    assert shop.meter.counts["internal_errors", ""] == 0


def test_lines_unsent_before_the_clock_stepped_back_arrive(world: MakeWorld) -> None:
    """An hour back at the restart: they are in the future now, and Loki's answer moves them."""
    shop = world()
    back_s = [0]
    shop.clock.time_ns = lambda: round((START_S + shop.clock.elapsed_s + back_s[0]) * 1e9)  # type: ignore[method-assign]
    shop.model.now_ns = shop.clock.time_ns
    lines = unsent(shop)
    back_s[0] = -3600

    shop.start()
    shop.settle()

    assert sorted(shop.arrived()) == lines
    assert shop.meter.counts["internal_errors", ""] == 0


def test_lines_of_a_stream_parked_for_a_week_arrive(world: MakeWorld) -> None:
    """No restart: one stream is refused for eight days while another gets on."""
    shop = world(sources=lambda logs: [LokiMode(f"{logs}/*/.loki", "test", "u@h")])
    shop.start()
    shop.script = lambda labels: (
        Answer(429, "Maximum active stream limit") if labels["project"] == "p1" else None
    )
    for i in range(5):
        shop.write("p1/.loki/events.jsonl", shop.line(f"x{i}", type="iteration_start"))
    for i in range(2):
        shop.write("p2/.loki/events.jsonl", shop.line(f"y{i}", type="iteration_start"))
        shop.pump(60 + 60 * i)
    assert shop.engine is not None
    assert any(queue.parked for queue in shop.engine.sender.queues.values())

    shop.clock.elapsed_s += 8 * DAY_S
    shop.script = lambda _labels: None
    shop.settle()

    assert len(shop.arrived()) == len(set(shop.arrived())) == 7
    assert shop.meter.counts["internal_errors", ""] == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Policy(7 * DAY_NS), Policy(DAY_NS)),
        (Policy(DAY_NS), Policy(7 * DAY_NS)),
        (Policy(3600 * 10**9), Policy(7 * DAY_NS)),
        (Policy(DAY_NS), Policy(DAY_NS, "dead-letter")),
    ],
)
@pytest.mark.parametrize("ago_s", [2 * DAY_S, 2 * 3600])
def test_lines_unsent_before_the_limit_of_age_changed_arrive_once(
    before: Policy, after: Policy, ago_s: float, world: MakeWorld
) -> None:
    """What was decided at the first reading is kept: they go where they would have gone."""
    shop = world(options=Options(policy=before))
    lines = unsent(shop, ago_s=ago_s)
    shop.options = Options(policy=after)

    shop.start()
    shop.settle()

    assert sorted(shop.arrived()) == lines
    assert (shop.buried(), shop.meter.counts["internal_errors", ""]) == ([], 0)


def test_a_line_that_is_in_another_stream_when_it_is_read_again_is_sent_there(world: MakeWorld) -> None:
    """Whatever moves it: the error is counted, and the line and those after it arrive."""
    kind = ["first"]

    class Changing(Jsonl):
        def labels(self, info: object, key: object) -> dict[str, str]:
            _ = info, key
            return {"app": kind[0]}

    def sources(logs: pathlib.Path) -> list[Source]:
        return [Changing(f"{logs}/*.jsonl", "test", "u@h")]

    shop = world(sources=sources)
    lines = unsent(shop)
    kind[0] = "second"

    shop.start()
    shop.settle()

    assert sorted(shop.arrived()) == lines
    assert shop.meter.counts["internal_errors", ""] == 1
    assert [event for event, _ in shop.told].count("line_changed_stream") == 1


def test_bytes_of_a_file_that_is_gone_at_the_start_are_lost_once(world: MakeWorld) -> None:
    """One event tells of them, and the event is what is counted: no other counter beside it."""
    shop = world()
    lines = unsent(shop)
    (shop.logs / "a.jsonl").unlink()

    shop.start()

    assert shop.lost_bytes == sum(map(len, lines)) + len(lines)
    assert shop.meter.counts["lost_bytes", "missing"] == 0


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (Options(policy=Policy(DAY_NS, "dead-letter")), ["old"]),
        (Options(max_line_bytes=1 << 20), ["z" * (3 << 20)]),
    ],
)
def test_lines_that_reading_buries_are_counted_as_dropped(
    options: Options, lines: list[str], world: MakeWorld
) -> None:
    """Health says what lies in the dead-letter file, whoever put it there."""
    shop = world(options=options)
    engine = shop.start()
    shop.write("a.jsonl", *(shop.line(text, ago_s=2 * DAY_S) if text == "old" else text for text in lines))

    shop.settle()

    assert len(shop.buried()) == engine.sender.dropped == 1


def test_a_parked_stream_is_not_acknowledged(world: MakeWorld) -> None:
    """Nothing of it is in memory, and yet a stop must not say that all of it was taken."""
    shop = world(sources=lambda logs: [LokiMode(f"{logs}/*/.loki", "test", "u@h")])
    engine = shop.start()
    shop.script = lambda labels: (
        Answer(429, "Maximum active stream limit") if labels["project"] == "p1" else None
    )
    shop.write("p1/.loki/events.jsonl", shop.line("x", type="iteration_start"))
    for i in range(2):
        shop.write("p2/.loki/events.jsonl", shop.line(f"y{i}", type="iteration_start"))
        shop.pump(60 + 60 * i)
    assert any(queue.parked for queue in engine.sender.queues.values())
    engine.stop()
    shop.pump(1)
    assert not engine.acknowledged


def test_after_all_was_taken_it_is_acknowledged(world: MakeWorld) -> None:
    """The same word, where it is true."""
    shop = world()
    engine = shop.start()
    shop.write("a.jsonl", shop.line("x"))

    shop.settle()

    assert engine.acknowledged


def test_lines_unsent_before_the_labels_changed_arrive_in_their_stream(world: MakeWorld) -> None:
    """Loki had taken them and its answer was lost: under new labels they would show twice."""
    environment = ["first"]
    shop = world(sources=lambda logs: [Jsonl(f"{logs}/*.jsonl", environment[0], "u@h")])
    lines: list[str] = []
    for name in ("first", "second", "third"):
        environment[0] = name
        shop.start()
        shop.script = lambda _labels: "stored-reset"
        lines.append(shop.line(name))
        shop.write("a.jsonl", lines[-1])
        shop.pump(20)
        shop.crash()
    shop.script = lambda _labels: None

    engine = shop.start()
    shop.settle()
    shop.write("a.jsonl", shop.line("after"))
    shop.settle()

    found = {
        dict(labels)["environment"]: [line for _, line in kept] for labels, kept in shop.model.entries.items()
    }
    after = found["third"].pop()
    assert (found, "after" in after) == (
        {name: [line] for name, line in zip(found, lines, strict=True)},
        True,
    )
    assert shop.meter.counts["internal_errors", ""] == 0
    assert all(not tracked.record().labels for tracked in engine.files.all.values())


def test_lines_with_the_time_of_reading_are_repeated_before_newer_ones_of_other_files(
    world: MakeWorld,
) -> None:
    """Loki had taken the first an hour and more ago: behind a newer one it would not know it again."""
    shop = world()
    shop.write("a.jsonl", shop.line("acked"))
    shop.start()
    shop.settle()
    shop.script = lambda labels: "stored-reset" if "restamped" in labels else None
    shop.write("b.jsonl", "no time 1", shop.line("in between"), "no time 2")
    shop.pump(20)
    shop.crash()
    shop.script = lambda _labels: None
    shop.clock.elapsed_s += 2 * 3600
    shop.write("a.jsonl", "no time 3")

    shop.start()
    shop.settle()

    assert sorted(line for line in shop.arrived() if "no time" in line) == [f"no time {n}" for n in (1, 2, 3)]


def test_lines_with_the_time_of_reading_are_repeated_in_turn_past_lines_with_a_time(
    world: MakeWorld,
) -> None:
    """Where a chunk without them is next, those after it are older than a newer file's all the same."""
    shop = world(options=Options(batch_wait_s=90))
    shop.start()
    shop.script = lambda labels: "stored-reset" if "restamped" in labels else None
    for n in range(4):
        shop.write("a.jsonl", f"no time {n}")
        shop.pump(11)
        shop.write("a.jsonl", shop.line(f"x{n}"))
        shop.pump(11)
    shop.pump(100)
    shop.crash()
    shop.clock.elapsed_s += 5 * 3600
    shop.script = lambda _labels: None
    shop.write("b.jsonl", "no time 4")

    shop.start()
    shop.settle()

    assert sorted(line for line in shop.arrived() if "no time" in line) == [f"no time {n}" for n in range(5)]


def test_llm_proxy_lines_unsent_before_the_machine_changed_arrive_once_in_their_stream(
    world: MakeWorld,
) -> None:
    """Lines that name no machine have the configured one, and keep the one that they were sent with."""
    machine = ["old@host"]
    shop = world(sources=lambda logs: [LlmProxy(str(logs), "test", machine[0])])
    path = "api.anthropic.com/2026-11-20/s.jsonl"

    def record(text: str, **meta: str) -> str:
        """Return a response without, or with, a machine of its own."""
        at = json.loads(shop.line(text))["timestamp"]
        return json.dumps({"type": "response", "_meta": {"ts": at, **meta}, "body": text})

    shop.start()
    shop.script = lambda _labels: "stored-reset"
    lines = [record("bare"), record("named", machine="dev@ws")]
    shop.write(path, *lines)
    shop.pump(20)
    shop.crash()
    shop.script = lambda _labels: None
    machine[0] = "new@host"
    shop.start()
    shop.settle()
    lines.append(record("after"))
    shop.write(path, lines[-1])
    shop.settle()

    found = {
        dict(labels)["machine"]: [text for _, text in kept] for labels, kept in shop.model.entries.items()
    }
    assert found == {"old@host": lines[:1], "dev@ws": lines[1:2], "new@host": lines[2:]}
    assert shop.meter.counts["internal_errors", ""] == 0
