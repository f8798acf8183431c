"""The book of a comparison: what should be in Loki, and what was found. In a private file, not in memory."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from shipper.proof.loki_query import Entry

DIGEST_BYTES = 16


class Outcome(IntEnum):
    """What became of a line."""

    MISSING = 0
    THERE = 1
    """In the stream it belongs to, with its own time."""
    BACKFILLED = 2
    RESTAMPED = 3
    ALTERED = 4
    """Another text at its very nanosecond: masked by other rules than now."""
    ELSEWHERE = 5
    """Under labels of an earlier configuration."""
    DEAD = 6
    """In the dead-letter file."""
    UNSEEN = 7
    """Loki may hold it and not show it yet."""


class Line(NamedTuple):
    """A line (or a part of one) that should be in Loki."""

    family: int
    stamp: int
    """Of its own time; 0 where it has none."""
    digest: bytes
    file: int
    start: int
    slot: int
    line_id: str = ""
    part: int = 0
    """Which part of the line it is: parts of one line, or of two, may have the same text."""


class Missing(NamedTuple):
    """A line that was not found."""

    id: int
    family: int
    file: int
    start: int
    stamp: int


_SCHEMA = """
CREATE TABLE line (
  id INTEGER PRIMARY KEY, family INTEGER, stamp INTEGER, digest BLOB, file INTEGER, start INTEGER,
  slot INTEGER, line_id TEXT, part INTEGER, outcome INTEGER NOT NULL DEFAULT 0);
CREATE TABLE spare (family INTEGER, digest BLOB, stamp INTEGER, line_id TEXT, part INTEGER, outcome INTEGER,
  used INTEGER DEFAULT 0, PRIMARY KEY (family, digest, stamp)) WITHOUT ROWID;
CREATE TABLE part (line_id TEXT, part INTEGER, parts INTEGER, PRIMARY KEY (line_id, parts, part));
"""


def digest(text: str) -> bytes:
    """Return what stands for a text: a million of them fit."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=DIGEST_BYTES).digest()


class Book:
    """Lines are written down first (`expect`, then `ready`), then ticked off entry by entry (`saw`)."""

    def __init__(self) -> None:
        # An empty name: a file of SQLite's own that has no name and ends with it.
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("PRAGMA cache_size=-32000")
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")

    def close(self) -> None:
        """Let it go."""
        self._db.close()

    def expect(self, lines: Iterable[Line]) -> None:
        """Write down lines that should be in Loki."""
        self._db.executemany(
            "INSERT INTO line (family, stamp, digest, file, start, slot, line_id, part)"
            " VALUES (?,?,?,?,?,?,?,?)",
            lines,
        )

    def ready(self) -> None:
        """Make it quick to look things up; after this nothing more is expected."""
        self._db.execute("CREATE INDEX by_stamp ON line (family, stamp)")
        self._db.execute("CREATE INDEX by_text ON line (digest)")
        self._db.execute("CREATE INDEX by_place ON line (file, start)")

    def count(self) -> int:
        """Return how many lines there are."""
        return int(self._db.execute("SELECT count(*) FROM line").fetchone()[0])

    def outcomes(self) -> dict[Outcome, int]:
        """Return how many lines had which outcome."""
        rows = self._db.execute("SELECT outcome, count(*) FROM line GROUP BY outcome")
        return {Outcome(outcome): number for outcome, number in rows}

    def families(self) -> list[tuple[int, int, int]]:
        """Return each family with the first and last stamp of its lines with a time (0 and 0: none has)."""
        rows = self._db.execute(
            "SELECT family, coalesce(min(nullif(stamp, 0)), 0), max(stamp) FROM line GROUP BY family"
        )
        return [(family, first, last) for family, first, last in rows]

    def missing(self, family: int | None = None) -> Iterator[Missing]:
        """Yield the lines that were not found, in order of family and stamp."""
        where = "outcome = 0" if family is None else f"outcome = 0 AND family = {int(family)}"
        rows = self._db.execute(
            f"SELECT id, family, file, start, stamp FROM line WHERE {where} ORDER BY family, stamp, id"  # noqa: S608 - a number
        )
        for row in rows:
            yield Missing(*row)

    def runs(self, family: int) -> list[tuple[int, int]]:
        """Return the stretches of time in which lines are missing and none between them was found."""
        found: list[tuple[int, int]] = []
        rows = self._db.execute(
            "SELECT stamp, outcome FROM line WHERE family = ? AND stamp > 0 ORDER BY stamp", (family,)
        )
        open_ = False
        for stamp, outcome in rows:
            if outcome:
                open_ = False
            elif open_:
                found[-1] = (found[-1][0], stamp)
            else:
                found.append((stamp, stamp))
                open_ = True
        return found

    def saw(self, family: int, entries: Iterable[Entry]) -> None:
        """Tick off what Loki shows of a family; the same entries may come again."""
        execute = self._db.execute
        for entry in entries:
            outcome, sum_ = _outcome(entry.labels), digest(entry.line)
            name, part = entry.meta.get("line_id", ""), part_number(entry.meta.get("part"))
            exact, altered = False, []
            for id_, expected, line_id, line_part, now in execute(
                "SELECT id, digest, line_id, part, outcome FROM line WHERE family = ? AND stamp = ?",
                (family, entry.stamp),
            ).fetchall():
                if expected == sum_ and (not name or (line_id, line_part) == (name, part)):
                    exact = True
                    if now in (Outcome.MISSING, Outcome.ALTERED):
                        execute("UPDATE line SET outcome = ? WHERE id = ?", (outcome, id_))
                elif now == Outcome.MISSING and not (name and line_id == name):
                    # A part of the same line that was cut elsewhere says nothing of the other parts.
                    altered.append(id_)
            known = exact or execute("SELECT 1 FROM line WHERE digest = ? LIMIT 1", (sum_,)).fetchone()
            if known and not exact:
                execute(
                    "INSERT OR IGNORE INTO spare (family, digest, stamp, line_id, part, outcome)"
                    " VALUES (?,?,?,?,?,?)",
                    (family, sum_, entry.stamp, name, part, outcome),
                )
            # The text of another line is no trace of this one.
            for id_ in altered if not known else ():
                execute("UPDATE line SET outcome = ? WHERE id = ?", (Outcome.ALTERED, id_))
            if name:
                parts = part_number(entry.meta.get("parts"))
                execute("INSERT OR IGNORE INTO part VALUES (?,?,?)", (name, part, parts))

    def match_spare(self, family: int) -> None:
        """Give to each line that is still missing an entry of the same text and slot, each entry once."""
        self._match(
            "family = ? AND outcome IN (0, 4)",
            family,
            lambda outcome: outcome,
        )

    def match_elsewhere(self, stranger: int) -> None:
        """Give to lines of any family what the family `stranger`, of which nothing is expected, shows."""
        self._match(
            "family != ? AND outcome = 0",
            stranger,
            lambda _: Outcome.ELSEWHERE,
        )

    def _match(self, lines: str, family: int, outcome_of: Callable[[int], int]) -> None:
        execute = self._db.execute
        if not execute("SELECT 1 FROM spare WHERE family = ? AND NOT used LIMIT 1", (family,)).fetchone():
            return
        rows = execute(
            f"SELECT id, digest, slot, line_id, part FROM line WHERE {lines} ORDER BY stamp, id",  # noqa: S608 - ours
            (family,),
        ).fetchall()
        for id_, sum_, slot, line_id, part in rows:
            spare = execute(
                "SELECT stamp, outcome FROM spare WHERE family = ? AND digest = ? AND NOT used"
                " AND stamp % 1000 % 500 = ? AND (line_id = '' OR (line_id = ? AND part = ?))"
                " ORDER BY stamp LIMIT 1",
                (family, sum_, slot, line_id, part),
            ).fetchone()
            if spare:
                execute("UPDATE line SET outcome = ? WHERE id = ?", (outcome_of(spare[1]), id_))
                execute(
                    "UPDATE spare SET used = 1 WHERE family = ? AND digest = ? AND stamp = ?",
                    (family, sum_, spare[0]),
                )

    def match_parts(self) -> None:
        """Tick off lines of which Loki has all parts, cut in other places than now."""
        self._db.execute(
            "UPDATE line SET outcome = ? WHERE outcome IN (0, 4) AND line_id != '' AND line_id IN"
            " (SELECT line_id FROM part WHERE part BETWEEN 1 AND parts GROUP BY line_id, parts"
            "  HAVING count(*) = parts)",
            (Outcome.THERE,),
        )

    def bury(self, file: int, start: int, *, whole: bool) -> None:
        """Note that a missing line is in the dead-letter file; `whole`: with all its parts."""
        self._db.execute(
            "UPDATE line SET outcome = ? WHERE file = ? AND outcome = 0 AND (start = ? OR (? AND line_id IN"
            " (SELECT line_id FROM line WHERE file = ? AND start = ? AND line_id != '')))",
            (Outcome.DEAD, file, start, whole, file, start),
        )

    def unseen(self, ids: Iterable[int]) -> None:
        """Note that lines may be there and not be shown yet."""
        self._db.executemany(
            "UPDATE line SET outcome = ? WHERE id = ?", ((Outcome.UNSEEN, id_) for id_ in ids)
        )

    def last_flushed(self, family: int, file: int, before_ns: int) -> int:
        """Return the largest offset of a file's lines found in their own stream with times before that.

        Not of parts: these are found wherever they went.
        """
        (start,) = self._db.execute(
            "SELECT coalesce(max(start), -1) FROM line WHERE family = ? AND file = ? AND line_id = ''"
            " AND stamp BETWEEN 1 AND ? AND outcome = ?",
            (family, file, before_ns, Outcome.THERE),
        ).fetchone()
        return int(start)


def _outcome(labels: dict[str, str]) -> Outcome:
    if "restamped" in labels:
        return Outcome.RESTAMPED
    return Outcome.BACKFILLED if "backfill" in labels else Outcome.THERE


def part_number(text: str | None) -> int:
    """Return what the metadata `part` and `parts` say; 0 for anything else."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0  # noqa: PLR2004 - a number of parts
