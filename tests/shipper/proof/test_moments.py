"""Moments as the commands of the proof take them."""

from __future__ import annotations

import pathlib

import pytest
from click.testing import CliRunner

from shipper.cli import main
from shipper.commands.prove import moment_ns

NOW_NS = 1_795_000_000 * 10**9
DAY_NS = 86_400 * 10**9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24h", NOW_NS - DAY_NS),
        ("1d12h", NOW_NS - DAY_NS * 3 // 2),
        ("2026-11-18", 1_794_960_000 * 10**9),
        ("2026-11-18T00:00:00Z", 1_794_960_000 * 10**9),
        ("2026-11-18T01:00:00+01:00", 1_794_960_000 * 10**9),
    ],
)
def test_a_moment_is_a_duration_a_date_or_a_time(text: str, expected: int) -> None:
    """A date is its midnight in UTC."""
    assert moment_ns("--since", text, NOW_NS) == expected


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--since", "99999999d"], "before 1970"),
        (["--since", "2026-13-41"], "no duration"),
        (["--since", "yesterday"], "no duration"),
        (["--since", "0"], "not in the past"),
        (["--since", "1h", "--until", "2h"], "not after --since"),
        (["--since", "2026-11-18", "--until", "2026-11-18"], "not after --since"),
    ],
)
def test_a_window_that_means_nothing_is_refused(tmp_path: pathlib.Path, flags: list[str], said: str) -> None:
    """Exit 2 with what is wrong: neither all there nor gaps."""
    argv = ["verify", "--loki-url", "http://127.0.0.1:9", "--state-dir", str(tmp_path)]

    done = CliRunner().invoke(main, [*argv, "--source", f"jsonl={tmp_path}/*.jsonl", *flags])

    assert done.exit_code == 2
    assert said in done.output
