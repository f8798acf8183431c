"""Which lines Loki may hold and not show yet. Pure.

Loki asks its ingesters, which hold what was pushed lately, only about the last three hours
(`query_ingesters_within`). A line with an older time is shown once its chunk is flushed: when the stream had
nothing new for 30 minutes (`chunk_idle_period`), at the latest when the chunk spans two hours
(`max_chunk_age`).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from shipper.times import hour

MINUTE_NS = 60 * 10**9
SHOWN_AT_ONCE_NS = 3 * 60 * MINUTE_NS - 5 * MINUTE_NS
"""Younger lines are shown as soon as they are taken; five minutes are left to the clocks."""
FLUSHED_NS = 3 * 60 * MINUTE_NS + 5 * MINUTE_NS
"""What is shown of older lines is flushed; five minutes are left to the clocks."""
FLUSHED_AFTER_NS = (120 + 30 + 10) * MINUTE_NS
"""What was taken so long ago is flushed; ten minutes are left to the flush itself."""


def may_be_unseen(
    stamp_ns: int, now_ns: int, taken_by_ns: int, held_hours: AbstractSet[str] | None, *, later_shown: bool
) -> bool:
    """Tell whether a line that was acknowledged and is not shown may be there all the same.

    `taken_by_ns`: it was not taken after that. `held_hours`: of which hours ingesters hold `backfill`
    streams; None: not known. `later_shown`: a line of its own stream that was taken after it is flushed.
    One stream's lines are flushed in the order in which they were taken, so it is not in that stream then.
    """
    if stamp_ns > now_ns - SHOWN_AT_ONCE_NS:
        return False
    taken_lately = taken_by_ns >= now_ns - FLUSHED_AFTER_NS
    if held_hours is None:
        return taken_lately
    # Its stamp in Loki may differ by what lines before it shifted it.
    if held_hours & {hour(stamp_ns - MINUTE_NS), hour(stamp_ns + MINUTE_NS)}:
        return True
    return taken_lately and not later_shown
