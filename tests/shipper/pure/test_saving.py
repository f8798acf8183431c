from __future__ import annotations

import math

import pytest
from shipper_world import Counting, FakeClock

from shipper.entries.streams import Registry
from shipper.keeping.positions import Data
from shipper.keeping.saving import CALM_S, RETRY_S, SAVED_BPS, Saving
from shipper.state import Common, Options


class Disk:
    """A saver that ends when told."""

    def __init__(self) -> None:
        self.written: list[tuple[Data, int]] = []
        self.ended: tuple[int, str] | None = None

    def submit(self, data: Data, number: int) -> None:
        """Take a save."""
        self.written.append((data, number))

    def end(self, problem: str = "") -> None:
        """End it."""
        self.ended = (self.written[-1][1], problem)

    def done(self) -> tuple[int, str] | None:
        """Return it."""
        ended, self.ended = self.ended, None
        return ended


class Shop:
    """One `Saving` of contents of a known size."""

    def __init__(self, size_bytes: int) -> None:
        self.told: list[str] = []
        self.meter, self.disk = Counting(), Disk()
        self.common = Common(Options(save_every_s=0.25), Registry(), FakeClock(), self.tell, self.meter)
        self.saves = self.common.saves
        self.saving = Saving(self.common, self.disk, lambda: [b"x" * size_bytes])

    def tell(self, event: str, *, level: str = "info", **_fields: object) -> None:
        """Remember an event."""
        assert level == "error"
        self.told.append(event)

    def saved(self, now_s: float) -> None:
        """Have one save begin, and end well."""
        self.saving.turn(now_s, hurry=False)
        self.disk.end()
        self.saving.look(now_s)


@pytest.mark.parametrize(("size_bytes", "calm_s"), [(10, 0.25), (SAVED_BPS, 2.0), (100 * SAVED_BPS, CALM_S)])
def test_what_nobody_waits_for_is_saved_as_often_as_its_size_is_worth(size_bytes: int, calm_s: float) -> None:
    """Twice, for two generations; at least every ten seconds, and soon where a push waits or is the last."""
    shop = Shop(size_bytes)
    shop.saved(100.0)
    assert shop.saving.next_s(hurry=True) == math.inf
    shop.saves.now()

    assert shop.saving.next_s(hurry=False) == 100 + calm_s
    assert shop.saving.next_s(hurry=True) == 100.25
    shop.saves.urgent = True
    assert shop.saving.next_s(hurry=False) == 100.25
    shop.saving.turn(100.2, hurry=False)
    assert len(shop.disk.written) == 1
    shop.saving.turn(100.25, hurry=False)
    assert [number for _, number in shop.disk.written] == [1, 2]
    assert not shop.saves.urgent


def test_one_save_runs_at_a_time_and_what_changes_meanwhile_is_in_the_next() -> None:
    """Durable is what has ended."""
    shop = Shop(10)
    shop.saving.turn(100.0, hurry=False)
    version = shop.saves.now()
    shop.saving.turn(200.0, hurry=True)
    assert (version, shop.saves.durable, len(shop.disk.written)) == (2, 0, 1)
    assert shop.saving.next_s(hurry=True) == math.inf
    shop.disk.end()
    shop.saving.look(200.0)

    assert (shop.saves.durable, shop.saving.settled, shop.saving.saved_at_s) == (1, False, 200.0)
    shop.saved(200.0)
    assert (shop.saves.durable, shop.saving.settled) == (2, True)


def test_a_save_that_fails_is_told_once_and_tried_each_second() -> None:
    """It makes nothing durable; what is told is told anew after it went well."""
    shop = Shop(10)
    for now_s in (100.0, 101.0):
        shop.saving.turn(now_s, hurry=False)
        shop.disk.end("disk full")
        shop.saving.look(now_s)
        assert shop.saving.next_s(hurry=False) == now_s + RETRY_S
    assert (shop.saves.durable, shop.saving.settled, shop.saving.problem) == (0, False, "disk full")
    shop.saved(102.0)

    assert (shop.saves.durable, shop.saving.settled, shop.saving.problem) == (3, True, "")
    assert shop.told == ["positions_not_saved"]
    assert shop.meter.counts["position_save_errors", ""] == 2
    assert shop.meter.counts["position_saves", ""] == 1
