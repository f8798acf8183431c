"""What all tests share: where their helper modules lie, no haste, and how goldens are written anew."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import settings

HELPERS = ("exporter/support",)

sys.path[:0] = [str(Path(__file__).parent / folder) for folder in HELPERS]

# A machine that is busy with something else for 0.2 s says nothing of an example.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


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
