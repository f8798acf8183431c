"""What the commands of the proof share: the way to Loki, and moments in time."""

from __future__ import annotations

import random
import re
import sys
import time
from dataclasses import replace
from typing import NoReturn

import click

from shipper.commands.flags import EXIT_CONFIG
from shipper.configuration.config import Config
from shipper.proof.loki_query import Loki
from shipper.proof.resend import Resender
from shipper.proof.talk import Talk
from shipper.push.answer import Verdict
from shipper.push.retry import RetryPolicy
from shipper.times import Times
from shipper.units import parse_duration_s

EXIT_UNANSWERED = 3
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def talk_of(config: Config) -> Talk:
    """Return the way to Loki; ends the process where a file of it cannot be used."""
    try:
        config.endpoint.authorization()
        return Talk(config.endpoint)
    except ValueError as error:
        refuse(str(error))


def loki_of(config: Config, talk: Talk) -> Loki:
    """Return something that answers queries."""
    return Loki(talk.fetch, time.sleep, random.random, entry_bytes=config.options.max_entry_bytes)


def resender_of(config: Config, talk: Talk) -> Resender:
    """Return something that pushes single lines."""
    options, redactor = config.options, config.redactor()

    def post(body: bytes) -> Verdict:
        verdict = talk.post(body)
        # An answer can echo what was sent along with the lines.
        return replace(verdict, detail=redactor.text(verdict.detail)) if redactor is not None else verdict

    return Resender(
        post,
        time.sleep,
        random.random,
        time.time_ns,
        options.limits,
        metadata=options.structured_metadata,
        policy=RetryPolicy(config.retry_max),
    )


def moment_ns(flag: str, text: str, now_ns: int) -> int:
    """Return the time that `24h` (ago), a date (its midnight in UTC) or an RFC 3339 time means.

    Ends the process where it means none, or one before 1970.
    """
    try:
        found: int | None = now_ns - round(parse_duration_s(text) * 1e9)
    except ValueError:
        text = text.strip()
        found = Times().text_ns(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text)
    if found is None:
        refuse(f"{flag}: no duration (`24h`), date (`2026-11-21`) or time (`2026-11-21T05:00:00Z`): {text!r}")
    if found < 0:
        refuse(f"{flag}: {text!r} is before 1970")
    return found


def refuse(problem: str) -> NoReturn:
    """End the process for something that is wrong with the flags."""
    click.echo(f"configuration: {problem}", err=True)
    sys.exit(EXIT_CONFIG)


def progress(text: str) -> None:
    """Write on one line of a terminal, and nowhere else."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{text}", nl=False, err=True)
