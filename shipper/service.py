"""One running shipper: wired, turned until it is told to stop, and set anew by SIGHUP."""

from __future__ import annotations

import os
import pathlib
import random
import signal
import time
from collections.abc import Callable

from shipper import heap, room
from shipper.bell import Bell
from shipper.clock import SystemClock
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
from shipper.telling.publishing import Publisher, brief


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
        clock = SystemClock()
        self.engine = Engine(
            config.sources,
            config.options,
            config.state_dir,
            self._client,
            self._saver,
            self._dead,
            clock,
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
        self._publisher = Publisher(self.engine, self._watcher, self._dead, self.published, clock, self.tell)
        self._systemd = notify.Pulse(notify.of_this_process(), time.monotonic)
        self.stops = 0
        self._load: Callable[[], Config] | None = None
        self._hung_up = False
        self._reload_problem = ""

    def tell(self, event: str, *, level: str = "info", **fields: object) -> None:
        """Count what has a counter, and log."""
        self.metrics.told(event, fields)
        self.log(event, level=level, **fields)

    def start(self) -> None:
        """Load positions and find files."""
        heap.collect_rarely()
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
                    self._systemd.beat(lambda: brief(self.engine))
            self._publisher.publish(self.config, reload_problem=self._reload_problem, lost=self.guard.lost)
            if pause_s > 0 and not until():
                watcher = None if self.engine.stopping else self._watcher
                hints = watcher.fileno() if watcher is not None else None
                # Answers that a turn has not taken would end each sleep at once.
                self._bell.sleep(pause_s, hints, self._client.fileno() if turned else None)

    def drain(self) -> bool:
        """Stop reading, push what was read, save; return True when all of it was acknowledged in time."""
        self.engine.stop()
        self._systemd.stopping(f"stopping: {brief(self.engine)}")
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


def _where(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{pathlib.Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""


def _masked(redactor: Redactor | None) -> Callable[[str], str]:
    return redactor.text if redactor else str
