"""What memory costs: how often garbage is looked for, and how much of it the C library keeps at hand."""

from __future__ import annotations

import ctypes
import gc

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
KEPT_BYTES = 4 << 20
"""What a few pushes need."""
LARGE_BYTES = 1 << 20
"""A buffer from this size on is given back to the system at once."""


def collect_rarely() -> None:
    """Have the collector of cycles look at new objects less often, and never again at those of the start.

    A chunk makes thousands of short-lived tuples and no cycles; at the default threshold the collector walks
    through all lines in memory again and again, which took a third of all CPU.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def keep_buffers() -> None:
    """Have glibc keep freed buffers; elsewhere nothing is changed.

    By itself it gives a buffer above 128 KiB back, and the next one costs a page fault for each 4 KiB: lines
    of 100 kB took half as much CPU again, those of 245 bytes a tenth.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl has none
        return
    mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
