"""The life of a followed file: one enum of phases, one of happenings, one table. No I/O."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Where a file is in its life."""

    FOLLOWING = "following"
    """It stands at a path that a source covers; it may grow."""
    DRAINING = "draining"
    """It was renamed away, unlinked or replaced; what is left of it is read, held by its descriptor."""
    GONE = "gone"
    """Nothing can be read of it any more (cut in place, or never found again); lines in memory are still
    sent."""
    DONE = "done"
    """Nothing is left to do; it is forgotten."""


class Happening(Enum):
    """What can happen to a file."""

    LOST_PATH = "lost_path"
    FOUND_PATH = "found_path"
    CUT = "cut"
    """Its content was replaced in place."""
    FINISHED = "finished"
    """No longer at a path, read to its end, not grown for an hour, and everything settled."""


TABLE: dict[Phase, dict[Happening, Phase]] = {
    Phase.FOLLOWING: {
        Happening.LOST_PATH: Phase.DRAINING,
        Happening.FOUND_PATH: Phase.FOLLOWING,
        Happening.CUT: Phase.GONE,
    },
    Phase.DRAINING: {
        Happening.LOST_PATH: Phase.DRAINING,
        Happening.FOUND_PATH: Phase.FOLLOWING,
        Happening.CUT: Phase.GONE,
        Happening.FINISHED: Phase.DONE,
    },
    Phase.GONE: {
        Happening.LOST_PATH: Phase.GONE,
        Happening.FINISHED: Phase.DONE,
    },
    Phase.DONE: {},
}


def after(phase: Phase, happening: Happening) -> Phase:
    """Return the phase that follows; an event that the table does not know is an error of ours."""
    try:
        return TABLE[phase][happening]
    except KeyError:
        raise RuntimeError(f"a file that is {phase.value} cannot have {happening.value}") from None
