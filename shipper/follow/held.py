"""Files without a path, held by their descriptors: when they are quiet, and when they are let go."""

from __future__ import annotations

from shipper.follow.phase import Phase
from shipper.follow.tracked import Tracked

QUIET_S = 10.0
"""After so long without growth the unfinished last line is sent as it is."""
HOLD_S = 3600.0
"""After so long a file is let go. Until then whoever has it open may write into it, and is read."""


def quiet_at_s(tracked: Tracked) -> float:
    """Return when it has not grown for a while."""
    return (tracked.lost_path_s or 0.0) + QUIET_S


def let_go_at_s(tracked: Tracked) -> float:
    """Return when it need not be held any more."""
    return (tracked.lost_path_s or 0.0) + (HOLD_S if tracked.grows else QUIET_S)


def is_quiet(tracked: Tracked, now_s: float) -> bool:
    """Tell whether its unfinished last line is not waited for any more."""
    return tracked.phase is Phase.DRAINING and not tracked.away and now_s >= quiet_at_s(tracked)


def is_spent(tracked: Tracked, now_s: float) -> bool:
    """Tell whether it is quiet, and nothing of it is left to do."""
    return (
        tracked.phase is Phase.DRAINING
        and now_s >= quiet_at_s(tracked)
        and tracked.account.clear
        and tracked.read >= tracked.size
    )
