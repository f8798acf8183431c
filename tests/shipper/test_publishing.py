from __future__ import annotations

import pathlib
from typing import Any, cast

import pytest
from shipper_world import World

from shipper.configuration.config import load
from shipper.follow.inotify import Watcher
from shipper.telling.metrics import Metrics
from shipper.telling.pages import Published
from shipper.telling.publishing import EVERY_S, Publisher, brief


class Watching:
    """A watcher with a problem."""

    watches = 0
    problem = "no watches left"


class Kept(Published):
    """The statuses that were published."""

    def __init__(self) -> None:
        super().__init__(Metrics())
        self.told: list[dict[str, Any]] = []

    def tell(self, status: dict[str, Any], now_s: float) -> None:
        """Keep one."""
        assert now_s >= 1000
        self.told.append(status)


@pytest.fixture(name="shop")
def _shop(tmp_path: pathlib.Path) -> World:
    world = World(tmp_path)
    (world.logs / "a.jsonl").write_text('{"text":"x"}\n' * 3)
    world.start()
    return world


def test_the_pages_are_told_as_often_as_agreed_and_of_polling_once(
    shop: World, tmp_path: pathlib.Path
) -> None:
    """Not with every turn; what the configuration, a reload or a lost lock say stands in what they show."""
    config = load({"loki_url": "http://127.0.0.1:1/x"}, (f"jsonl={tmp_path}/*.jsonl",), None, {}, "u@h")
    kept = Kept()
    assert shop.engine is not None
    watcher = cast("Watcher", Watching())
    publisher = Publisher(shop.engine, watcher, shop.dead, kept, shop.clock, shop.tell)
    publisher.publish(config, reload_problem="", lost="")
    shop.pump(EVERY_S - 0.1)
    publisher.publish(config, reload_problem="", lost="")
    shop.pump(20)
    publisher.publish(config, reload_problem="no such file", lost="another has the lock")
    first, last = kept.told

    assert (first["uptime_seconds"], first["entries_sent"], first["save_problem"]) == (0, 0, "")
    assert (last["uptime_seconds"], last["entries_sent"]) == (19.9 + EVERY_S, 3)
    assert (last["reload_problem"], last["save_problem"]) == ("no such file", "another has the lock")
    assert last["loki"] == config.endpoint.base_url
    assert [event for event, _ in shop.told].count("watching_by_polling") == 1
    assert brief(shop.engine) == "1 files, 3 lines sent, 0 under way"
    shop.close()
