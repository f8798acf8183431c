"""What Loki may hold and not show yet."""

from __future__ import annotations

import pytest

from shipper.proof.visible import may_be_unseen
from shipper.times import hour

MINUTE_NS = 60 * 10**9
NOW_NS = 1_795_000_000 * 10**9
OF_IT = {hour(NOW_NS - 300 * MINUTE_NS)}
OTHER = {hour(NOW_NS - 500 * MINUTE_NS)}


@pytest.mark.parametrize(
    ("age_min", "taken_ago_min", "held_hours", "later_shown", "expected"),
    [
        (10, 0, set(), False, False),
        (170, 0, set(), False, False),
        (176, 0, set(), False, True),
        (300, 0, set(), False, True),
        (300, 150, set(), False, True),
        (300, 165, set(), False, False),
        (300, 0, set(), True, False),
        (300, 0, OTHER, True, False),
        (300, 0, OF_IT, True, True),
        (300, 165, OF_IT, True, True),
        (300, 165, OTHER, False, False),
        (300, 0, None, True, True),
        (300, 165, None, True, False),
        (-600, 0, OF_IT, False, False),
    ],
)
def test_only_what_is_old_and_not_flushed_for_sure_may_be_unseen(
    age_min: int, taken_ago_min: int, held_hours: set[str] | None, *, later_shown: bool, expected: bool
) -> None:
    """Age of the line, minutes since it was taken, what the ingesters hold, and what else is shown."""
    found = may_be_unseen(
        NOW_NS - age_min * MINUTE_NS,
        NOW_NS,
        NOW_NS - taken_ago_min * MINUTE_NS,
        held_hours,
        later_shown=later_shown,
    )

    assert found is expected


def test_the_hour_of_a_line_whose_stamp_was_shifted_counts_on_both_sides() -> None:
    """A second after the full hour by its own time; in Loki it stood a microsecond before it."""
    full_ns = NOW_NS // (60 * MINUTE_NS) * 60 * MINUTE_NS - 300 * MINUTE_NS

    assert may_be_unseen(full_ns + 1, NOW_NS, NOW_NS, {hour(full_ns - 1)}, later_shown=True)
