from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from shipper.configuration.config import load
from shipper.keeping.lock import Lock
from shipper.service import Service


@pytest.mark.parametrize(("turn", "listens"), [("good", True), ("failed", False), ("none", False)])
def test_only_a_turn_that_took_the_answers_is_followed_by_a_sleep_that_answers_end(
    tmp_path: pathlib.Path, turn: str, *, listens: bool
) -> None:
    """While turns fail, or the lock is lost and there are none, an answer would end each sleep at once."""
    flags = {"loki_url": "http://127.0.0.1:1", "state_dir": str(tmp_path), "log_level": "error"}
    lock = Lock(tmp_path)
    service = Service(load(flags, (f"jsonl={tmp_path}/*.jsonl",), None, {}, "u@h"), lock, watch=False)
    slept: list[tuple[float, int | None, int | None]] = []
    service._bell.sleep = lambda *asked: slept.append(asked)  # type: ignore[method-assign]
    service.engine.pump = {"good": lambda: 0.5, "failed": lambda: 1 / 0, "none": lambda: 0.5}[turn]  # type: ignore[method-assign]
    if turn == "none":
        service.guard = _Lost()  # type: ignore[assignment]
    service.run(_after(1, slept))
    ((_, _, answers),) = slept

    assert (answers == service._client.fileno()) is listens
    assert (answers is None) is not listens
    service.close()
    lock.close()


class _Lost:
    lost = "the lock is lost"

    def look(self, now_s: float) -> None:
        """See nothing new."""


def _after(count: int, slept: list[tuple[float, int | None, int | None]]) -> Callable[[], bool]:
    return lambda: len(slept) >= count
