"""Measures what the documentation promises and prints each figure beside its target.

    python bench/run.py [--quick] [exporter|shipper|redact]

The whole takes less than five minutes and 3.5 GB in the temporary directory; `--quick` less than one minute
and 0.6 GB. `TMPDIR=DIR` names another directory, where the usual one is made of memory. Exit 0 whatever the
figures: whether a target is met is for the reader, machines differ.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable

import exporter_bench
import redact_bench
import shipper_bench

PARTS: dict[str, Callable[[bool], None]] = {
    "exporter": lambda quick: exporter_bench.measure(quick=quick),
    "shipper": lambda quick: shipper_bench.measure(quick=quick),
    "redact": lambda quick: redact_bench.measure(quick=quick),
}


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description="Measure what the documentation promises.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} [all]")
    parser.add_argument("--quick", action="store_true", help="leave out what takes long and much disk")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    began_s = time.monotonic()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    for name in arguments.parts or PARTS:
        PARTS[name](arguments.quick)
    print(f"\ntook {time.monotonic() - began_s:.0f} s; load now {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
