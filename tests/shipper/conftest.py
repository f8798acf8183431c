"""What the shipper's tests share: where their helper modules and the receiver lie."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

_HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(_HERE / "support"), str(_HERE.parent.parent / "bench")]

from gateway import Gateway  # noqa: E402 - the path comes first
from shipper_world import World  # noqa: E402 - the path comes first


@pytest.fixture
def world(tmp_path: pathlib.Path) -> Iterator[Callable[..., World]]:
    """Return a function that makes a world.

    Sources in a directory, an engine, a Loki in memory, a clock of ours.
    """
    made: list[World] = []

    def make(**options: object) -> World:
        made.append(World(tmp_path, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(name="gate")
def _gate() -> Iterator[Callable[..., Gateway]]:
    """Return a function that makes gateways; they end with the test."""
    with ExitStack() as stack:

        def make(*args: object, **more: object) -> Gateway:
            made = Gateway(*args, **more)  # type: ignore[arg-type]
            stack.callback(made.close)
            return made

        yield make
