"""A clock that was wrong for a while, on the shipper's machine only."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from shipper_world import START_S, World

from shipper.entries.sorting import Policy
from shipper.state import Options

MakeWorld = Callable[..., World]
DAY_S = 24 * 3600.0


class Clocks:
    """Loki's clock is right; the shipper's is `off_s` from it."""

    def __init__(self, shop: World) -> None:
        self.off_s = 0.0
        shop.model.now_ns = lambda: round((START_S + shop.clock.elapsed_s) * 1e9)
        shop.clock.time_ns = lambda: round(  # type: ignore[method-assign]
            (START_S + shop.clock.elapsed_s + self.off_s) * 1e9
        )


@pytest.mark.parametrize("off_s", [-30 * DAY_S, 400 * DAY_S, -7200.0, 7200.0])
@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("old_lines", ["restamp", "dead-letter"])
def test_lines_stamped_by_a_wrong_clock_arrive_once_it_is_right(
    world: MakeWorld, off_s: float, *, killed: bool, old_lines: str
) -> None:
    """They get the present time, and lines behind them in the stream are not held up."""
    shop = world(options=Options(policy=Policy(round(7 * DAY_S) * 10**9, old_lines)))
    clocks = Clocks(shop)
    shop.start()
    for number, off in enumerate((0.0, off_s, 0.0)):
        clocks.off_s = off
        shop.write("a.jsonl", *[f"no time {number} {i}" for i in range(5)])
        shop.pump(30)
    if killed:
        shop.crash()
        shop.start()
    shop.settle()

    assert sorted(shop.arrived()) == sorted(f"no time {n} {i}" for n in range(3) for i in range(5))


def test_lines_that_even_the_present_time_does_not_help_wait_for_a_person(world: MakeWorld) -> None:
    """The clocks differ for good: nothing is buried, nothing spins, and all arrives when it is mended."""
    shop = world()
    clocks = Clocks(shop)
    clocks.off_s = 7200.0
    shop.start()
    shop.write("a.jsonl", "no time")
    began = time.process_time()
    shop.pump(1200)
    restamped = shop.meter.counts["restamped", ""]
    assert shop.arrived() == shop.buried() == []
    assert restamped <= 3
    assert time.process_time() - began < 20

    clocks.off_s = 0.0
    shop.settle()

    assert shop.arrived() == ["no time"]
