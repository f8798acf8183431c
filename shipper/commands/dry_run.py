"""`dry-run`: show what would be pushed."""

from __future__ import annotations

import random
import time
from typing import Any

import click

from shipper import room
from shipper.clock import SystemClock
from shipper.commands.flags import load, options
from shipper.configuration.config import Config
from shipper.dryrun import Printed, Shown, Silent, Unsaved
from shipper.engine import Engine
from shipper.reading.sample import sample
from shipper.redact.shown import ShownRedactor
from shipper.sources.explain import explain as explained


def unwritten(_text: str) -> None:
    """Write nothing."""


@click.command("dry-run")
@options
@click.option(
    "--show-redactions", is_flag=True, help="Show each masked line as it was and as it is, not the pushes."
)
@click.option(
    "--explain",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Show instead what the rules make of the first N lines of each source's newest file.",
)
def dry_run(*, show_redactions: bool, explain: int | None, **flags: Any) -> None:
    """Show what would be pushed, as text. Nothing is sent, nothing is saved."""
    config = load(flags, need_loki=False)
    if explain is not None:
        _explain(config, explain)
        return

    def tell(event: str, *, level: str = "info", **fields: object) -> None:
        if level in ("warning", "error"):
            click.echo(f"{event} {fields}", err=True)

    def write(text: str) -> None:
        click.echo(text, nl=False)

    printed = Printed(unwritten if show_redactions else write)
    redactor = config.redactor()
    if show_redactions and redactor is not None:
        redactor = ShownRedactor(config.redact_rules, write)
    engine = Engine(
        config.sources,
        config.options,
        config.state_dir,
        printed,
        Unsaved(),
        Shown(unwritten if show_redactions else write),
        SystemClock(),
        random.random,
        tell,
        Silent(),
        max_open=room.make(config.max_open_files, tell),
        redactor=redactor,
    )
    engine.sender.flushing = True
    engine.sender.unpaced = True
    engine.start(look_only=True)
    while not engine.caught_up:
        time.sleep(min(engine.pump(), 0.05))
    engine.close()
    click.echo(f"{printed.entries} lines, {printed.bytes} bytes of bodies would be pushed", err=True)


def _explain(config: Config, count: int) -> None:
    redactor = config.redactor()
    for source in config.sources:
        click.echo(f"source {source.name}")
        found = sample(source, count)
        if found is None:
            click.echo("  no file with a whole line")
            continue
        path, lines = found
        masked = redactor.lines(lines).lines if redactor else lines
        click.echo(f"  {path}")
        for text in explained(source, path, masked):
            click.echo(f"  {text}")
