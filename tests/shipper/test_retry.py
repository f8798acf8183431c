"""Rounds of tries: they end, the data does not."""

from __future__ import annotations

import pytest

from shipper.push.retry import RetryPolicy, Rounds


def test_a_round_is_one_try_and_five_retries_with_doubling_pauses() -> None:
    """100 ms, 200, 400, 800, 1600, and then the round has failed and a probe follows in ten seconds."""
    rounds = Rounds(RetryPolicy(), lambda: 0.0)

    pauses = [rounds.failed() for _ in range(6)]

    assert pauses == [(0.1, False), (0.2, False), (0.4, False), (0.8, False), (1.6, False), (10.0, True)]
    assert rounds.open


@pytest.mark.parametrize(("chance", "pause"), [(0.0, 0.1), (1.0, 0.125), (0.5, 0.1125)])
def test_jitter_adds_up_to_a_quarter(chance: float, pause: float) -> None:
    """Many shippers do not come back at the same moment."""
    assert Rounds(RetryPolicy(), lambda: chance).failed()[0] == pytest.approx(pause)


def test_no_pause_within_a_round_is_longer_than_ten_seconds() -> None:
    """However many retries somebody configures."""
    rounds = Rounds(RetryPolicy(retries=20), lambda: 1.0)

    assert max(rounds.failed()[0] for _ in range(20)) == 10.0


def test_after_a_failed_round_there_is_a_probe_every_ten_seconds_until_one_succeeds() -> None:
    """The circuit is open, the data is kept, and success forgets everything."""
    rounds = Rounds(RetryPolicy(retries=1), lambda: 0.0)
    for _ in range(2):
        rounds.failed()

    assert [rounds.failed()[0] for _ in range(3)] == [10.0] * 3
    rounds.succeeded()
    assert (rounds.failed(), rounds.open) == ((0.1, False), False)
