"""What the shipper's own HTTP answers, from what the loop has told last.

Health is judged when it is asked for, in the thread that asks: a loop that hangs cannot say so itself.
"""

from __future__ import annotations

import threading
import time

import orjson

from shared import healthcheck
from shipper.telling import health
from shipper.telling.health import Turning
from shipper.telling.metrics import Metrics
from shipper.telling.page import JSON, TEXT, Page, Pages
from shipper.telling.standing import Status

_STARTING = Page(503, TEXT, b"starting\n")


class Published:
    """The last status, handed from the loop to whoever asks. `monotonic_s` gives seconds that only grow."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._tracker = healthcheck.Tracker("shipper")
        self._status: Status | None = None
        self._told_s = 0.0
        self._error = ""
        self._error_s: float | None = None

    def tell(self, status: Status, now_s: float) -> None:
        """Take a new status from the loop."""
        with self._lock:
            self._status, self._told_s = status, now_s
            self._judge(status, now_s)

    def failed(self, error: str, now_s: float) -> None:
        """Note that a turn of the loop was not finished."""
        with self._lock:
            self._error, self._error_s = error, now_s

    def pages(self) -> Pages:
        """Return what the HTTP server answers."""
        return {
            "/metrics": self._metrics_page,
            "/health": self._health_page,
            "/health/loki": self._health_loki_page,
            "/status": self._status_page,
            "/-/healthy": self._healthy_page,
            "/-/ready": self._ready_page,
        }

    def report(self, now_s: float) -> healthcheck.Report | None:
        """Return the health as of now; None before the first turn."""
        with self._lock:
            return None if self._status is None else self._judge(self._status, now_s)

    def _judge(self, status: Status, now_s: float) -> healthcheck.Report:
        error_age_s = None if self._error_s is None else now_s - self._error_s
        turning = Turning(now_s - self._told_s, self._error, error_age_s)
        return self._tracker.update(time.time(), health.checks(status, turning))

    def _health_page(self) -> Page:
        report = self.report(time.monotonic())
        if report is None:
            return _STARTING
        return Page(int(healthcheck.http_status(report)), JSON, healthcheck.encode(report))

    def _health_loki_page(self) -> Page:
        report = self.report(time.monotonic())
        status = self._status
        if report is None or status is None:
            return _STARTING
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
        return Page(int(healthcheck.http_status(report)), JSON, orjson.dumps(body) + b"\n")

    def _status_page(self) -> Page:
        now_s = time.monotonic()
        report, status = self.report(now_s), self._status
        if report is None or status is None:
            return _STARTING
        body = {
            "health": report.state.value,
            **status,
            "age_seconds": round(now_s - self._told_s, 1),
            "masked": self._metrics.counts("redactions"),
            "dead_letters": self._metrics.counts("dead_lettered"),
            "problems": [
                f"{check.name}: {check.detail}"
                for check in report.checks
                if check.state is not healthcheck.State.OK
            ],
        }
        return Page(200, JSON, orjson.dumps(body) + b"\n")

    def _healthy_page(self) -> Page:
        """Answer 503 when the loop hangs: what asks here starts the process anew, which helps then."""
        report = self.report(time.monotonic())
        failing = [c.name for c in report.checks if c.state is healthcheck.State.FAILING] if report else []
        if health.LOOP in failing:
            return Page(503, TEXT, b"the loop hangs\n")
        return Page(200, TEXT, b"healthy\n")

    def _ready_page(self) -> Page:
        return _STARTING if self._status is None else Page(200, TEXT, b"ready\n")

    def _metrics_page(self) -> Page:
        from shipper.telling import exposition  # noqa: PLC0415 - loaded by the first scrape

        self._refresh()
        text = exposition.page(self._metrics)
        return Page(200, "text/plain; version=0.0.4; charset=utf-8", text)

    def _refresh(self) -> None:
        status = self._status
        if status is None:
            return
        gauges = self._metrics.gauges
        for name in ("files", "files_open", "watches", "window_entries", "window_bytes", "streams"):
            gauges[name].set(status[name])
        gauges["polling"].set(bool(status["watch_problem"]))
        gauges["streams_refused"].set(status["open_circuits"])
        gauges["oldest_unacked_seconds"].set(status["oldest_unacked_seconds"])
        gauges["dead_letter_file_bytes"].set(status["dead_letter_file_bytes"])
        gauges["last_turn_seconds"].set(time.time() - (time.monotonic() - self._told_s))
        age_s = status["last_save_age_seconds"]
        gauges["last_save_seconds"].set(time.time() - age_s if age_s is not None else 0)
        self._metrics.lag(status["lag"])
        self._metrics.follow(status["rescans"], status["truncations"])
