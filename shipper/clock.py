"""The real time."""

from __future__ import annotations

import time


class SystemClock:
    """A `Clock` that runs by itself."""

    monotonic = staticmethod(time.monotonic)
    time_ns = staticmethod(time.time_ns)
