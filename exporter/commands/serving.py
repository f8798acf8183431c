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
from exporter.glance.landing import landing_page
from exporter.logs import log_event
from exporter.selfmetrics import package_version
from exporter.service import SourceHealth, lone_title, make_collector, make_registry
from exporter.web.asgi import build_app
from exporter.web.listen import BindFailed, bind
from exporter.web.neighbour import ask, explain
from exporter.web.protection import Protection, WebConfigFile
from exporter.web.server import serve as serve_app
from exporter.web.stats import WebStats
from exporter.webmetrics import WebCollector
from exporter.webprotection import ProtectionCollector, make_doorman, warn_if_exposed

_log = logging.getLogger("exporter")


def serve(config: Config) -> str | None:
    """Serve until SIGTERM and return None, or at once a line that says why it cannot begin."""
    web = None if config.web_config_file is None else WebConfigFile(config.web_config_file)
    refused = web.load() if web is not None else None
    if refused is not None:
        return "; ".join(refused.problems)
    protection = Protection() if web is None else web.current
    listener = bind(config.listen_address)
    if isinstance(listener, BindFailed):
        return explain(listener, ask(listener.address) if listener.in_use else None)
    collector = make_collector(config)
    registry = make_registry(collector)
    stats = WebStats()
    registry.register(WebCollector(stats))
    doorman = None if web is None else make_doorman(web)
    if web is not None and doorman is not None:
        registry.register(ProtectionCollector(web, doorman))
    health = SourceHealth(collector)
    app = build_app(
        registry,
        health=health.report,
        version=package_version(),
        landing=partial(landing_page, collector, config.telemetry_path, lone_title(config)),
        telemetry_path=config.telemetry_path,
        stats=stats,
        doorman=doorman,
        extra_headers=tuple if web is None else lambda: web.current.headers,
    )
    url = listener.address.url_for("http" if protection.tls is None else "https")
    warn_if_exposed(listener.sock, protection)
    systemd = notify.of_this_process()
    stopped = threading.Event()

    def on_started(_stop: Callable[[], None]) -> None:
        log_event(
            _log,
            logging.INFO,
            "serving",
            url=f"{url}{config.telemetry_path}",
            version=package_version(),
            loki_dirs=",".join(config.loki_dirs),
        )
        # A long history starts to be read now, not at the first scrape.
        threading.Thread(target=collector.collect, name="first-reading", daemon=True).start()
        if web is not None:
            web.watch()
        systemd.send(notify.message(ready=True, status=f"answers at {url}"))
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
            tls=None if protection.tls is None else web,
            on_started=on_started,
            on_stopping=on_stopping,
        )
    finally:
        stopped.set()
        if web is not None:
            web.close()
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
