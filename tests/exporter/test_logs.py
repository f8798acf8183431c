from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from loki_world import World

from exporter.logs import LogFormat, RepeatLimiter, log_event, printable, set_up_logging

LOG = logging.getLogger("exporter.test")


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Give back the logging that was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_an_event_is_one_line(capsys: pytest.CaptureFixture[str], log_format: LogFormat) -> None:
    """Whatever its values hold: line breaks, quotes, lone surrogates, objects, a traceback."""
    set_up_logging(log_format)
    log_event(LOG, logging.WARNING, "file not read", detail='a\nb "c" \ud800\x1b', thing=object(), empty="")
    LOG.error("source failed", exc_info=ValueError("first\nsecond"))

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    if log_format == "json":
        first, second = map(json.loads, lines)
        assert (first["event"], first["level"], first["detail"]) == (
            "file not read",
            "warning",
            'a\nb "c" \ud800\x1b',
        )
        assert "ValueError: first" in second["trace"]
    else:
        assert r'detail="a\nb \"c\" \ud800\u001b"' in lines[0]
        assert 'event="file not read"' in lines[0]
        assert lines[0].endswith('empty=""')
        assert lines[1].count("trace=") == 1


def test_logging_a_format_that_does_not_fit_is_no_crash(capsys: pytest.CaptureFixture[str]) -> None:
    """Values are fields, not arguments of a format: a percent sign in a name does nothing."""
    set_up_logging("logfmt")
    log_event(LOG, logging.INFO, "100%s", path="%d%s")

    assert "%d%s" in capsys.readouterr().err


def test_repeats_are_held_back_and_counted() -> None:
    """The first at once, then one in five minutes that says how many there were between."""
    times = iter((0, 1, 2, 299, 300, 301, 301))
    limiter = RepeatLimiter(every_s=300, monotonic=lambda: next(times))
    seen = [limiter.admit("torn") for _ in range(6)]

    assert seen == [0, None, None, None, 3, None]
    assert limiter.admit("other") == 0


def test_repeats_of_many_things_need_bounded_memory() -> None:
    """Names that an agent invents do not fill the memory: rather a repeated line."""
    limiter = RepeatLimiter(monotonic=lambda: 0.0, max_keys=10)
    for number in range(1_000):
        limiter.admit(number)

    assert len(limiter._last) <= 10


def test_printable_shows_what_a_terminal_would_obey() -> None:
    """Control characters, line breaks, bidi marks and bytes that are no text are made visible."""
    assert printable("a\x1b[2J\nb\udcff\u202ec é") == r"a\x1b[2J\nb\udcff\u202ec é"


def test_no_content_of_a_file_is_logged(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Agents' files are full of secrets: the log tells names, sizes and positions only."""
    set_up_logging("logfmt")
    secret = "sk-ant-planted-secret"
    for path in (
        "dashboard-state.json",
        "queue/pending.json",
        "loki.pid",
        "pricing.json",
        "state/agents.json",
    ):
        world.write(path, f'{{"key": "{secret}", {secret}')
    world.write("metrics/efficiency/iteration-1.json", secret)
    world.write("events.jsonl", f"{secret}\n")
    world.page()

    said = capsys.readouterr().err
    assert said.count("file not read") == 6
    assert secret not in said
