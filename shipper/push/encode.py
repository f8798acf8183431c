"""A stream's lines to the body of a push. Pure.

gzip by igzip level 1 where isal is there: 863 MB/s against 173 for zlib -1, and smaller.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

import orjson

try:
    from isal import igzip
except ImportError:  # pragma: no cover - only on processors for which isal is not built
    HAVE_IGZIP = False
else:
    HAVE_IGZIP = True

Metadata = Mapping[str, str]
_NO_METADATA: Metadata = {}


def body(
    labels: Mapping[str, str],
    stamps: Sequence[int],
    texts: Sequence[str],
    metas: Sequence[Metadata | None] | None,
) -> bytes:
    """Return the JSON of a push of one stream; `metas` None: no structured metadata at all."""
    if metas is None or not any(metas):
        values: list[tuple[object, ...]] = list(zip(_numbers(stamps), texts, strict=True))
    elif all(metas):
        values = list(zip(_numbers(stamps), texts, metas, strict=True))
    else:
        values = [
            (stamp, text, meta or _NO_METADATA)
            for stamp, text, meta in zip(_numbers(stamps), texts, metas, strict=True)
        ]
    return orjson.dumps({"streams": [{"stream": labels, "values": values}]})


def _numbers(stamps: Sequence[int]) -> list[str]:
    """Return the stamps as text: one call for all takes a fifth of the time of `str` on each."""
    return orjson.dumps(stamps).decode()[1:-1].split(",") if stamps else []


def _igzip(data: bytes) -> bytes:
    return bytes(igzip.compress(data, 1))


def _zlib(data: bytes) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


gzip: Callable[[bytes], bytes] = _igzip if HAVE_IGZIP else _zlib
