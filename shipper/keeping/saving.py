"""When positions are saved: at once where a push waits for it, else as often as their size is worth."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from shipper.keeping import positions
from shipper.keeping.positions import Data
from shipper.state import Common

RETRY_S = 1.0
CALM_S = 10.0
SAVED_BPS = 400_000
"""A line a second must not cost ten megabytes of positions a second. What is saved later is, after a crash,
repeated and recognised."""


class Saver(Protocol):
    """Writes positions; may do so in the background."""

    def submit(self, data: Data, number: int) -> None:
        """Start to write; one at a time."""

    def done(self) -> tuple[int, str] | None:
        """Return the number of the save that has ended since the last call, and what went wrong.

        If anything.
        """


class Saving:
    """One save after the other, each with a number; `contents` returns what is to be saved now."""

    def __init__(self, common: Common, saver: Saver, contents: Callable[[], Data]) -> None:
        self._common = common
        self._saver = saver
        self._contents = contents
        self._soon_s = self._calm_s = 0.0
        self._runs = False
        self.problem = ""
        """Of the last save."""
        self.saved_at_s = -math.inf

    @property
    def settled(self) -> bool:
        """True when all that changed is durable."""
        return not self._common.saves.dirty and not self._runs

    def look(self, now_s: float) -> None:
        """Take note of a save that has ended."""
        done = self._saver.done()
        if done is None:
            return
        number, problem = done
        self._runs = False
        if problem:
            self._common.meter.add("position_save_errors")
            if problem != self.problem:
                self._common.tell("positions_not_saved", level="error", error=problem)
            self._soon_s = now_s + RETRY_S
            self._common.saves.dirty = True
        else:
            self._common.meter.add("position_saves")
            self._common.saves.durable = number
            self.saved_at_s = now_s
        self.problem = problem

    def turn(self, now_s: float, *, hurry: bool) -> None:
        """Begin a save where one is due."""
        if now_s < self.next_s(hurry=hurry):
            return
        saves = self._common.saves
        data = self._contents()
        number, saves.next = saves.next, saves.next + 1
        saves.dirty = False
        self._runs = True
        self._soon_s = now_s + self._common.options.save_every_s
        self._calm_s = now_s + min(CALM_S, 2 * positions.size_of(data) / SAVED_BPS)
        saves.urgent = False
        self._saver.submit(data, number)
        self.look(now_s)

    def next_s(self, *, hurry: bool) -> float:
        """Return when the next save begins; never, as far as can be known now, where nothing has changed."""
        saves = self._common.saves
        if self._runs or not saves.dirty:
            return math.inf
        return self._soon_s if saves.urgent or hurry else max(self._soon_s, self._calm_s)
