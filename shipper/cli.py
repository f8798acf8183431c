"""The command line: the group of commands, each of which is a module in `shipper/commands`."""

from __future__ import annotations

import importlib

import click

_COMMANDS = {
    "cat": "cat",
    "check": "check",
    "dry-run": "dry_run",
    "positions": "show_positions",
    "replay": "replay",
    "run": "run",
    "status": "status",
    "verify": "verify",
}
"""By name, what it is called in its module. The module has the name, with `_` for `-`."""


class LazyGroup(click.Group):
    """Loads a command when it is asked for: a process that runs for weeks holds no code of the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names, as the help shows them."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Return the command of that name, if there is one."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"shipper.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = getattr(module, _COMMANDS[cmd_name])
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tallyship")
def main() -> None:
    """Ship the JSON lines of AI agents to Grafana Loki.

    Each line once, through kills, rotations and outages.
    """
