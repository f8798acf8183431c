"""`check`: configuration, permissions, and whether Loki can be reached."""

from __future__ import annotations

import http.client
import os
import sys
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import click

from shipper.commands.flags import load, options
from shipper.configuration.config import Config
from shipper.follow.tree import pattern, walk
from shipper.push.connection import fetch


@click.command()
@options
def check(**flags: Any) -> None:
    """Check configuration, permissions, and that Loki can be reached. Exit 0 when all is well, 1 when not."""
    config = load(flags)
    problems = 0
    for source in config.sources:
        for text in source.patterns:
            found = walk(pattern(text))
            unreadable = [path for path in found.files if not os.access(path, os.R_OK)]
            problems += len(unreadable) + len(found.problems) + len(found.refused)
            click.echo(f"{source.name}: {text}: {len(found.files)} files")
            for path in unreadable:
                click.echo(f"  cannot be read: {path}")
            for path, why in found.problems + found.refused:
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
    endpoint = config.endpoint
    base = endpoint.base_url
    way = f" through the proxy {endpoint.proxy.host}:{endpoint.proxy.port}" if endpoint.proxy else ""
    try:
        answer = fetch(
            replace(endpoint, timeout_s=10.0), f"{urlsplit(base).path}/loki/api/v1/status/buildinfo"
        )
    except (OSError, ValueError, http.client.HTTPException) as error:
        click.echo(f"Loki {base}{way}: {type(error).__name__}: {error}")
        return 1
    # A gateway that only lets pushes through answers 404 here, and is no problem; wrong credentials are one.
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        click.echo(f"Loki {base}{way}: {answer.status}: the credentials are refused")
        return 1
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        where = answer.headers.get("Location", "").partition("?")[0]
        click.echo(
            f"Loki {base}{way}: {answer.status}: redirects to {where}, which must be configured instead"
        )
        return 1
    click.echo(f"Loki {base}{way}: answers ({answer.status})")
    return 0
