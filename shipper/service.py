"""One running shipper: the loop that waits, and what it tells of itself."""

from __future__ import annotations

import gc
import os
import pathlib
import random
import signal
import sys
import time
from collections.abc import Callable

from shipper import heap, room
from shipper.bell import Bell
from shipper.configuration.config import Config, ConfigError
from shipper.engine import Engine
from shipper.follow.inotify import Watcher
from shipper.keeping.deadletter import DeadLetters
from shipper.keeping.guard import Guard
from shipper.keeping.lock import Lock
from shipper.keeping.saver import BackgroundSaver
from shipper.push.client import Client
from shipper.push.retry import RetryPolicy
from shipper.push.way import Way
from shipper.redact.redactor import Redactor
from shipper.reload import prepare
from shipper.telling import notify
from shipper.telling.logs import Log
from shipper.telling.metrics import Metrics
from shipper.telling.pages import Published
from shipper.telling.standing import Pace, look

_PUBLISH_EVERY_S = 0.5


class SystemClock:
    """The real time."""

    monotonic = staticmethod(time.monotonic)
    time_ns = staticmethod(time.time_ns)


class Service:
    """Everything that `run` starts, wired."""

    def __init__(self, config: Config, lock: Lock, *, watch: bool = True) -> None:
        self.config = config
        self.metrics = Metrics()
        redactor = config.redactor()
        self.log = Log(
            form=config.log_format,
            level=config.log_level,
            suppressed=lambda: self.metrics.add("log_lines_suppressed"),
            masked=_masked(redactor),
        )
        self._bell = Bell()
        self._client = Client(Way(config.endpoint, self.tell), self._bell.ring)
        self._saver = BackgroundSaver(config.state_dir, lock, self._bell.ring)
        self._dead = DeadLetters(config.state_dir / "dead-letters.jsonl", config.dead_letter_max_bytes)
        self._watcher = Watcher() if watch else None
        self.engine = Engine(
            config.sources,
            config.options,
            config.state_dir,
            self._client,
            self._saver,
            self._dead,
            SystemClock(),
            random.random,
            self.tell,
            self.metrics,
            watcher=self._watcher,
            retries=RetryPolicy(config.retry_max),
            max_open=room.make(config.max_open_files, self.tell),
            redactor=redactor,
        )
        self.guard = Guard(lock, config.state_dir, self.tell, self.engine.saves.now)
        self.metrics.expect("redactions", [rule.name for rule in config.redact_rules])
        self.published = Published(self.metrics)
        self._pace = Pace()
        self._systemd = notify.Pulse(notify.of_this_process(), time.monotonic)
        self._publish_at_s = 0.0
        self._last_watch_problem = ""
        self.started_ns = time.time_ns()
        self.stops = 0
        self._load: Callable[[], Config] | None = None
        self._hung_up = False
        self._reload_problem = ""

    def tell(self, event: str, *, level: str = "info", **fields: object) -> None:
        """Count what has a counter, and log."""
        if event == "lost":
            self.metrics.add("lost_bytes", float(str(fields["lost_bytes"])), str(fields["reason"]))
        elif event == "refused_file" or event == "unreadable_file":  # noqa: PLR1714 - two events
            self.metrics.add("refused_files")
        elif event == "inotify_overflow":
            self.metrics.add("inotify_overflows")
        elif event == "missed_file":
            self.metrics.add("missed_files")
        self.log(event, level=level, **fields)

    def start(self) -> None:
        """Load positions and find files."""
        # A chunk makes thousands of short-lived tuples and no cycles; at the default threshold the collector
        # walks through all lines in memory again and again, which took a third of all CPU.
        gc.freeze()
        gc.set_threshold(100_000, 20, 50)
        # Pushing threads ask for the interpreter a few times a push. At the usual 5 ms each of them tears the
        # reading loop out of its caches; measured, a quarter of all CPU.
        sys.setswitchinterval(0.02)
        heap.keep_buffers()
        self.engine.start()
        if self.engine.repeats_nothing:
            self._client.trust()
        self.log(
            "started",
            sources=" ".join(source.name for source in self.config.sources),
            loki=self.config.endpoint.url,
            state_dir=str(self.config.state_dir),
            files=len(self.engine.files.all),
        )

    def run(self, until: Callable[[], bool]) -> None:
        """Turn until `until` is true.

        THE boundary: an error in a turn is counted and logged, and the loop goes on.
        """
        while not until():
            if self._hung_up:
                self._reload()
            self.guard.look(time.monotonic())
            turned = False
            try:
                pause_s = 1.0 if self.guard.lost else self.engine.pump()
            except Exception as error:  # noqa: BLE001 - the one named boundary of the process
                text = f"{type(error).__name__}: {error}"
                self.metrics.add("internal_errors")
                self.published.failed(f"{text} at {_where(error)}", time.monotonic())
                self.log(
                    "internal_error",
                    level="error",
                    error=text,
                    where=_where(error),
                    consequence="this turn was not finished; the next one is tried in a second",
                )
                pause_s = 1.0
            else:
                turned = not self.guard.lost
                if turned:
                    self._systemd.beat(self._brief)
            self._publish()
            if pause_s > 0 and not until():
                watcher = None if self.engine.stopping else self._watcher
                hints = watcher.fileno() if watcher is not None else None
                # Answers that a turn has not taken would end each sleep at once.
                self._bell.sleep(pause_s, hints, self._client.fileno() if turned else None)

    def drain(self) -> bool:
        """Stop reading, push what was read, save; return True when all of it was acknowledged in time."""
        self.engine.stop()
        self._systemd.stopping(f"stopping: {self._brief()}")
        deadline = time.monotonic() + self.config.shutdown_timeout_s
        stops = self.stops

        def over() -> bool:
            over = self.engine.settled or self.guard.lost or time.monotonic() >= deadline
            return bool(over) or self.stops > stops

        self.run(over)
        if self.engine.acknowledged:
            return True
        self.log(
            "stopped_with_unacknowledged_lines",
            level="warning",
            entries=self.engine.window.entries,
            consequence="they are sent again at the next start; Loki shows them once",
        )
        return False

    def reload_on_hangup(self, load: Callable[[], Config]) -> None:
        """Take SIGHUP: `load` gives the configuration anew, between two turns."""
        self._load = load

        def on_hangup(_signum: int, _frame: object) -> None:
            self._hung_up = True
            self._bell.ring()

        signal.signal(signal.SIGHUP, on_hangup)

    def _reload(self) -> None:
        """Take another configuration whole, or keep the one in force; nothing read or decided is given up."""
        self._hung_up = False
        if self._load is None or self.engine.stopping:
            return
        try:
            ready = prepare(self._load, self.config, self.tell)
        except ConfigError as error:
            self._reload_problem = "; ".join(error.problems)
            self.metrics.add("config_reload_failures")
            self.metrics.gauges["config_last_reload_successful"].set(0)
            self.log(
                "reload_refused",
                level="error",
                problems=len(error.problems),
                detail=self._reload_problem,
                consequence="the configuration of before stays in force, all of it",
            )
            return
        config = ready.config
        redactor = config.redactor()
        self.engine.reconfigure(
            config.sources,
            options=config.options,
            retries=RetryPolicy(config.retry_max),
            max_open=room.make(config.max_open_files, self.tell),
            redactor=redactor,
        )
        self._client.go(ready.way)
        self._dead.limit_bytes = config.dead_letter_max_bytes
        self.log.configure(form=config.log_format, level=config.log_level, masked=_masked(redactor))
        self.metrics.expect("redactions", [rule.name for rule in config.redact_rules])
        self.config = config
        self._reload_problem = ""
        self.metrics.add("config_reloads")
        self.metrics.gauges["config_last_reload_successful"].set(1)
        self.log(
            "reloaded",
            sources=" ".join(source.name for source in config.sources),
            loki=config.endpoint.url,
        )

    def close(self) -> None:
        """Give everything back."""
        self._client.close()
        self._saver.close()
        self.engine.close()
        if self._watcher is not None:
            self._watcher.close()
        self._bell.close()

    def on_signal(self, signum: int, _frame: object) -> None:
        """First SIGTERM or SIGINT: stop in order. Second: leave at once, which is as safe as SIGKILL."""
        self.stops += 1
        if self.stops > 1:
            os._exit(128 + signum)
        self._bell.ring()

    def install_signals(self) -> None:
        """Take SIGTERM and SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.on_signal)

    # ---- telling

    def _brief(self) -> str:
        engine = self.engine
        under_way = engine.window.entries
        return f"{len(engine.files.all)} files, {engine.sender.sent} lines sent, {under_way} under way"

    def _publish(self) -> None:
        now_s = time.monotonic()
        if now_s < self._publish_at_s:
            return
        wall_ns = time.time_ns()
        names = [source.name for source in self.config.sources]
        status = look(self.engine, self._watcher, self._dead, names, now_s=now_s, wall_ns=wall_ns)
        status["reload_problem"] = self._reload_problem
        status["save_problem"] = self.guard.lost or status["save_problem"]
        status["loki"] = self.config.endpoint.base_url
        status["lines_per_second"] = self._pace.per_second(now_s, status["entries_sent"])
        status["uptime_seconds"] = round((wall_ns - self.started_ns) / 1e9, 1)
        # With ten thousand files a look at all of them takes milliseconds: it may cost a third of a percent.
        self._publish_at_s = now_s + min(10.0, max(_PUBLISH_EVERY_S, 300 * (time.monotonic() - now_s)))
        self.published.tell(status, now_s)
        problem = status["watch_problem"]
        if problem and problem != self._last_watch_problem:
            self.log("watching_by_polling", level="warning", detail=problem)
        self._last_watch_problem = problem


def _where(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{pathlib.Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""


def is_terminal() -> bool:
    """Tell whether somebody looks at stderr."""
    return sys.stderr.isatty()


def _masked(redactor: Redactor | None) -> Callable[[str], str]:
    return redactor.text if redactor else str
