from __future__ import annotations

from typing import Any

import pytest

from shipper.commands.status_text import amount, duration, fitted, render
from shipper.telling.standing import Pace

STATUS: dict[str, Any] = {
    "health": "ok",
    "uptime_seconds": 3725.0,
    "problems": [],
    "loki": "http://loki:3100",
    "entries_sent": 1_234_567,
    "lines_per_second": 12.34,
    "open_circuits": 0,
    "streams": 34,
    "window_entries": 0,
    "oldest_unacked_seconds": 0.0,
    "masked": {},
    "dead_letters": {},
    "dead_letter_file_bytes": 0,
    "last_error": None,
    "last_error_time": None,
    "lag": {"jsonl=/logs/*.jsonl": {"files": 2, "bytes": 0, "seconds": 0.0}},
    "files": 2,
    "files_open": 1,
    "watches": 3,
}


def text(width_chars: int = 100, **changes: object) -> str:
    """Return the table, colours in brackets."""
    return "\n".join(render({**STATUS, **changes}, width_chars, lambda part, colour: f"[{colour}]{part}[/]"))


def test_a_quiet_shipper_is_told_in_a_few_words() -> None:
    """No zeros for what did not happen."""
    assert text().splitlines() == [
        "shipper       [green]ok[/], up 1 h 2 min",
        "Loki          http://loki:3100",
        "sent          1,234,567 lines, 12.3 a second of late",
        "streams       34, none refused",
        "in memory     0 lines",
        "masked        nothing",
        "dead letters  none",
        "last error    none",
        "",
        "[bold]source                 files     behind        for[/]",
        "jsonl=/logs/*.jsonl        2          -          -",
        "2 files, 1 of them open; 3 directories watched",
    ]


def test_trouble_stands_out() -> None:
    """With its colour, its count and its words."""
    found = text(
        health="failing",
        problems=["loki: auth: 401"],
        open_circuits=2,
        window_entries=7,
        oldest_unacked_seconds=75.0,
        masked={"jwt": 1.0, "bearer": 20.0},
        dead_letters={"invalid": 3.0},
        dead_letter_file_bytes=12_345,
        last_error="auth: 401 no",
        last_error_time="2026-11-21T10:00:00Z",
        lag={"a": {"files": 1, "bytes": 2_500_000, "seconds": 90_061.0}},
    )

    for part in (
        "[red]failing[/]",
        "              [yellow]loki: auth: 401[/]",
        "34, [red]2 refused[/]",
        "7 lines, the oldest for 1 min 15 s",
        "masked        21 (bearer 20, jwt 1)",
        "[yellow]3 (invalid 3)[/], 12.3 kB on disk",
        "2026-11-21T10:00:00Z auth: 401 no",
        "    2.5 MB    1 d 1 h",
    ):
        assert part in found


def test_a_hostile_error_cannot_drive_the_terminal() -> None:
    """What a gateway answered is shown, not obeyed."""
    found = text(last_error="\x1b[2Jgone\r\n\x07", last_error_time="now")

    assert not set(found) & {"\x1b", "\r", "\x07"}


def test_long_names_are_cut_in_the_middle_on_a_narrow_terminal() -> None:
    """Their end tells them apart."""
    name = "jsonl=/very/long/path/with/many/parts/of/no/interest/agents/*.jsonl"
    lag = {name: {"files": 1, "bytes": 0, "seconds": 0.0}}
    (line,) = [line for line in text(80, lag=lag).splitlines() if line.startswith("jsonl")]

    assert len(line) <= 80
    assert "agents/*.jsonl " in line
    assert name in text(10**9, lag=lag)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "59 min 59 s"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, expected: str) -> None:
    """As one says them."""
    assert duration(seconds) == expected


@pytest.mark.parametrize(("size", "expected"), [(999, "999 B"), (1000, "1.0 kB"), (2.5e9, "2.5 GB")])
def test_sizes_have_the_unit_that_fits(size: float, expected: str) -> None:
    """In thousands, as everywhere here."""
    assert amount(size) == expected


def test_a_cut_name_has_the_width_that_is_there() -> None:
    """To the character."""
    assert len(fitted("x" * 100, 33)) == 33


def test_the_rate_is_that_of_the_last_minute() -> None:
    """What was sent before does not count, and there is none before there are two looks."""
    pace = Pace()
    first = pace.per_second(0.0, 0)
    for second in range(1, 100):
        pace.per_second(float(second), second * 10)
    idle = [pace.per_second(100.0 + second, 990) for second in range(80)]

    assert first is None
    assert idle[0] == pytest.approx(9.9, abs=0.5)
    assert idle[-1] == 0.0
