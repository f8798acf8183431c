from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from shipper_world import World

from shipper.push.answer import Action, Verdict, judge

Make = Callable[..., World]


@pytest.mark.parametrize("status", [429, 503, 401])
def test_a_stream_waits_as_long_as_the_gateway_says(world: Make, status: int) -> None:
    """Longer than its own back-off; then the same bytes again, and nothing is lost."""
    one = world()
    refused: list[float] = []

    def refuse(_labels: dict[str, str]) -> Verdict:
        refused.append(one.clock.elapsed_s)
        return judge(status, "busy", retry_after_s=120.0)

    one.script = refuse
    one.write("a.jsonl", one.line("x"))
    one.start()
    one.pump(300.0)
    one.script = lambda _labels: None
    one.settle()

    assert [round(later - sooner) for sooner, later in itertools.pairwise(refused)] == [120, 120]
    assert len(one.arrived()) == 1


def test_a_gateway_that_says_no_time_does_not_shorten_the_pause(world: Make) -> None:
    """0 s is no invitation to hammer."""
    one = world()
    tries = 0

    def refuse(_labels: dict[str, str]) -> Verdict:
        nonlocal tries
        tries += 1
        return Verdict(Action.REPEAT, "server_error", 503, retry_after_s=0.0)

    one.script = refuse
    one.write("a.jsonl", one.line("x"))
    one.start()
    one.pump(60.0)

    assert 6 < tries < 15
