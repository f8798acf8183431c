"""`cat`: a line that was split, whole again."""

from __future__ import annotations

import re
import sys
import time
from typing import Any

import click

from shipper.commands.flags import EXIT_CONFIG, load, options
from shipper.commands.prove import EXIT_UNANSWERED, loki_of, moment_ns, progress, talk_of
from shipper.proof.assemble import Parts, ranges
from shipper.proof.loki_query import Unanswered
from shipper.proof.pages import Incomplete

_AHEAD_NS = 3600 * 10**9


@click.command()
@options
@click.option("--line-id", required=True, help="The structured metadata `line_id` that all its parts have.")
@click.option("--since", default="7d", show_default=True, help="Parts from then on: `24h` ago, or a time.")
@click.option("--selector", default='{app=~".+"}', show_default=True, help="The streams to look in.")
def cat(*, line_id: str, since: str, selector: str, **flags: Any) -> None:
    """Write a line that was split for its length as it was sent, byte for byte.

    Exit 1 when parts of it are missing, 3 when Loki cannot be asked.
    """
    if not re.fullmatch(r"[0-9a-f]{1,64}", line_id):
        click.echo(f"configuration: --line-id: hexadecimal digits, not {line_id!r}", err=True)
        sys.exit(EXIT_CONFIG)
    config = load(flags, need_sources=False)
    now_ns = time.time_ns()
    query = f'{selector} | line_id="{line_id}"'
    parts = Parts()
    talk = talk_of(config)
    try:
        since_ns = moment_ns("--since", since, now_ns)
        loki = loki_of(config, talk)
        for entries in loki.pages(query, since_ns, now_ns + _AHEAD_NS, page=loki.sure):
            for entry in entries:
                parts.add(entry)
            progress(f"part {entries[-1].meta.get('part')} of {entries[-1].meta.get('parts')}")
            if parts.whole is not None:
                break
    except (Unanswered, Incomplete) as error:
        progress("")
        click.echo(str(error), err=True)
        sys.exit(EXIT_UNANSWERED)
    finally:
        talk.close()
    progress("")
    whole = parts.whole
    if whole is None:
        total, missing = parts.lacking
        if total:
            click.echo(f"line {line_id}: parts missing: {ranges(missing)} of {total}", err=True)
        else:
            click.echo(f"line {line_id}: Loki shows no part of it since {since}", err=True)
        sys.exit(1)
    for text in whole:
        sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()
