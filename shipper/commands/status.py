"""`status`: ask the running shipper how it is."""

from __future__ import annotations

import http.client
import json
import sys

import click

from shipper.push.connection import fetch
from shipper.push.endpoint import Endpoint


@click.command()
@click.option(
    "--address", default="127.0.0.1:57375", show_default=True, help="Where the running shipper listens."
)
def status(address: str) -> None:
    """Ask the running shipper how it is."""
    try:
        answer = fetch(Endpoint(f"http://{address}", timeout_s=5.0), "/status")
        found = json.loads(answer.body)
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
