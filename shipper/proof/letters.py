"""The dead-letter file as a table of places."""

from __future__ import annotations

import os
import pathlib

import orjson

from shipper.proof.replay import slices


def places(path: pathlib.Path) -> set[tuple[int, int]]:
    """Return the file id and offset of each dead letter; none where there is no file."""
    found: set[tuple[int, int]] = set()
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return found
    try:
        for raws, _ in slices(fd):
            found.update(place for place in map(_place, raws) if place is not None)
    finally:
        os.close(fd)
    return found


def _place(raw: bytes) -> tuple[int, int] | None:
    try:
        record = orjson.loads(raw)
        return int(record["file_id"]), int(record["offset"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
