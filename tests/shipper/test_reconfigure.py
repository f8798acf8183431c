"""Another configuration while it runs: nothing is lost, nothing is shown twice."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from receiver import Answer
from shipper_world import World

from shipper.push.retry import RetryPolicy
from shipper.redact.own import Own
from shipper.redact.redactor import Redactor
from shipper.sources.jsonl import Jsonl
from shipper.state import Options

Make = Callable[..., World]


def source(logs: pathlib.Path, pattern: str = "**/*.jsonl", environment: str = "test") -> Jsonl:
    """Return a source below the logs."""
    return Jsonl(f"{logs}/{pattern}", environment, "u@h")


def change(one: World, *sources: Jsonl, **more: object) -> None:
    """Give the running engine another configuration."""
    assert one.engine is not None
    arguments: dict[str, object] = {
        "options": Options(),
        "retries": RetryPolicy(),
        "max_open": 512,
        "redactor": None,
        **more,
    }
    one.engine.reconfigure(sources, **arguments)  # type: ignore[arg-type]


def environments(one: World) -> dict[str, int]:
    """Return how many lines have which label `environment`."""
    found: dict[str, int] = {}
    for labels, kept in one.model.entries.items():
        name = dict(labels)["environment"]
        found[name] = found.get(name, 0) + len(kept)
    return found


def test_new_labels_are_for_new_lines_and_what_loki_may_hold_stays_in_its_stream(world: Make) -> None:
    """Lines in memory, refused or on their way, keep the labels that they were sorted by."""
    one = world()
    one.script = lambda _labels: "stored-reset"
    one.write("a.jsonl", *(one.line(f"old {n}") for n in range(5)))
    one.start()
    one.pump(30.0)
    change(one, source(one.logs, environment="other"))
    one.write("a.jsonl", one.line("new"))
    one.pump(30.0)
    one.crash()
    one.make_sources = lambda logs: [source(logs, environment="other")]
    one.start()
    one.script = lambda _labels: None
    one.settle()

    assert environments(one) == {"test": 5, "other": 1}
    assert one.model.repeats > 0


def test_a_source_that_comes_is_followed_and_one_that_goes_is_not(world: Make) -> None:
    """What was written meanwhile arrives once the source is back, and nothing arrives twice."""
    one = world(sources=lambda logs: [source(logs, "a.jsonl")])
    one.write("a.jsonl", one.line("a1"))
    one.write("b.jsonl", one.line("b1"))
    one.start()
    one.settle()
    change(one, source(one.logs, "b.jsonl"))
    one.write("a.jsonl", one.line("a2"))
    one.settle()
    between = len(one.arrived())
    change(one, source(one.logs, "b.jsonl"), source(one.logs, "a.jsonl"))
    one.settle()

    assert between == 2
    assert len(one.arrived()) == 3
    assert one.model.repeats == 0


def test_lines_in_memory_of_a_source_that_goes_are_still_sent(world: Make) -> None:
    """They were read; then its place in the file is kept for later, also over a restart."""
    one = world(sources=lambda logs: [source(logs, "a.jsonl")])
    one.script = lambda _labels: "hang"
    one.write("a.jsonl", one.line("a1"))
    one.start()
    one.pump(10.0)
    change(one, source(one.logs, "b.jsonl"))
    one.write("a.jsonl", one.line("a2"))
    one.pump(30.0)
    one.script = lambda _labels: None
    one.pump(30.0)
    one.settle()
    sent = len(one.arrived())
    one.crash()
    one.start()
    one.settle()

    assert sent == 1
    assert len(one.arrived()) == 2
    assert one.model.repeats == 0


def test_parked_lines_of_a_source_that_goes_wait_for_its_return(world: Make) -> None:
    """They have left memory and are read again then: none is lost, none is counted as lost."""
    one = world(sources=lambda logs: [source(logs, "a.jsonl"), source(logs, "b.jsonl", "free")])
    one.script = lambda labels: Answer(429, "no") if labels["environment"] == "test" else None
    one.write("a.jsonl", *(one.line(f"a{n}") for n in range(3)))
    one.start()
    for n in range(30):
        one.write("b.jsonl", one.line(f"b{n}"))
        one.pump(4.0)
    change(one, source(one.logs, "b.jsonl", "free"))
    one.pump(60.0)
    assert one.engine is not None
    followed = len(one.engine.files.all)
    one.script = lambda _labels: None
    change(one, source(one.logs, "b.jsonl", "free"), source(one.logs, "a.jsonl"))
    one.settle()

    assert followed == 1
    assert environments(one) == {"test": 3, "free": 30}
    assert one.lost_bytes == 0


def test_a_source_spelt_otherwise_goes_on_where_it_was(world: Make) -> None:
    """The same file under another pattern is no new file."""
    one = world(sources=lambda logs: [source(logs, "a.jsonl")])
    one.write("a.jsonl", one.line("a1"))
    one.start()
    one.settle()
    change(one, source(one.logs, "**/*.jsonl"))
    one.write("a.jsonl", one.line("a2"))
    one.settle()
    pushed = sum(len(kept) for kept in one.model.entries.values())

    assert pushed == 2
    assert one.model.repeats == 0


def test_a_deleted_file_that_is_still_held_is_read_to_its_end(world: Make) -> None:
    """A new configuration is no reason to let go of what only a descriptor holds."""
    one = world(options=Options(window_entries=2))
    one.script = lambda _labels: "reset"
    path = one.write("a.jsonl", *(one.line(f"{n}", pad="x" * 200_000) for n in range(20)))
    one.start()
    one.pump(5.0)
    path.unlink()
    one.pump(20.0)
    change(one, source(one.logs, environment="other"), options=Options(window_entries=2))
    one.script = lambda _labels: None
    one.settle()

    assert len(one.arrived()) == 20
    assert one.lost_bytes == 0


def test_masking_and_batching_change_at_once(world: Make) -> None:
    """And a stream that waits is tried at once: the reason for waiting may be what was mended."""
    one = world(options=Options(batch_wait_s=3600.0))
    one.script = lambda _labels: Answer(401, "no")
    one.start()
    one.pump(1.0)
    change(
        one,
        source(one.logs),
        options=Options(batch_wait_s=0.1),
        redactor=Redactor([Own("tck", "TCK-[0-9]+")]),
    )
    one.write("a.jsonl", one.line("TCK-123"))
    one.pump(15.0)
    one.script = lambda _labels: None
    change(
        one,
        source(one.logs),
        options=Options(batch_wait_s=0.1),
        redactor=Redactor([Own("tck", "TCK-[0-9]+")]),
    )
    one.pump(0.1)

    (line,) = one.arrived()
    assert "TCK-123" not in line


def test_nothing_more_is_read_of_a_source_that_goes_while_its_lines_are_on_their_way(world: Make) -> None:
    """Neither new lines nor those that left memory, whatever their stream would take now."""
    one = world(
        sources=lambda logs: [source(logs, "a.jsonl"), source(logs, "b.jsonl", "free")],
        options=Options(window_entries=50),
    )

    def script(labels: dict[str, str]) -> Answer | str | None:
        if labels["environment"] == "free":
            return None
        return Answer(429, "no") if "restamped" in labels else "hang"

    one.script = script
    one.write("a.jsonl", one.line("timed"), '{"text": "untimed"}')
    one.start()
    for n in range(30):
        one.write("b.jsonl", one.line(f"b{n}"))
        one.pump(4.0)
    change(one, source(one.logs, "b.jsonl", "free"))
    one.script = lambda labels: None if labels["environment"] == "free" or "restamped" in labels else "hang"
    one.write("a.jsonl", one.line("later"))
    one.pump(60.0)

    assert not [line for line in one.arrived() if '"b' not in line]
    assert any(told == "stream_parked" for told, _ in one.told)
