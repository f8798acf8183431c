"""`replay`: dead letters once more."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import click

from shipper.commands.flags import EXIT_CONFIG, load, options
from shipper.commands.prove import EXIT_UNANSWERED, resender_of, talk_of
from shipper.entries import parts
from shipper.entries.stamp import STEP_NS
from shipper.follow.tree import pattern
from shipper.keeping import positions
from shipper.proof.replay import Busy, Fill, Means, Outcome, Split, look, place_of
from shipper.proof.replay import replay as replayed
from shipper.proof.resend import Letter
from shipper.proof.resent import NAME, Resent
from shipper.sources.base import Source
from shipper.state import EntryLimit
from shipper.times import rfc3339

EXIT_REFUSED = 1


@click.command()
@options
@click.option("--dry-run", is_flag=True, help="Only say what would be sent.")
def replay(*, dry_run: bool, **flags: Any) -> None:
    """Send the dead letters again, once what made Loki refuse them is mended.

    What is taken leaves the file. Exit 0 when all were taken, 1 when some stay, 3 when Loki takes nothing.
    """
    config = load(flags, need_loki=not dry_run, need_sources=False)
    path = config.state_dir / "dead-letters.jsonl"
    found = positions.load(config.state_dir, look_only=True).positions
    limit = EntryLimit(config.options.max_entry_bytes)
    limit.restore(found.totals)
    redactor = config.redactor()
    means = Means(
        redactor.text if redactor is not None else lambda text: text,
        filler(config.sources),
        splitter(limit.bytes, {record.id: record.origin or record.path for record in found.files}),
        limit.bytes,
    )
    if dry_run:
        would: Counter[str] = Counter()
        for one in look(path, means):
            would[one.kept or f"would be sent, refused before as {one.record.get('reason')}"] += 1
        for why, number in sorted(would.items()):
            click.echo(f"{number:>8}  {why}")
        return
    talk = talk_of(config)
    resent = Resent(config.state_dir / NAME)
    try:
        done = replayed(
            path,
            resender_of(config, talk),
            means,
            lambda places: resent.note(places, time.time_ns()),
            lambda: rfc3339(time.time_ns()),
        )
    except (Busy, OSError) as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_CONFIG)
    finally:
        talk.close()
    sys.exit(_told(done))


def _told(done: Outcome) -> int:
    click.echo(f"{done.taken:>8}  taken, and out of the file")
    for reason, number in sorted(done.refused.items()):
        click.echo(f"{number:>8}  refused again: {reason}")
    for why, number in sorted(done.kept.items()):
        click.echo(f"{number:>8}  kept: {why}")
    if done.waiting:
        click.echo(f"{done.waiting:>8}  not tried or not answered: {done.stopped}")
        return EXIT_UNANSWERED
    return EXIT_REFUSED if done.refused or done.kept else 0


def filler(sources: tuple[Source, ...]) -> Fill:
    """Return what reads a dead letter's time and metadata as the source of its file does."""
    covers = [(source, pattern(text)) for source in sources for text in source.patterns]

    def fill(record: dict[str, Any]) -> tuple[int | None, dict[str, str] | None]:
        path, line = str(record.get("file")), str(record.get("line"))
        for source, covered in covers:
            if covered.matches(path):
                parsed = source.parse([line.encode()], source.describe(path), "")
                return parsed.owns[0], parsed.metas[0]
        return None, None

    return fill


def splitter(limit_bytes: int, origins: Mapping[int, str]) -> Split:
    """Return what cuts a letter with a long line into the parts that `run` would send.

    `origins`: by a file's id, the path by which `run` names its lines. A letter that is a part stays one,
    under the name of its line: its other parts are in Loki, or are letters of their own.
    """

    def split(letter: Letter, record: dict[str, Any]) -> list[Letter]:
        if letter.meta and "part" in letter.meta:
            return [letter]
        texts = parts.split(letter.text.encode(), limit_bytes)
        if len(texts) == 1:
            return [letter]
        file, offset = place_of(record)
        name = parts.line_id(origins.get(file, str(record.get("file"))), offset, texts)
        metas = parts.metas(letter.meta, name, len(texts))
        return [
            Letter(letter.labels, letter.stamp + number * STEP_NS, text, meta)
            for number, (text, meta) in enumerate(zip(texts, metas, strict=True))
        ]

    return split
