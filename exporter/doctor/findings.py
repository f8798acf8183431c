"""What the doctor says: a subject, a sentence, its cause, and the commands that mend it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad a finding is; only WRONG makes the exit code 1."""

    WRONG = "WRONG"
    NOTE = "note"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `mend`: commands or settings, one a line; comments begin with `#`."""

    level: Level
    subject: str
    text: str
    cause: str | None = None
    mend: tuple[str, ...] = ()


def wrong(subject: str, text: str, cause: str | None = None, *mend: str) -> Finding:
    """Return what must be mended."""
    return Finding(Level.WRONG, subject, text, cause, mend)


def note(subject: str, text: str, cause: str | None = None, *mend: str) -> Finding:
    """Return what may be as it is meant, or may not."""
    return Finding(Level.NOTE, subject, text, cause, mend)


def well(subject: str, text: str) -> Finding:
    """Return what is as it should be."""
    return Finding(Level.OK, subject, text)
