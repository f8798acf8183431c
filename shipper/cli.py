"""The command line."""

from __future__ import annotations

import getpass
import http.client
import json
import os
import random
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from shared.models import machine_name
from shipper import config as configuration
from shipper import notify
from shipper import positions as stored
from shipper.config import Config, ConfigError
from shipper.dryrun import Printed, Shown, Silent, Unsaved
from shipper.engine import Engine
from shipper.follow.tree import pattern, walk
from shipper.push.client import PUSH_PATH, get
from shipper.service import AlreadyRunning, Service, SystemClock, is_terminal, lock
from shipper.units import parse_duration_s
from shipper.web import Server

EXIT_CONFIG = 2
EXIT_UNFINISHED = 3

F = TypeVar("F", bound=Callable[..., Any])

_FLAGS: tuple[tuple[str, str], ...] = (
    ("loki_url", "Loki's address, with or without the push path."),
    ("state_dir", "Where positions and dead letters are kept.  [default: $STATE_DIRECTORY, else XDG state]"),
    ("batch_size", "Lines in a push at most.  [default: 1000]"),
    ("batch_bytes", "Bytes of a push before compression at most.  [default: 256KiB]"),
    ("batch_wait", "A line waits so long for others.  [default: 5s]"),
    ("retry_max", "Retries in a round; a failed round never ends the data.  [default: 5]"),
    ("max_stream_rate", "Bytes a second into one stream, 0 for no limit.  [default: 1.2MB]"),
    ("environment", "The label of that name.  [default: development]"),
    ("machine", "The label of that name.  [default: user@host]"),
    ("listen_address", "HOST:PORT of the own HTTP, '' for none.  [default: 127.0.0.1:57375]"),
    ("shutdown_timeout", "After SIGTERM lines are flushed for so long.  [default: 30s]"),
    ("request_timeout", "A push may take so long.  [default: 30s]"),
    ("tenant", "X-Scope-OrgID."),
    ("basic_user", "User for basic authentication."),
    ("basic_password_file", "File with the password."),
    ("bearer_token_file", "File with a bearer token."),
    ("use_gzip", "Compress pushes.  [default: true]"),
    ("structured_metadata", "Send ids as structured metadata; false for a Loki without it.  [default: true]"),
    ("reject_old_samples_max_age", "Older lines get the time of reading.  [default: 7d]"),
    ("old_lines", "restamp or dead-letter.  [default: restamp]"),
    ("dead_letter_max_bytes", "Cap of the dead-letter file.  [default: 256MiB]"),
    ("max_open_files", "Descriptors for followed files.  [default: 512]"),
    ("log_format", "text or json.  [default: text]"),
    ("log_level", "debug, info, warning or error.  [default: info]"),
)


def _options(function: F) -> F:
    """Add the flags of the configuration, which `_load` reads."""
    for name, text in reversed(_FLAGS):
        function = click.option(f"--{name.replace('_', '-')}", name, default=None, help=text)(function)
    function = click.option("--config", "config_file", default=None, help="A TOML file.")(function)
    return click.option(
        "--source",
        "sources",
        multiple=True,
        metavar="KIND=PATH",
        help="loki-mode=DIR|GLOB, llm-proxy=ROOT or jsonl=GLOB; repeatable.  [default: what is found]",
    )(function)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tallyship")
def main() -> None:
    """Ship the JSON lines of AI agents to Grafana Loki.

    Each line once, through kills, rotations and outages.
    """


@main.command()
@_options
@click.option(
    "--once", is_flag=True, help="Send what is there, then exit: 0 when all is acknowledged, 3 when not."
)
@click.option(
    "--once-timeout", default="60s", show_default=True, help="Give up when so long nothing was acknowledged."
)
def run(*, once: bool, once_timeout: str, **flags: Any) -> None:
    """Follow the sources and push their lines."""
    patience_s = _duration("--once-timeout", once_timeout)
    if configuration.switched_off(flags, flags["config_file"], os.environ):
        click.echo("switched off by loki_enabled=false: nothing is shipped", err=True)
        # Who ends before READY has failed for systemd, whatever the exit code, and is started over and over.
        notify.of_this_process().send(notify.message(ready=True, status="switched off by loki_enabled"))
        return
    config = _load(flags)
    lock_fd = _lock(config)
    try:
        service = Service(config, watch=not once)
        service.install_signals()
        if config.enabled:
            service.log(
                "llm_proxy_pushes_too",
                level="warning",
                detail="loki_enabled is true, so llm-proxy itself pushes its lines to Loki as well",
                consequence="each of its lines is in Loki twice; switch one of the two off",
            )
        code = _once(service, patience_s) if once else _follow(service)
    finally:
        os.close(lock_fd)
    sys.exit(code)


def _follow(service: Service) -> int:
    server = None
    if service.config.listen is not None:
        try:
            server = Server(service.config.listen, service.pages())
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
        return engine.caught_up or service.stops > 0 or time.monotonic() >= deadline

    if is_terminal():
        _with_bar(service, over)
    else:
        service.run(over)
    finished = engine.caught_up
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


@main.command("dry-run")
@_options
def dry_run(**flags: Any) -> None:
    """Show what would be pushed, as text. Nothing is sent, nothing is saved."""
    config = _load(flags, need_loki=False)

    def tell(event: str, *, level: str = "info", **fields: object) -> None:
        if level in ("warning", "error"):
            click.echo(f"{event} {fields}", err=True)

    printed = Printed(lambda text: click.echo(text, nl=False))
    engine = Engine(
        config.sources,
        config.options,
        config.state_dir,
        printed,
        Unsaved(),
        Shown(lambda text: click.echo(text, nl=False)),
        SystemClock(),
        random.random,
        tell,
        Silent(),
        max_open=config.max_open_files,
    )
    engine.files.scratch = None
    engine.sender.flushing = True
    engine.sender.unpaced = True
    engine.start(look_only=True)
    while not engine.caught_up:
        time.sleep(min(engine.pump(), 0.05))
    engine.close()
    click.echo(f"{printed.entries} lines, {printed.bytes} bytes of bodies would be pushed", err=True)


@main.command()
@_options
def check(**flags: Any) -> None:
    """Check configuration, permissions, and that Loki can be reached. Exit 0 when all is well, 1 when not."""
    config = _load(flags)
    problems = 0
    for source in config.sources:
        for text in source.patterns:
            found = walk(pattern(text))
            unreadable = [path for path in found.files if not os.access(path, os.R_OK)]
            problems += len(unreadable) + len(found.problems)
            click.echo(f"{source.name}: {text}: {len(found.files)} files")
            for path in unreadable:
                click.echo(f"  cannot be read: {path}")
            for path, why in found.problems:
                click.echo(f"  {path}: {why}")
    problems += _check_state(config)
    problems += _check_loki(config)
    sys.exit(1 if problems else 0)


def _check_state(config: Config) -> int:
    path = config.state_dir
    probe = path if path.exists() else next(p for p in path.parents if p.exists())
    if os.access(probe, os.W_OK | os.X_OK):
        click.echo(f"state directory {path}: {'there' if probe == path else 'can be made'}")
        return 0
    click.echo(f"state directory {path}: not writable")
    return 1


def _check_loki(config: Config) -> int:
    base = config.endpoint.url.removesuffix(PUSH_PATH)
    url = f"{base}/loki/api/v1/status/buildinfo"
    try:
        code, _ = get(url, config.endpoint.authorization(), timeout_s=10.0)
    except (OSError, ValueError, http.client.HTTPException) as error:
        click.echo(f"Loki {base}: {type(error).__name__}: {error}")
        return 1
    # A gateway that only lets pushes through answers 404 here, and is no problem; wrong credentials are one.
    if code in (401, 403):
        click.echo(f"Loki {base}: {code}: the credentials are refused")
        return 1
    click.echo(f"Loki {base}: answers ({code})")
    return 0


@main.command()
@click.option(
    "--address", default="127.0.0.1:57375", show_default=True, help="Where the running shipper listens."
)
def status(address: str) -> None:
    """Ask the running shipper how it is."""
    try:
        _, body = get(f"http://{address}/status", {}, timeout_s=5.0)
        found = json.loads(body)
    except (http.client.HTTPException, ValueError, OSError) as error:
        click.echo(f"no shipper answers at {address}: {type(error).__name__}", err=True)
        sys.exit(1)
    uptime_s = found.get("uptime_seconds") or 0
    rate = found["entries_sent"] / uptime_s if uptime_s else 0
    click.echo(
        f"files       {found['files']} ({found['files_open']} open), {found['watches']} directories watched"
    )
    click.echo(f"sent        {found['entries_sent']} lines, {rate:.1f} a second since the start")
    click.echo(f"dropped     {found['entries_dropped']} lines in the dead-letter file")
    click.echo(
        f"in memory   {found['window_entries']} lines, the oldest for {found['oldest_unacked_seconds']} s"
    )
    for name, lag in found["lag"].items():
        click.echo(f"lag         {name}: {lag['bytes']:.0f} bytes, {lag['seconds']:.1f} s")
    trouble = found["last_error"]
    click.echo(f"last error  {found['last_error_time'] + ' ' + trouble if trouble else 'none'}")


@main.command("positions")
@click.option("--state-dir", default=None, help="As for `run`.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show_positions(state_dir: str | None, *, as_json: bool) -> None:
    """Show how far each file has been sent."""
    directory = configuration.state_dir(state_dir, os.environ)
    loaded = stored.load(directory, look_only=True)
    for warning in loaded.warnings:
        click.echo(warning, err=True)
    rows = []
    for record in loaded.positions.files:
        lowest = min((behind.lowest for behind in record.behind), default=record.read)
        rows.append(
            {
                "path": record.path,
                "source": record.source,
                "inode": record.ino,
                "settled": lowest,
                "read": record.read,
                "size": record.size,
                "acked": record.counts.get("acked", 0),
                "dead": record.counts.get("dead", 0),
                "lost_bytes": record.counts.get("lost_bytes", 0),
            }
        )
    if as_json:
        click.echo(stored.as_json({"generation": loaded.source, "files": rows}))
        return
    click.echo(f"{'settled':>12} {'size':>12} {'acked':>10} {'dead':>6}  path")
    for row in rows:
        click.echo(
            f"{row['settled']:>12} {row['size']:>12} {row['acked']:>10} {row['dead']:>6}  {row['path']}"
        )


def _load(flags: dict[str, Any], *, need_loki: bool = True) -> Config:
    sources = flags.pop("sources")
    config_file = flags.pop("config_file")
    try:
        return configuration.load(flags, sources, config_file, os.environ, _machine(), need_loki=need_loki)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"configuration: {problem}", err=True)
        sys.exit(EXIT_CONFIG)


def _lock(config: Config) -> int:
    try:
        return lock(config.state_dir)
    except AlreadyRunning as error:
        click.echo(str(error), err=True)
    except OSError as error:
        click.echo(f"state directory {config.state_dir}: {error.strerror}", err=True)
    sys.exit(EXIT_CONFIG)


def _duration(flag: str, text: str) -> float:
    try:
        return parse_duration_s(text)
    except ValueError as error:
        click.echo(f"configuration: {flag}: {error}", err=True)
        sys.exit(EXIT_CONFIG)


def _machine() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return machine_name(user, socket.gethostname())
