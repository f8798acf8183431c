"""What Loki may hold and not show yet."""

from __future__ import annotations

import pytest

from shipper.proof.book import Outcome
from shipper.proof.visible import may_be_unseen

MINUTE_NS = 60 * 10**9
NOW_NS = 1_795_000_000 * 10**9


@pytest.mark.parametrize(
    ("age_min", "taken_ago_min", "last_seen", "expected"),
    [
        (10, 0, {}, False),
        (170, 0, {}, False),
        (176, 0, {}, True),
        (300, 0, {}, True),
        (300, 150, {}, True),
        (300, 165, {}, False),
        (300, 0, {Outcome.THERE: 99}, True),
        (300, 0, {Outcome.THERE: 101}, False),
        (300, 0, {Outcome.THERE: 101, Outcome.BACKFILLED: 50}, True),
    ],
)
def test_only_what_is_old_and_was_taken_lately_may_be_unseen(
    age_min: int, taken_ago_min: int, last_seen: dict[Outcome, int], *, expected: bool
) -> None:
    """Age of the line, minutes since anything was taken, what is shown of its file, and the outcome."""
    found = may_be_unseen(
        NOW_NS - age_min * MINUTE_NS, 100, NOW_NS, NOW_NS - taken_ago_min * MINUTE_NS, last_seen
    )

    assert found is expected
