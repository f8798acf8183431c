"""`dry-run`: show what would be pushed."""

from __future__ import annotations

import random
import time
from typing import Any

import click

from shipper.commands.flags import load, options
from shipper.dryrun import Printed, Shown, Silent, Unsaved
from shipper.engine import Engine
from shipper.service import SystemClock


@click.command("dry-run")
@options
def dry_run(**flags: Any) -> None:
    """Show what would be pushed, as text. Nothing is sent, nothing is saved."""
    config = load(flags, need_loki=False)

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
        redactor=config.redactor(),
    )
    engine.files.scratch = None
    engine.sender.flushing = True
    engine.sender.unpaced = True
    engine.start(look_only=True)
    while not engine.caught_up:
        time.sleep(min(engine.pump(), 0.05))
    engine.close()
    click.echo(f"{printed.entries} lines, {printed.bytes} bytes of bodies would be pushed", err=True)
