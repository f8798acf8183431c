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
    before = -1
    for own in owns:
        if own == before:
            # The usual case of a burst: the same time as the line before, which was the latest.
            run += 1
            last += STEP_NS
            push(last)
            continue
        max_run = max(max_run, run)
        before = -1
        stamp = own - own % STEP_NS + slot
        if stamp > last:
            last = stamp
            run = 0
            before = own
        elif stamp >= last - run * STEP_NS:
            last += STEP_NS
            run = (last - stamp) // STEP_NS
            stamp = last
            before = own
        else:
            back += 1
            stamp += (max_run + back) * STEP_NS
        push(stamp)
    return stamps, StampState(last, run, max(max_run, run), back)
