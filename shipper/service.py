"""One running shipper: the loop that waits, and what it tells of itself."""

from __future__ import annotations

import fcntl
import gc
import os
import pathlib
import random
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import orjson

from shared import healthcheck
from shipper import health, notify, web
from shipper.config import Config
from shipper.deadletter import DeadLetters
from shipper.engine import Engine
from shipper.follow.inotify import Watcher
from shipper.logs import Log
from shipper.metrics import Metrics
from shipper.push.client import Client
from shipper.push.retry import RetryPolicy
from shipper.saver import BackgroundSaver
from shipper.times import rfc3339

_PUBLISH_EVERY_S = 0.5
_GATHER_S = 0.05
"""After the first sign of a write, so long is waited for more: a busy writer costs a few turns, not
thousands."""


class AlreadyRunning(Exception):  # noqa: N818 - an outcome, not an error of ours
    """Another shipper holds the state directory."""


class SystemClock:
    """The real time."""

    monotonic = staticmethod(time.monotonic)
    time_ns = staticmethod(time.time_ns)


def lock(state_dir: pathlib.Path) -> int:
    """Take the state directory; raises `AlreadyRunning` or `OSError`. The lock ends with the process."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise AlreadyRunning(
            f"another shipper (pid {owner or 'unknown'}) uses the state directory {state_dir}"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


class Service:
    """Everything that `run` starts, wired."""

    def __init__(self, config: Config, *, watch: bool = True) -> None:
        self.config = config
        self.metrics = Metrics()
        self.log = Log(
            form=config.log_format,
            level=config.log_level,
            suppressed=lambda: self.metrics.add("log_lines_suppressed"),
        )
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._client = Client(config.endpoint, self.wake)
        self._saver = BackgroundSaver(config.state_dir, self.wake)
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
            max_open=config.max_open_files,
        )
        self._tracker = healthcheck.Tracker("shipper")
        self._systemd = notify.Pulse(notify.of_this_process(), time.monotonic)
        self._status: dict[str, Any] = {}
        self._report: healthcheck.Report | None = None
        self._publish_lock = threading.Lock()
        self._publish_at_s = 0.0
        self._last_watch_problem = ""
        self.started_ns = time.time_ns()
        self.stops = 0

    def tell(self, event: str, *, level: str = "info", **fields: object) -> None:
        """Count what has a counter, and log."""
        if event == "lost":
            self.metrics.add("lost_bytes", float(str(fields["lost_bytes"])), str(fields["reason"]))
        elif event == "refused_file" or event == "unreadable_file":  # noqa: PLR1714 - two events
            self.metrics.add("refused_files")
        elif event == "inotify_overflow":
            self.metrics.add("inotify_overflows")
        self.log(event, level=level, **fields)

    def wake(self) -> None:
        """End the wait of the loop; may be called from any thread and from a signal's handler."""
        try:
            os.write(self._wake_write, b"w")
        except BlockingIOError:
            return

    def start(self) -> None:
        """Load positions and find files."""
        # A chunk makes thousands of short-lived tuples and no cycles; at the default threshold the
        # collector walks
        # through all lines in memory again and again, which took a third of all CPU.
        gc.freeze()
        gc.set_threshold(100_000, 20, 50)
        # Pushing threads ask for the interpreter a few times a push. At the usual 5 ms each of them tears
        # the reading
        # loop out of its caches; measured, a quarter of all CPU.
        sys.setswitchinterval(0.02)
        self.engine.start()
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
            try:
                pause_s = self.engine.pump()
            except Exception as error:  # noqa: BLE001 - the one named boundary of the process
                self.metrics.add("internal_errors")
                self.log(
                    "internal_error",
                    level="error",
                    error=f"{type(error).__name__}: {error}",
                    where=_where(error),
                    consequence="this turn was not finished; the next one is tried in a second",
                )
                pause_s = 1.0
            else:
                self._systemd.beat(self._brief)
            self._publish()
            if pause_s > 0 and not until():
                self._wait(pause_s)

    def drain(self) -> bool:
        """Stop reading, push what was read, save; return True when all of it was acknowledged in time."""
        self.engine.stop()
        self._systemd.stopping(f"stopping: {self._brief()}")
        deadline = time.monotonic() + self.config.shutdown_timeout_s
        stops = self.stops

        def over() -> bool:
            return self.engine.settled or time.monotonic() >= deadline or self.stops > stops

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

    def close(self) -> None:
        """Give everything back."""
        self._client.close()
        self._saver.close()
        self.engine.close()
        if self._watcher is not None:
            self._watcher.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def on_signal(self, signum: int, _frame: object) -> None:
        """First SIGTERM or SIGINT: stop in order. Second: leave at once, which is as safe as SIGKILL."""
        self.stops += 1
        if self.stops > 1:
            os._exit(128 + signum)
        self.wake()

    def install_signals(self) -> None:
        """Take SIGTERM and SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.on_signal)

    # ---- waiting

    def _wait(self, seconds: float) -> None:
        poller = select.poll()
        poller.register(self._wake_read, select.POLLIN)
        inotify_fd = (
            self._watcher.fileno() if self._watcher is not None and not self.engine.stopping else None
        )
        if inotify_fd is not None:
            poller.register(inotify_fd, select.POLLIN)
        events = poller.poll(min(seconds, 60.0) * 1000)
        if any(fd == inotify_fd for fd, _ in events) and seconds > _GATHER_S:
            poller.unregister(inotify_fd)  # type: ignore[arg-type]
            poller.poll(_GATHER_S * 1000)
        try:
            while os.read(self._wake_read, 4096):
                pass
        except BlockingIOError:
            return

    # ---- telling

    def _brief(self) -> str:
        engine = self.engine
        under_way = engine.window.entries
        return f"{len(engine.files.all)} files, {engine.sender.sent} lines sent, {under_way} under way"

    def _publish(self) -> None:
        now_s = time.monotonic()
        if now_s < self._publish_at_s:
            return
        status = self._gather(now_s)
        # With ten thousand files a look at all of them takes milliseconds: it may cost a third of a percent.
        self._publish_at_s = now_s + min(10.0, max(_PUBLISH_EVERY_S, 300 * (time.monotonic() - now_s)))
        report = self._tracker.update(time.time(), health.checks(status))
        with self._publish_lock:
            self._status, self._report = status, report
        problem = status["watch_problem"]
        if problem and problem != self._last_watch_problem:
            self.log("watching_by_polling", level="warning", detail=problem)
        self._last_watch_problem = problem

    def _gather(self, now_s: float) -> dict[str, Any]:
        engine, sender = self.engine, self.engine.sender
        waiting = [q.oldest_s for q in sender.queues.values() if q.segments]
        waiting += [q.in_flight_since_s for q in sender.queues.values() if q.in_flight or q.work]
        oldest = max(0.0, now_s - min(waiting)) if waiting else 0.0
        lag: dict[str, dict[str, float]] = {s.name: {"bytes": 0, "seconds": 0.0} for s in self.config.sources}
        wall_ns = time.time_ns()
        for tracked in engine.files.all.values():
            settled = tracked.read
            if not tracked.account.clear:
                settled = min(floor.lowest for floor in tracked.account.behind().values())
            behind = max(0, tracked.size - settled)
            if behind:
                entry = lag[tracked.source.name]
                entry["bytes"] += behind
                entry["seconds"] = max(entry["seconds"], (wall_ns - tracked.mtime_ns) / 1e9)
        trouble = sender.last_error
        return {
            "entries_sent": sender.sent,
            "entries_dropped": sender.dropped,
            "last_error": trouble.text or None,
            "last_error_time": rfc3339(trouble.at_ns) if trouble.at_ns else None,
            "files": len(engine.files.all),
            "files_open": engine.files.open_count,
            "watches": self._watcher.watches if self._watcher else 0,
            "watch_problem": self._watcher.problem if self._watcher else "",
            "rescans": engine.files.rescans,
            "truncations": engine.files.truncations,
            "window_entries": engine.window.entries,
            "window_bytes": engine.window.bytes,
            "streams": len(engine.registry.streams),
            "refused_streams": [
                q.reason for q in sender.queues.values() if q.rounds.open or q.first_failure_s
            ],
            "open_circuits": sum(q.rounds.open for q in sender.queues.values()),
            "oldest_unacked_seconds": round(oldest, 3),
            "dead_letter_problem": self._dead.problem,
            "dead_letter_file_bytes": self._dead.size_bytes,
            "save_problem": engine.save_problem,
            "last_save_age_seconds": round(now_s - engine.saved_at_s, 3) if engine.saves.durable else None,
            "lag": lag,
            "uptime_seconds": round((wall_ns - self.started_ns) / 1e9, 1),
        }

    def pages(self) -> web.Pages:
        """Return what the HTTP server answers."""
        return {
            "/metrics": self._metrics_page,
            "/health": self._health_page,
            "/health/loki": self._health_loki_page,
            "/status": lambda: web.Page(200, web.JSON, orjson.dumps(self._now()[0]) + b"\n"),
            "/-/healthy": lambda: web.Page(200, web.TEXT, b"healthy\n"),
            "/-/ready": self._ready_page,
        }

    def _now(self) -> tuple[dict[str, Any], healthcheck.Report | None]:
        with self._publish_lock:
            return self._status, self._report

    def _health_page(self) -> web.Page:
        _, report = self._now()
        if report is None:
            return web.Page(503, web.TEXT, b"starting\n")
        return web.Page(int(healthcheck.http_status(report)), web.JSON, healthcheck.encode(report))

    def _ready_page(self) -> web.Page:
        _, report = self._now()
        if report is None:
            return web.Page(503, web.TEXT, b"starting\n")
        return web.Page(200, web.TEXT, b"ready\n")

    def _health_loki_page(self) -> web.Page:
        status, report = self._now()
        if report is None:
            return web.Page(503, web.TEXT, b"starting\n")
        body = {
            "status": report.state.value,
            "entries_sent": status["entries_sent"],
            "entries_dropped": status["entries_dropped"],
            "last_error": status["last_error"],
            "last_error_time": status["last_error_time"],
            "entries_in_memory": status["window_entries"],
            "oldest_unacked_seconds": status["oldest_unacked_seconds"],
            "streams_refused": status["open_circuits"],
        }
        return web.Page(int(healthcheck.http_status(report)), web.JSON, orjson.dumps(body) + b"\n")

    def _metrics_page(self) -> web.Page:
        return web.Page(200, "text/plain; version=0.0.4; charset=utf-8", self.metrics.page(self._refresh))

    def _refresh(self) -> None:
        status, _ = self._now()
        if not status:
            return
        for name in ("files", "files_open", "watches", "window_entries", "window_bytes", "streams"):
            self.metrics.gauges[name].set(status[name])
        self.metrics.gauges["polling"].set(bool(status["watch_problem"]))
        self.metrics.gauges["streams_refused"].set(status["open_circuits"])
        self.metrics.gauges["oldest_unacked_seconds"].set(status["oldest_unacked_seconds"])
        self.metrics.gauges["dead_letter_file_bytes"].set(status["dead_letter_file_bytes"])
        age_s = status["last_save_age_seconds"]
        self.metrics.gauges["last_save_seconds"].set(time.time() - age_s if age_s is not None else 0)
        for name, lag in status["lag"].items():
            self.metrics.lag_bytes.labels(name).set(lag["bytes"])
            self.metrics.lag_seconds.labels(name).set(lag["seconds"])
        self.metrics.follow(status["rescans"], status["truncations"])


def _where(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{pathlib.Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""


def is_terminal() -> bool:
    """Tell whether somebody looks at stderr."""
    return sys.stderr.isatty()
