"""Fixtures of the exporter's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loki_world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return an empty project, present and readable."""
    made = World(tmp_path / "shop" / ".loki")
    yield made
    made.close()
