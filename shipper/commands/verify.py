"""`verify`: whether everything that was acknowledged is in Loki."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import click

from shipper.commands.flags import EXIT_CONFIG, load, options
from shipper.commands.prove import (
    EXIT_UNANSWERED,
    loki_of,
    moment_ns,
    progress,
    refuse,
    resender_of,
    talk_of,
)
from shipper.configuration.config import Config
from shipper.keeping import positions
from shipper.proof import report as shown
from shipper.proof.letters import places
from shipper.proof.loki_query import Unanswered
from shipper.proof.on_disk import Reading, find
from shipper.proof.pages import Incomplete
from shipper.proof.resend import Fate, Letter, Resender
from shipper.proof.resent import NAME, Resent
from shipper.proof.verify import Comparison, Gap, Window
from shipper.state import EntryLimit

EXIT_GAPS = 1
_SENT_AT_ONCE = 1000


@click.command()
@options
@click.option(
    "--since", default="24h", show_default=True, help="Lines from then on: `24h` ago, a date, or a time."
)
@click.option("--until", help="Lines up to then.  [default: all, those ahead of the clock as well]")
@click.option("--repair", is_flag=True, help="Send what is missing.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def verify(*, since: str, until: str | None, repair: bool, as_json: bool, **flags: Any) -> None:
    """Compare the lines that were acknowledged with what Loki holds, and name each that is missing.

    Exit 0 when all are there, 1 when lines are missing, 3 when Loki cannot be asked.
    """
    config = load(flags)
    now_ns = time.time_ns()
    window = _window(config, since, until, now_ns)
    loaded = positions.load(config.state_dir, look_only=True)
    for warning in loaded.warnings:
        click.echo(warning, err=True)
    if not loaded.source:
        click.echo(f"no positions in {config.state_dir}: nothing is known of what was sent", err=True)
        sys.exit(EXIT_CONFIG)
    found = find(loaded.positions, config.sources)
    if found.uncovered and not found.known:
        refuse("none of the sources is about any of the files in the positions")
    limit = EntryLimit(config.options.max_entry_bytes)
    limit.restore(loaded.positions.totals)
    reading = Reading(loaded.positions, config.redactor(), config.options.max_line_bytes, limit.bytes, now_ns)
    talk = talk_of(config)
    letters = places(config.state_dir / "dead-letters.jsonl")
    resent = Resent(config.state_dir / NAME)
    comparison = Comparison(
        loki_of(config, talk), reading, found, window, letters, resent.recall(now_ns), progress
    )
    try:
        done = comparison.compare()
    except (Unanswered, Incomplete) as error:
        progress("")
        click.echo(f"not compared: {error}", err=True)
        sys.exit(EXIT_UNANSWERED)
    progress("")
    named: list[dict[str, Any]] = []
    resender = resender_of(config, talk) if repair else None
    left = 0
    for gap, letter in _sent(comparison.gaps(), resender, resent):
        repaired = letter.fate is Fate.TAKEN
        left += not repaired
        why = "" if letter.verdict is None or repaired else f" ({letter.verdict.reason})"
        if as_json:
            named.append({**shown.gap_json(gap), "repaired": repaired, "why_not": why.strip(" ()")})
        else:
            click.echo(f"{'repaired' if repaired else f'missing{why}'}: {shown.gap_text(gap)}")
    if as_json:
        click.echo(json.dumps({**shown.as_json(done, found, window), "gaps": named}, indent=2))
    else:
        for line in shown.text(done, found, window):
            click.echo(line)
    comparison.close()
    talk.close()
    if resender is not None and resender.stopped is not None:
        click.echo(f"not all repaired: {resender.stopped.reason} {resender.stopped.detail}", err=True)
        sys.exit(EXIT_UNANSWERED)
    sys.exit(EXIT_GAPS if left else 0)


def _window(config: Config, since: str, until: str | None, now_ns: int) -> Window:
    since_ns = moment_ns("--since", since, now_ns)
    until_ns = None if until is None else moment_ns("--until", until, now_ns)
    if until_ns is None and since_ns >= now_ns:
        refuse(f"--since: {since!r} is not in the past: nothing to compare")
    if until_ns is not None and since_ns >= until_ns:
        refuse(f"--until: {until!r} is not after --since {since!r}: nothing to compare")
    return Window(since_ns, until_ns, now_ns, config.options.policy.max_age_ns, _saved_ns(config))


def _sent(gaps: Iterable[Gap], resender: Resender | None, resent: Resent) -> Iterator[tuple[Gap, Letter]]:
    """Send gaps where that is wanted, some at a time; yield each with what became of it."""
    gaps = iter(gaps)
    while some := list(islice(gaps, _SENT_AT_ONCE)):
        letters = [_letter(gap, resender) for gap in some]
        if resender is not None and resender.stopped is None:
            # Before they are sent: what is old is not shown at once, and must not be called missing.
            resent.note(((gap.file.record.id, gap.offset) for gap in some), time.time_ns())
            resender.send(letters)
        yield from zip(some, letters, strict=True)


def _letter(gap: Gap, resender: Resender | None) -> Letter:
    stamp = gap.stamp
    if "restamped" in gap.labels and resender is not None:
        # When it was read first is not known any more.
        stamp = resender.fresh_stamp(stamp)
    return Letter(dict(gap.labels), stamp, gap.text, gap.meta)


def _saved_ns(config: Config) -> int:
    """Return when the positions were saved last."""
    times = [0]
    for name in positions.GENERATIONS:
        path = config.state_dir / name
        if path.exists():
            times.append(path.stat().st_mtime_ns)
    return max(times)
