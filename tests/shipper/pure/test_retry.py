from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.push.retry import CAP_S, PROBE_S, RetryPolicy, Rounds


def rounds(retries: int = 5, chance: float = 0.0) -> Rounds:
    """Return fresh rounds with a chance of ours."""
    return Rounds(RetryPolicy(retries), lambda: chance)


def test_a_round_is_one_try_and_five_retries() -> None:
    """100 ms, doubled each time; the sixth failure ends the round, and then it is probed every 10 s."""
    failures = rounds()

    outcomes = [failures.failed() for _ in range(6)]

    assert [wait for wait, _ in outcomes] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, PROBE_S])
    assert [ended for _, ended in outcomes] == [False] * 5 + [True]
    assert failures.open


def test_jitter_adds_a_quarter_at_most() -> None:
    """So that many shippers do not come back in step."""
    most, none = rounds(chance=1.0), rounds(chance=0.0)

    assert [most.failed()[0] for _ in range(5)] == pytest.approx([0.125, 0.25, 0.5, 1.0, 2.0])
    assert [none.failed()[0] for _ in range(5)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])


@given(st.integers(1, 40), st.floats(0, 1), st.integers(1, 200))
def test_no_pause_is_longer_than_the_cap(retries: int, chance: float, count: int) -> None:
    """Ten seconds, jitter included, however many retries were asked for."""
    failures = rounds(retries, chance)

    assert all(0 < failures.failed()[0] <= CAP_S for _ in range(count))


def test_pauses_grow_up_to_the_cap_in_a_long_round() -> None:
    """Somebody may configure twenty retries."""
    failures = rounds(retries=20, chance=1.0)

    assert max(failures.failed()[0] for _ in range(20)) == CAP_S


def test_after_a_failed_round_it_is_tried_for_ever() -> None:
    """A round is counted as failed again after each six probes; the data is never given up."""
    failures = rounds()
    for _ in range(6):
        failures.failed()

    probes = [failures.failed() for _ in range(12)]

    assert {wait for wait, _ in probes} == {PROBE_S}
    assert [ended for _, ended in probes] == ([False] * 5 + [True]) * 2


def test_success_forgets_everything() -> None:
    """The next failure begins at 100 ms again."""
    failures = rounds()
    for _ in range(6):
        failures.failed()

    failures.succeeded()

    assert not failures.open
    assert failures.failed() == (pytest.approx(0.1), False)


def test_wrong_credentials_open_the_circuit_at_once() -> None:
    """Five quick retries would only fill somebody's log."""
    failures = rounds()

    assert failures.hopeless() == PROBE_S
    assert failures.open


def test_streams_fail_on_their_own() -> None:
    """One stream's round says nothing of another's."""
    one, other = rounds(), rounds()
    for _ in range(6):
        one.failed()

    assert (one.open, other.open, other.failures) == (True, False, 0)
