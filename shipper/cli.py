"""The command line: the group of commands, each of which is a module in `shipper/commands`."""

from __future__ import annotations

import click

from shipper.commands.cat import cat
from shipper.commands.check import check
from shipper.commands.dry_run import dry_run
from shipper.commands.positions import show_positions
from shipper.commands.replay import replay
from shipper.commands.run import run
from shipper.commands.status import status
from shipper.commands.verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tallyship")
def main() -> None:
    """Ship the JSON lines of AI agents to Grafana Loki.

    Each line once, through kills, rotations and outages.
    """


main.add_command(run)
main.add_command(dry_run)
main.add_command(check)
main.add_command(status)
main.add_command(show_positions)
main.add_command(verify)
main.add_command(cat)
main.add_command(replay)
