"""`run`: follow the sources and push their lines; with --once, until all that is there has been sent."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from shipper.commands.flags import EXIT_CONFIG, duration, load, loader, options
from shipper.configuration import config as configuration
from shipper.configuration.config import Config
from shipper.keeping.lock import AlreadyRunning, Lock
from shipper.service import Service
from shipper.telling import notify

EXIT_UNFINISHED = 3


@click.command()
@options
@click.option(
    "--once", is_flag=True, help="Send what is there, then exit: 0 when all is acknowledged, 3 when not."
)
@click.option(
    "--once-timeout", default="60s", show_default=True, help="Give up when so long nothing was acknowledged."
)
def run(*, once: bool, once_timeout: str, **flags: Any) -> None:
    """Follow the sources and push their lines."""
    if not once:
        # A reload that is asked for before there is anything to reload must not end the process.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    patience_s = duration("--once-timeout", once_timeout)
    if configuration.switched_off(flags, flags["config_file"], os.environ):
        click.echo("switched off by loki_enabled=false: nothing is shipped", err=True)
        # Who ends before READY has failed for systemd, whatever the exit code, and is started over and over.
        notify.of_this_process().send(notify.message(ready=True, status="switched off by loki_enabled"))
        return
    config = load(flags)
    lock = _lock(config)
    try:
        service = Service(config, lock, watch=not once)
        service.install_signals()
        if not once:
            service.reload_on_hangup(loader(flags))
        if config.enabled:
            service.log(
                "llm_proxy_pushes_too",
                level="warning",
                detail="loki_enabled is true, so llm-proxy itself pushes its lines to Loki as well",
                consequence="each of its lines is in Loki twice; switch one of the two off",
            )
        code = _once(service, patience_s) if once else _follow(service)
    finally:
        lock.close()
    sys.exit(code)


def _follow(service: Service) -> int:
    server = None
    if service.config.listen is not None:
        from shipper.telling.web import Server  # noqa: PLC0415 - only with an own HTTP

        try:
            server = Server(service.config.listen, service.published.pages())
        except OSError as error:
            host, port = service.config.listen
            click.echo(f"--listen-address: {host}:{port}: {error.strerror}", err=True)
            return EXIT_CONFIG
        service.log("listening", address=server.address)
    service.start()
    service.run(lambda: service.stops > 0)
    service.log("stopping", timeout_s=service.config.shutdown_timeout_s)
    finished = service.drain()
    service.log("stopped", entries_sent=service.engine.sender.sent, everything_acknowledged=finished)
    if server is not None:
        server.close()
    service.close()
    return 0


def _once(service: Service, patience_s: float) -> int:
    engine = service.engine
    engine.sender.flushing = True
    service.start()
    seen, deadline = -1, time.monotonic() + patience_s

    def over() -> bool:
        nonlocal seen, deadline
        progress = engine.sender.sent + engine.sender.dropped
        if progress != seen:
            seen, deadline = progress, time.monotonic() + patience_s
        over = engine.caught_up or service.guard.lost or time.monotonic() >= deadline
        return bool(over) or service.stops > 0

    if sys.stderr.isatty():
        _with_bar(service, over)
    else:
        service.run(over)
    finished = engine.caught_up
    if finished:
        service.drain()
    service.log(
        "done" if finished else "not_done", entries_sent=engine.sender.sent, dead=engine.sender.dropped
    )
    service.close()
    return 0 if finished else EXIT_UNFINISHED


def _with_bar(service: Service, over: Callable[[], bool]) -> None:
    files = service.engine.files
    total = sum(tracked.unread_bytes for tracked in files.all.values()) or 1
    with click.progressbar(length=total, label="sending", file=sys.stderr) as bar:
        done = 0

        def step() -> bool:
            nonlocal done
            left = sum(tracked.size - tracked.read for tracked in files.all.values())
            now = max(0, total - left)
            if now > done:
                bar.update(now - done)
                done = now
            return over()

        service.run(step)


def _lock(config: Config) -> Lock:
    try:
        return Lock(config.state_dir)
    except AlreadyRunning as error:
        click.echo(str(error), err=True)
    except OSError as error:
        click.echo(f"state directory {config.state_dir}: {error.strerror}", err=True)
    sys.exit(EXIT_CONFIG)
