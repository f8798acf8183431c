"""The floor that a scrape is measured against: the exporter's web server with nothing to export.

python bench/floor_server.py PORT
"""

from __future__ import annotations

import sys

from prometheus_client import CollectorRegistry

from exporter.web.asgi import build_app
from exporter.web.listen import Address, BindFailed, bind
from exporter.web.server import serve
from shared.healthcheck import Report


def main() -> None:
    """Serve an empty registry until SIGTERM."""
    listener = bind(Address("127.0.0.1", int(sys.argv[1])))
    if isinstance(listener, BindFailed):
        sys.exit(f"floor server: cannot listen on port {sys.argv[1]}")
    registry = CollectorRegistry(auto_describe=False)
    serve(build_app(registry, health=lambda: Report("floor", ()), version="floor"), listener)


if __name__ == "__main__":
    main()
