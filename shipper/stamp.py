"""Own time to a nanosecond stamp that is unique within a stream and the same at each repeat.

All stamps of a file generation are ≡ its slot (mod 1000), so files with different slots never meet. See
docs/shipper.md, «Stamps», for the three cases. Pure; the state travels with the chunk.
"""

from __future__ import annotations

from typing import NamedTuple

STEP_NS = 1000
SLOTS = 500
ANSWER_RESIDUE = 500
"""Added to the slot for lines that are re-stamped because of an answer of Loki."""


class StampState(NamedTuple):
    """What the stamps of the lines before mean for the next; all in nanoseconds or counts."""

    last: int = 0
    """Stamp of the latest line that did not run backwards."""
    run: int = 0
    """How many microseconds that stamp is past its own time."""
    max_run: int = 0
    """The largest such shift in this file so far."""
    back: int = 0
    """How many lines have run backwards so far."""


FRESH = StampState()


def stamp_all(owns: list[int], slot: int, state: StampState) -> tuple[list[int], StampState]:
    """Return the stamps of lines with these own times (ns), in file order, and the state after them."""
    last, run, max_run, back = state
    stamps: list[int] = []
    push = stamps.append
    for own in owns:
        stamp = own - own % STEP_NS + slot
        if stamp > last:
            last = stamp
            run = 0
        elif stamp >= last - run * STEP_NS:
            last += STEP_NS
            run = (last - stamp) // STEP_NS
            max_run = max(max_run, run)
            stamp = last
        else:
            back += 1
            stamp += (max_run + back) * STEP_NS
        push(stamp)
    return stamps, StampState(last, run, max_run, back)
