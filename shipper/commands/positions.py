"""`positions`: show how far each file has been sent."""

from __future__ import annotations

import os

import click

from shipper.configuration import config as configuration
from shipper.keeping import positions as stored


@click.command("positions")
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
