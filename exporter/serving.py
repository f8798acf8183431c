"""The process behind `tallyship-exporter serve`: collector, web server, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial

from exporter import notify
from exporter.collector import SourceCollector
from exporter.config import Config
from exporter.logs import log_event
from exporter.selfmetrics import package_version
from exporter.service import SourceHealth, make_collector, make_registry
from exporter.web.asgi import build_app
from exporter.web.listen import BindFailed, bind
from exporter.web.neighbour import ask, explain
from exporter.web.server import serve as serve_app
from exporter.web.stats import WebStats
from exporter.webmetrics import WebCollector

_log = logging.getLogger("exporter")


def serve(config: Config) -> str | None:
    """Serve until SIGTERM and return None, or at once a line that says why it cannot begin."""
    listener = bind(config.listen_address)
    if isinstance(listener, BindFailed):
        return explain(listener, ask(listener.address) if listener.in_use else None)
    collector = make_collector(config)
    registry = make_registry(collector)
    stats = WebStats()
    registry.register(WebCollector(stats))
    health = SourceHealth(collector)
    app = build_app(
        registry,
        health=health.report,
        version=package_version(),
        telemetry_path=config.telemetry_path,
        stats=stats,
    )
    address = listener.address
    systemd = notify.of_this_process()
    stopped = threading.Event()

    def on_started(_stop: Callable[[], None]) -> None:
        log_event(
            _log,
            logging.INFO,
            "serving",
            url=f"{address.url}{config.telemetry_path}",
            version=package_version(),
            loki_dirs=",".join(config.loki_dirs),
        )
        # A long history starts to be read now, not at the first scrape.
        threading.Thread(target=collector.collect, name="first-reading", daemon=True).start()
        systemd.send(notify.message(ready=True, status=f"answers at {address.url}"))
        work = partial(_work, collector, asyncio.get_running_loop())
        threading.Thread(
            target=notify.report_progress, args=(systemd, work, stopped), name="systemd", daemon=True
        ).start()

    def on_stopping() -> None:
        stopped.set()
        systemd.send(notify.message(stopping=True, status="answering what was asked"))

    try:
        serve_app(
            app,
            listener,
            on_started=on_started,
            on_stopping=on_stopping,
        )
    finally:
        stopped.set()
        collector.close()
    return None


def _work(collector: SourceCollector, loop: asyncio.AbstractEventLoop) -> str:
    """Do what a scrape needs, and return systemd's status line: read the sources, and turn the event loop.

    Both hang for ever in a process that cannot answer a scrape any more, and systemd then hears nothing.
    """
    collector.collect()
    turned = threading.Event()
    try:
        loop.call_soon_threadsafe(turned.set)
    except RuntimeError:
        return "stopped"  # while the sources were read, the server ended and closed its loop
    turned.wait()
    accounts = collector.accounts()
    up = sum(account.reading.is_up for account in accounts)
    return f"{up} of {len(accounts)} sources up"
