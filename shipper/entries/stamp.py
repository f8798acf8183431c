"""Own time to a nanosecond stamp that is unique within a stream and the same at each repeat.

All stamps of a file generation are ≡ its slot (mod 1000), so files with different slots never meet. Within a
file a line takes the first microsecond of its own time that is not taken, after all earlier lines of that
time. What is taken is remembered as *runs*: the few last used, exactly; of older ones only between which
times they lie. See docs/shipper.md, «Stamps». Pure; the state travels with the chunk.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import repeat
from typing import NamedTuple

STEP_NS = 1000
SLOTS = 500
ANSWER_RESIDUE = 500
"""Added to the slot for lines that are re-stamped because of an answer of Loki."""
RUNS = 8
_FEW = 4
MAX_SHIFT_NS = 60 * 10**9
STEP_BYTES = 8189
"""A line reserves a step, and one more for each so many bytes: one for each part it may be split into."""


class StampState(NamedTuple):
    """What the stamps of the lines before mean for the next; all in nanoseconds."""

    low: int = 0
    """From here up to `horizon` stamps may be taken that no run tells of."""
    horizon: int = 0
    shift: int = 0
    """The farthest that a line's end lies past its own time so far."""
    runs: tuple[tuple[int, int], ...] = ()
    """(first, next free) of what is taken, the one used last at the end."""


FRESH = StampState()


def steps_for(size_bytes: int) -> int:
    """Return how many stamps a line of this size reserves, whatever the limit by which it is split."""
    return 1 + size_bytes // STEP_BYTES


def packed(own: StampState, clock: StampState) -> list[int]:
    """Return the two states of a chunk as the positions keep them: few digits, an odd number of integers."""
    first, second = _numbers(own), _numbers(clock)
    return [len(first), *first, *second]


def unpacked(numbers: list[int]) -> tuple[StampState, StampState]:
    """Return what `packed` was given; eight integers are what versions before this one kept."""
    if len(numbers) % 2:
        split = 1 + numbers[0]
        return _state(numbers[1:split]), _state(numbers[split:])
    return _old_state(*numbers[:4]), _old_state(*numbers[4:])


def _numbers(state: StampState) -> list[int]:
    numbers = [state.low, state.horizon - state.low, state.shift]
    before = state.low
    for start, free in state.runs:
        numbers += [start - before, (free - start) // STEP_NS]
        before = start
    return numbers


def _state(numbers: list[int]) -> StampState:
    low, span, shift, *rest = numbers
    runs = []
    start = low
    for distance, steps in zip(rest[::2], rest[1::2], strict=True):
        start += distance
        runs.append((start, start + steps * STEP_NS))
    return StampState(low, low + span, shift, tuple(runs))


def _old_state(last: int, run: int, max_run: int, back: int) -> StampState:
    if not last:
        return FRESH
    # Anything up to the latest stamp may be taken, shifted as far as any line was.
    return StampState(0, last + STEP_NS, (max(run, max_run) + back + 1) * STEP_NS)


def stamp_all(
    owns: list[int], slot: int, state: StampState, sizes: list[int] | None = None
) -> tuple[list[int], StampState]:
    """Return the stamps of lines with these own times (ns), in file order, and the state after them.

    `sizes` may be left out where no line is as long as a step.
    """
    if sizes is None:
        return _stamp_short(owns, slot, state)
    stamps: list[int] = []
    for index, size in enumerate(sizes):
        if size >= STEP_BYTES:
            part, state = _stamp_short(owns[len(stamps) : index], slot, state)
            taken = _Taken(state)
            own = owns[index]
            stamps += [*part, taken.take(own - own % STEP_NS + slot, STEP_NS * steps_for(size))]
            state = taken.state()
    part, state = _stamp_short(owns[len(stamps) :], slot, state)
    return stamps + part, state


def _stamp_short(owns: list[int], slot: int, state: StampState) -> tuple[list[int], StampState]:
    """Stamp lines that take one step each. Two comparisons for a line that is no earlier than all before."""
    taken = _Taken(state)
    stamps: list[int] = []
    push = stamps.append
    noted = 0
    free, peak = taken.bounds()
    at, before = free, None
    shift = 0
    for own, count in _equal_runs(owns):
        left = count
        while left:
            if own == before:
                end = free + left * STEP_NS
                stamps += range(free, end, STEP_NS)
                free = end
                break
            left -= 1
            if free - at > shift:  # noqa: PLR1730 - a call for each line would cost a third of all this
                shift = free - at
            at = own - own % STEP_NS + slot
            if at > free >= peak:
                push(at)
                free = at + STEP_NS
                before = own
            else:
                taken.note(stamps[noted:], shift)
                stamp = taken.take(at, STEP_NS)
                push(stamp)
                noted = len(stamps)
                ended = free
                free, peak = taken.bounds()
                # Lines that follow with the same time go on behind it, where nothing later is taken: a chunk
                # mostly begins within a second of many lines. One of a forgotten time ends no run.
                if ended != free == stamp + STEP_NS >= peak:
                    before = own
                else:
                    at, before = free, None
    taken.note(stamps[noted:], max(shift, free - at))
    return stamps, taken.state()


def _equal_runs(owns: list[int]) -> Iterable[tuple[int, int]]:
    """Return each time and how often it follows itself; where few do so, each time alone."""
    if len(owns) < _FEW * len(set(owns)) or sorted(owns) != owns:
        return zip(owns, repeat(1))
    runs: list[tuple[int, int]] = []
    first = 0
    while first < len(owns):
        own = owns[first]
        last = bisect_right(owns, own, first)
        runs.append((own, last - first))
        first = last
    return runs


class _Taken:
    """What is taken, as it is looked up and changed."""

    def __init__(self, state: StampState) -> None:
        self._low, self._horizon, self._shift, runs = state
        self._runs = list(runs)

    def state(self) -> StampState:
        """Return it as it is kept."""
        return StampState(self._low, self._horizon, self._shift, tuple(self._runs))

    def bounds(self) -> tuple[int, int]:
        """Return the end of the run used last, and from where on nothing else is taken."""
        free = self._runs[-1][1] if self._runs else 0
        return free, max([self._horizon, *(end for _, end in self._runs[:-1])])

    def note(self, stamps: list[int], shift: int) -> None:
        """Take in stamps that were each later than anything before; only the last few runs are looked at."""
        self._shift = max(self._shift, shift)
        found: list[tuple[int, int]] = []
        at = len(stamps)
        while at and len(found) <= RUNS:
            end = stamps[at - 1] + STEP_NS
            at = _run_start(stamps, at - 1)
            found.append((stamps[at], end))
        if at:
            self._forget([*self._runs, (stamps[0], stamps[at - 1] + STEP_NS)])
            self._runs = found[::-1]
        elif found:
            if self._runs and self._runs[-1][1] == found[-1][0]:
                found[-1] = (self._runs.pop()[0], found[-1][1])
            self._runs += found[::-1]
        self._let_go()

    def take(self, at: int, width: int) -> int:
        """Return the stamp of any line, and remember that it is taken."""
        if self._low <= at < self._horizon and all(start != at for start, _ in self._runs):
            # Lines of this time may be forgotten. None was shifted farther than any line so far.
            if self._shift > MAX_SHIFT_NS:
                self._shift = 0
            stamp = at + self._shift
            self._shift += width
            return stamp
        first = end = at
        if (run := self._around(at)) is not None:
            first, end = run
            self._runs.remove(run)
        while (met := self._met(first, end + width)) is not None:
            end = max(end, met[1])
            self._runs.remove(met)
        self._runs.append((first, end + width))
        self._shift = max(self._shift, end + width - at)
        self._let_go()
        return end

    def _around(self, at: int) -> tuple[int, int] | None:
        """Return the run in which a time lies, or else the one that ends just before it.

        Which of them was used last plays no part: two runs can touch, and a line goes on in the same one
        wherever the chunk before it was cut.
        """
        ended = None
        for run in self._runs:
            if run[0] <= at < run[1]:
                return run
            if run[1] == at:
                ended = run
        return ended

    def _met(self, first: int, end: int) -> tuple[int, int] | None:
        for run in self._runs:
            if run[0] < end and run[1] > first:
                return run
        return None

    def _let_go(self) -> None:
        """Forget the runs that were not used for longest."""
        excess = len(self._runs) - RUNS
        if excess > 0:
            self._forget(self._runs[:excess])
            del self._runs[:excess]

    def _forget(self, runs: list[tuple[int, int]]) -> None:
        for start, free in runs:
            self._low = min(self._low, start) if self._horizon else start
            self._horizon = max(self._horizon, free)


def _run_start(stamps: list[int], last: int) -> int:
    """Return where the run begins that ends with `last`: the stamps ascend by a step each, or by more."""
    level = stamps[last] - last * STEP_NS
    return bisect_left(range(last), level, key=lambda index: stamps[index] - index * STEP_NS)
