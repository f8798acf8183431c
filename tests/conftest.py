"""What all tests share: where their helper modules lie, and how goldens are written anew."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HELPERS = ("exporter/support",)

sys.path[:0] = [str(Path(__file__).parent / folder) for folder in HELPERS]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes goldens instead of comparing; look at the diff before you commit."""
    parser.addoption(
        "--update-goldens",
        action="store_true",
        help="write the expected expositions and docs/differences.md from what the exporter says now",
    )


@pytest.fixture
def update_goldens(request: pytest.FixtureRequest) -> bool:
    """Whether goldens are written rather than compared."""
    return bool(request.config.getoption("--update-goldens"))
