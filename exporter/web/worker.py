"""One daemon thread for calls that block: equal calls are made once, and the exit does not wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Busy(Exception):  # noqa: N818 (an outcome that has to cross an await, not an error)
    """Too many different calls are waiting already."""


class Worker:
    """Makes blocking calls for one event loop, one after the other.

    Why no `ThreadPoolExecutor`: the interpreter joins its threads at exit, so that a read hanging on a dead
    network file system would keep the process from stopping. A daemon thread dies with the process.
    """

    def __init__(self, name: str, max_waiting: int) -> None:
        self._name = name
        self._max_waiting = max_waiting
        self._waiting: dict[Hashable, asyncio.Task[Any]] = {}
        self._jobs: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(
        self, key: Hashable, call: Callable[[], T], timeout_s: float, *, is_bounded: bool = False
    ) -> T:
        """Return what `call` returns; whoever comes with an equal key meanwhile waits for the same result.

        So a hundred scrapers at once cost one rendering, and a call that hangs piles nothing up. Raises what
        `call` raises, `Busy` beyond `max_waiting` different keys, and `TimeoutError` after `timeout_s`: the
        call goes on, and others may still wait for it. `is_bounded`: there are only a few keys of this kind,
        so it is always admitted.
        """
        task = self._waiting.get(key)
        if task is None:
            if len(self._waiting) >= self._max_waiting and not is_bounded:
                raise Busy
            task = asyncio.get_running_loop().create_task(self._hand_in(call))
            self._waiting[key] = task
            task.add_done_callback(partial(self._forget, key))
        # Shielded: somebody who gives up must not take the result from the others.
        result: T = await asyncio.wait_for(asyncio.shield(task), timeout_s)
        return result

    def close(self) -> None:
        """Let the thread end after the calls already handed in; does not wait for it."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread = None

    async def _hand_in(self, call: Callable[[], T]) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((call, future))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        return await future

    def _forget(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        del self._waiting[key]
        if not task.cancelled():
            task.exception()  # fetched, so that asyncio does not complain when every waiter has gone

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, future = job
            result, error = None, None
            try:
                result = call()
            except Exception as failure:  # noqa: BLE001 (it is raised again where the call was awaited)
                error = failure
            with suppress(RuntimeError):  # the loop is closed: the process is stopping, nobody waits any more
                future.get_loop().call_soon_threadsafe(_settle, future, result, error)
            del job, call, future, result, error  # an idle thread must not keep the last page alive


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():  # cancelled meanwhile
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
