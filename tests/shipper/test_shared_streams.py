"""Files that share a stream are read in order of time, also when they belong to different sources."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from shipper_world import World

from shipper.sources.base import Source
from shipper.sources.jsonl import Jsonl

MakeWorld = Callable[..., World]
HOUR_S = 3600


def two_sources(logs: pathlib.Path) -> list[Source]:
    """Return two sources whose lines have the same labels."""
    return [Jsonl(f"{logs}/{name}/*.jsonl", "test", "u@h") for name in ("a", "b")]


def test_two_sources_with_the_same_labels_catch_up_in_order_of_time(world: MakeWorld) -> None:
    """Nothing is too far behind what was sent before it, so nothing goes to backfill."""
    shop = world(sources=two_sources)
    lines = [shop.line(f"x{i}", ago_s=5 * HOUR_S - 18 * i) for i in range(900)]
    shop.write("a/f.jsonl", *lines[0::2])
    shop.write("b/f.jsonl", *lines[1::2])

    shop.start()
    shop.settle()

    assert len(shop.model.entries) == 1
    assert shop.arrived() == lines


def test_a_repeat_from_one_source_is_not_late_because_another_went_on(world: MakeWorld) -> None:
    """Stored, not acknowledged, killed; meanwhile the other source's file has lines three hours later."""
    shop = world(sources=two_sources)
    shop.write("a/f.jsonl", shop.line("first", ago_s=5 * HOUR_S))
    shop.start()
    shop.settle()
    lines = [shop.line(f"b{i}", ago_s=4 * HOUR_S - i) for i in range(50)]
    shop.write("b/f.jsonl", *lines)
    shop.script = lambda _labels: "stored-reset"
    shop.pump(12)
    shop.crash()
    shop.script = lambda _labels: None
    shop.write("a/f.jsonl", *[shop.line(f"a{i}", ago_s=HOUR_S - i) for i in range(50)])

    shop.start()
    shop.settle()

    assert len(shop.arrived()) == len(set(shop.arrived())) == 101
