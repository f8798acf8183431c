"""A stream that Loki refuses, or never answers, holds back no other, though it has more lines than fit."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from receiver import Answer
from shipper_world import World

from shipper.reading.chunks import Chunks, TooLong
from shipper.sending.sender import MOST_STRUGGLING
from shipper.sources.base import Source
from shipper.sources.jsonl import Jsonl
from shipper.sources.loki_mode import LokiMode
from shipper.state import Options

Make = Callable[..., World]
MANY = 25_000
REFUSALS: dict[str, Answer | str] = {
    "too fast": Answer(429, "Per stream rate limit exceeded (limit: 3MB/sec) while attempting to ingest"),
    "no room for a stream": Answer(429, "Maximum active stream limit exceeded"),
    "not allowed": Answer(401, "no"),
    "broken": Answer(500, "oops"),
    "cut off": "reset",
    "silent": "hang",
}


def sources(logs: pathlib.Path) -> list[Source]:
    """Return two sources of two apps."""
    return [Jsonl(f"{logs}/{app}/*.jsonl", "test", "u@h", app=app) for app in ("bad", "good")]


def texts(shop: World, app: str) -> list[str]:
    """Return the texts of an app's lines that arrived, in their order."""
    whole = [line for line in shop.arrived() if line.endswith("}") and line.startswith("{")]
    return [text for text in (json.loads(line)["text"] for line in whole) if text.startswith(app)]


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("warm", [True, False])
def test_a_refused_stream_with_more_lines_than_fit_in_memory_holds_back_no_other(
    world: Make, refusal: str, *, warm: bool
) -> None:
    """Its lines leave memory, and come when it is taken again: each once, in order."""
    shop = world(sources=sources)
    shop.script = lambda labels: REFUSALS[refusal] if labels["app"] == "bad" else None
    shop.start()
    if warm:
        shop.write("good/g.jsonl", shop.line("good warm"))
        shop.pump(20)
    shop.write("bad/b.jsonl", *(shop.line(f"bad {n:05}") for n in range(MANY)))
    shop.pump(20)

    late = []
    for minute in range(10):
        shop.write("good/g.jsonl", shop.line(f"good {minute:02}"))
        shop.pump(30)
        late += [minute] if texts(shop, "good")[-1:] != [f"good {minute:02}"] else []

    assert late == []
    assert shop.engine is not None
    assert shop.engine.window.entries < MANY / 2
    shop.script = lambda _labels: None
    shop.settle(3000)
    assert texts(shop, "bad") == [f"bad {n:05}" for n in range(MANY)]
    assert len(texts(shop, "good")) == 10 + warm


@pytest.mark.parametrize("refusal", sorted(set(REFUSALS) - {"silent"}))
def test_a_refused_line_as_large_as_the_memory_holds_back_no_other_stream(world: Make, refusal: str) -> None:
    """It is read again for each try, and is there when it is taken."""
    shop = world(sources=sources, options=Options(window_bytes=100_000, max_entry_bytes=20_000))
    shop.script = lambda labels: REFUSALS[refusal] if labels["app"] == "bad" else None
    shop.write("bad/b.jsonl", shop.line("bad 0", pad="x" * 300_000), shop.line("bad 1"))
    shop.start()
    shop.pump(60)

    for minute in range(10):
        shop.write("good/g.jsonl", shop.line(f"good {minute}"))
        shop.pump(60)

    assert texts(shop, "good") == [f"good {minute}" for minute in range(10)]
    shop.script = lambda _labels: None
    shop.settle(3000)
    assert shop.engine is not None
    assert len(shop.arrived()) == 10 + 1 + 300_000 // 20_000 + 1
    assert (shop.engine.window.entries, shop.engine.window.bytes) == (0, 0)


def test_kinds_of_one_file_are_as_independent(world: Make) -> None:
    """What follows a refused kind's lines in the same file is read past them."""
    shop = world(sources=lambda logs: [LokiMode(f"{logs}/p/.loki", "test", "u@h")])
    shop.script = lambda labels: REFUSALS["too fast"] if labels["log_type"] == "session_start" else None
    events = "p/.loki/events.jsonl"
    shop.write(events, *(shop.line(f"bad {n:05}", type="session_start") for n in range(MANY)))
    shop.write(events, *(shop.line(f"good {n}", type="session_end") for n in range(10)))

    shop.start()
    shop.pump(60)

    assert texts(shop, "good") == [f"good {n}" for n in range(10)]


def test_a_push_that_may_be_in_loki_is_repeated_with_the_same_bytes_though_what_waits_leaves_memory(
    world: Make,
) -> None:
    """Who counts bytes sees a repeat; and what was never pushed may go."""
    shop = world(sources=sources)
    shop.script = lambda _labels: "stored-reset"
    shop.write("bad/b.jsonl", *(shop.line(f"bad {n:05}") for n in range(MANY)))

    shop.start()
    shop.pump(5)

    bodies = [body for _, body in shop.transport.pushed]
    assert len(bodies) >= 3
    assert len(set(bodies)) == 1
    shop.script = lambda _labels: None
    shop.settle(3000)
    assert texts(shop, "bad") == [f"bad {n:05}" for n in range(MANY)]


def test_without_any_loki_a_backlog_is_not_read_again_and_again(
    world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour of it costs less than one look at all there is."""
    read_bytes = 0
    piece = Chunks.piece

    def counted(self: Chunks, *where: Any, finished: bool) -> bytes | TooLong | None:
        nonlocal read_bytes
        found = piece(self, *where, finished=finished)
        read_bytes += len(found) if isinstance(found, bytes) else 0
        return found

    monkeypatch.setattr(Chunks, "piece", counted)
    shop = world(sources=sources)
    shop.script = lambda _labels: "reset"
    path = shop.write("bad/b.jsonl", *(shop.line(f"bad {n:06}", pad="x" * 200) for n in range(60_000)))
    shop.start()

    shop.pump(3600)

    assert 4 << 20 < read_bytes < path.stat().st_size


def test_streams_that_are_never_answered_leave_half_of_the_pushes_to_others(world: Make) -> None:
    """Once they have failed: until then nobody knows."""
    logs = [f"s{n:02}" for n in range(3 * MOST_STRUGGLING)]

    def many(root: pathlib.Path) -> list[Source]:
        return [Jsonl(f"{root}/{app}/*.jsonl", "test", "u@h", app=app) for app in logs]

    shop = world(sources=many, options=Options(batch_wait_s=1.0))
    shop.script = lambda _labels: Answer(500, "oops")
    for app in logs:
        shop.write(f"{app}/a.jsonl", shop.line(app))
    shop.start()
    shop.pump(10)
    shop.script = lambda _labels: "hang"

    shop.pump(30)

    assert shop.engine is not None
    in_flight = [queue for queue in shop.engine.sender.queues.values() if queue.in_flight]
    assert len(in_flight) == MOST_STRUGGLING
    shop.script = lambda _labels: None
    shop.settle()
    assert len(shop.arrived()) == len(logs)


def test_at_the_end_what_is_in_memory_stays_there_to_be_sent(world: Make) -> None:
    """Nothing is read any more that could need the room: a slow Loki is given what was read."""
    shop = world(sources=sources)
    shop.script = lambda _labels: "hang"
    shop.write("bad/b.jsonl", *(shop.line(f"bad {n:05}") for n in range(MANY)))
    shop.start()
    shop.pump(1)
    assert shop.engine is not None
    assert shop.engine.window.full
    held = shop.engine.window.entries

    shop.engine.stop()
    shop.pump(10)
    still = shop.engine.window.entries
    shop.script = lambda _labels: None
    shop.pump(60)

    assert still == held
    assert texts(shop, "bad") == [f"bad {n:05}" for n in range(held)]
