"""Which lines Loki may hold and not show yet. Pure.

Loki asks its ingesters, which hold what was pushed lately, only about the last three hours
(`query_ingesters_within`). A line with an older time is shown once its chunk is flushed: when the stream had
nothing new for 30 minutes (`chunk_idle_period`), at the latest when the chunk spans two hours
(`max_chunk_age`).
"""

from __future__ import annotations

from collections.abc import Mapping

from shipper.proof.book import Outcome

MINUTE_NS = 60 * 10**9
SHOWN_AT_ONCE_NS = 3 * 60 * MINUTE_NS - 5 * MINUTE_NS
"""Younger lines are shown as soon as they are taken; five minutes are left to the clocks."""
FLUSHED_AFTER_NS = (120 + 30 + 10) * MINUTE_NS
"""What was taken so long ago is flushed; ten minutes are left to the flush itself."""


def may_be_unseen(
    stamp_ns: int, start: int, now_ns: int, taken_by_ns: int, last_seen: Mapping[Outcome, int]
) -> bool:
    """Tell whether a line that was acknowledged and is not shown may be there all the same.

    `taken_by_ns`: nothing of the file was taken after that. `last_seen`: by where they were found, the
    largest offset of the lines of its file and family that are shown although they are so old. One stream's
    lines are taken and flushed in order: if a later one is shown, so would be this one.
    """
    if stamp_ns > now_ns - SHOWN_AT_ONCE_NS:
        return False
    if taken_by_ns < now_ns - FLUSHED_AFTER_NS:
        return False
    # Lines of one file may lie in several backfill streams, each flushed by itself.
    if Outcome.BACKFILLED in last_seen:
        return True
    return last_seen.get(Outcome.THERE, -1) < start
