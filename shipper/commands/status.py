"""`status`: ask the running shipper how it is."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import sys
from http import HTTPStatus
from typing import NoReturn

import click

from shipper.commands.status_text import render
from shipper.push.connection import fetch
from shipper.push.endpoint import Endpoint


@click.command()
@click.option(
    "--address", default="127.0.0.1:57375", show_default=True, help="Where the running shipper listens."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(address: str, *, as_json: bool) -> None:
    """Ask the running shipper how it is."""
    try:
        answer = fetch(Endpoint(f"http://{address}", timeout_s=5.0), "/status")
        found = json.loads(answer.body) if answer.status == HTTPStatus.OK else None
    except (http.client.HTTPException, ValueError, OSError) as error:
        _end(f"no shipper answers at {address}: {type(error).__name__}")
    if found is None:
        _end(f"the shipper at {address} is starting")
    if as_json:
        click.echo(json.dumps(found))
        return
    # Without a terminal there are neither colours nor a width, and nothing is cut.
    on_terminal = sys.stdout.isatty()
    coloured = on_terminal and not os.environ.get("NO_COLOR")
    width_chars = shutil.get_terminal_size().columns if on_terminal else sys.maxsize
    try:
        for line in render(found, width_chars, _paint if coloured else lambda text, _colour: text):
            click.echo(line)
    except (KeyError, TypeError, ValueError):
        _end(f"what answers at {address} is no shipper of this version")


def _paint(text: str, colour: str) -> str:
    return click.style(text, bold=True) if colour == "bold" else click.style(text, fg=colour)


def _end(text: str) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(1)
