from __future__ import annotations

import ctypes

import pytest

from shipper import heap


def test_buffers_are_kept_where_the_c_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both thresholds are set: one alone would keep nothing, or what is large."""
    asked: list[tuple[int, int]] = []

    class Library:
        def __init__(self, _name: None) -> None:
            self.mallopt = lambda option, value: asked.append((option, value))

    monkeypatch.setattr(ctypes, "CDLL", Library)
    heap.keep_buffers()

    assert dict(asked) == {-3: heap.LARGE_BYTES, -1: heap.KEPT_BYTES}


def test_a_c_library_without_the_setting_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As musl is."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())

    heap.keep_buffers()
