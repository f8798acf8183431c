"""What the shipper's own HTTP answers at a path; without a server, which not every shipper has."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


class Page(NamedTuple):
    """What a path answers."""

    status: int
    content_type: str
    body: bytes


Pages = dict[str, Callable[[], Page]]
