from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.units import parse_bytes, parse_duration_s


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("0", 0),
        ("256KiB", 262_144),
        ("1.2MB", 1_200_000),
        ("3MB", 3_000_000),
        ("1 GiB", 1 << 30),
        ("64k", 64_000),
        ("2Mi", 2 << 20),
        ("600 b", 600),
        ("1TiB", 1 << 40),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    """Decimal and binary units, any case."""
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "KiB", "-1", "1.2.3MB", "12 parsecs", "4iB", "nan", "1e6", "9" * 400])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    """The message says what would do."""
    with pytest.raises(ValueError, match="256KiB"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("250ms", 0.25), ("1m30s", 90), ("5", 5), ("0.5", 0.5), ("7d", 604_800), (" 2h ", 7200)],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    """Go's form, and plain seconds."""
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "-5s", "5 parsecs", "1m 30s", "nan", "inf", "9" * 400, "9" * 400 + "d"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    """The message says what would do."""
    with pytest.raises(ValueError, match="1m30s"):
        parse_duration_s(text)


@given(st.text(max_size=12))
def test_no_text_raises_anything_else(text: str) -> None:
    """Configuration errors are told, not traced back."""
    told = []
    for parse in (parse_bytes, parse_duration_s):
        try:
            assert parse(text) >= 0
        except ValueError as error:
            told.append(str(error))
    assert all(message.startswith("not a ") for message in told)
