"""How far a file is read before the turn of another that shares its streams comes; the oldest goes first."""

from __future__ import annotations

SLACK_NS = 10 * 60 * 10**9
"""Files are read this far past each other: within Loki's window of an hour, cheap when all are up to date."""
