"""The dead-letter file as a table of places."""

from __future__ import annotations

import os
import pathlib

import orjson

from shipper.keeping.own_files import open_own
from shipper.proof.replay import place_of, slices
from shipper.proof.resent import Place


def places(path: pathlib.Path) -> dict[Place, bool]:
    """Return the file id and offset of each dead letter, and whether it is a whole line."""
    found: dict[Place, bool] = {}
    try:
        fd = open_own(path, os.O_RDONLY)
    except FileNotFoundError:
        return found
    try:
        for raws, _ in slices(fd):
            found.update(place for place in map(_place, raws) if place is not None)
    finally:
        os.close(fd)
    return found


def _place(raw: bytes) -> tuple[Place, bool] | None:
    try:
        record = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(record, dict):
        return None
    meta = record.get("metadata")
    return place_of(record), not (isinstance(meta, dict) and "part" in meta)
