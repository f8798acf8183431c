"""What cannot be read is not forgotten: health and `--once` say so."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from shipper_world import World

from shipper.telling.health import Turning, checks
from shipper.telling.standing import look

MakeWorld = Callable[..., World]


def files_check(shop: World) -> tuple[str, str]:
    """Return state and sentence of the check of files."""
    assert shop.engine is not None
    status = look(shop.engine, None, shop.dead, [], now_s=shop.clock.monotonic(), wall_ns=0)
    return next(
        (state.value, text)
        for name, state, text in checks({**status, "reload_problem": ""}, Turning(0.0))
        if name == "files"
    )


def test_a_file_that_may_not_be_read_degrades_the_health_until_it_may(
    world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is everything caught up meanwhile."""
    shop = world()
    path = shop.write("a.jsonl", shop.line("x"))
    shop.write("b.jsonl", shop.line("y"))
    real = os.open

    def refusing(name: str, *arguments: int, **more: int) -> int:
        if name == str(path):
            raise PermissionError(13, "Permission denied")
        return real(name, *arguments, **more)

    monkeypatch.setattr(os, "open", refusing)
    engine = shop.start()
    shop.pump(30)
    assert len(shop.arrived()) == 1
    assert not engine.caught_up
    state, text = files_check(shop)
    assert (state, str(path) in text) == ("degraded", True)

    monkeypatch.undo()
    shop.settle()
    assert len(shop.arrived()) == 2
    assert files_check(shop)[0] == "ok"


def test_a_directory_that_may_not_be_listed_degrades_the_health_until_it_may(
    world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what is in it."""
    shop = world()
    shop.write("in/a.jsonl", shop.line("x"))
    inside = str(shop.logs / "in")
    real = os.open

    def refusing(name: str, *arguments: int, **more: int) -> int:
        if name == inside:
            raise PermissionError(13, "Permission denied")
        return real(name, *arguments, **more)

    monkeypatch.setattr(os, "open", refusing)
    engine = shop.start()
    shop.pump(30)
    assert not engine.caught_up
    assert files_check(shop)[0] == "degraded"

    monkeypatch.undo()
    shop.settle()
    assert files_check(shop)[0] == "ok"


def test_a_file_that_could_not_be_read_and_is_gone_troubles_nobody(
    world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing left to read."""
    shop = world()
    path = shop.write("a.jsonl", shop.line("x"))
    real = os.open

    def refusing(name: str, *arguments: int, **more: int) -> int:
        if name == str(path):
            raise PermissionError(13, "Permission denied")
        return real(name, *arguments, **more)

    monkeypatch.setattr(os, "open", refusing)
    shop.start()
    shop.pump(15)
    path.unlink()
    shop.settle()
    assert files_check(shop)[0] == "ok"
