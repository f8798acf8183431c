"""How things stand, handed from the loop to the pages: twice a second, or as often as a look may cost."""

from __future__ import annotations

from shipper.configuration.config import Config
from shipper.engine import Engine
from shipper.follow.inotify import Watcher
from shipper.keeping.deadletter import DeadLetters
from shipper.state import Clock, Tell
from shipper.telling.pages import Published
from shipper.telling.standing import Pace, look

EVERY_S = 0.5


class Publisher:
    """Looks at the engine between its turns. Begins with the process: it knows how long that is up."""

    def __init__(  # noqa: PLR0917 - what is looked at, and who is told
        self,
        engine: Engine,
        watcher: Watcher | None,
        dead_letters: DeadLetters,
        published: Published,
        clock: Clock,
        tell: Tell,
    ) -> None:
        self._engine = engine
        self._watcher = watcher
        self._dead = dead_letters
        self._published = published
        self._clock = clock
        self._tell = tell
        self._pace = Pace()
        self._started_ns = clock.time_ns()
        self._next_s = 0.0
        self._last_watch_problem = ""

    def publish(self, config: Config, *, reload_problem: str, lost: str) -> None:
        """Tell the pages, if it is time. `lost`: why nothing is shipped any more."""
        now_s = self._clock.monotonic()
        if now_s < self._next_s:
            return
        wall_ns = self._clock.time_ns()
        names = [source.name for source in config.sources]
        status = look(self._engine, self._watcher, self._dead, names, now_s=now_s, wall_ns=wall_ns)
        status["reload_problem"] = reload_problem
        status["save_problem"] = lost or status["save_problem"]
        status["loki"] = config.endpoint.base_url
        status["lines_per_second"] = self._pace.per_second(now_s, status["entries_sent"])
        status["uptime_seconds"] = round((wall_ns - self._started_ns) / 1e9, 1)
        # With ten thousand files a look at all of them takes milliseconds: it may cost a tenth of a percent.
        self._next_s = now_s + min(10.0, max(EVERY_S, 1000 * (self._clock.monotonic() - now_s)))
        self._published.tell(status, now_s)
        problem = status["watch_problem"]
        if problem and problem != self._last_watch_problem:
            self._tell("watching_by_polling", level="warning", detail=problem)
        self._last_watch_problem = problem


def brief(engine: Engine) -> str:
    """Return how things stand in half a line."""
    under_way = engine.window.entries
    return f"{len(engine.files.all)} files, {engine.sender.sent} lines sent, {under_way} under way"
