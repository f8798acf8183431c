"""`metrics --watch`: what a person sees, and in what state the terminal is left."""

from __future__ import annotations

import fcntl
import http.server
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from exporter.commands.fetch import Page
from exporter.commands.watch import COLOURS, NoPageError, cells, clip, frame, number, parse_page
from exporter.commands.watching import View, watch_pipe

NOW_S = 1_795_000_000.0
TEXT = """\
# HELP loki_session_status Status.
# TYPE loki_session_status gauge
loki_session_status{project="shop"} 1.0
loki_session_status{project="toys"} 2.0
# HELP loki_tasks_total Tasks.
# TYPE loki_tasks_total gauge
loki_tasks_total{project="shop",status="pending"} 3.0
# HELP loki_mode_iteration_duration_seconds Time.
# TYPE loki_mode_iteration_duration_seconds histogram
loki_mode_iteration_duration_seconds_bucket{le="+Inf",project="shop"} 1.0
loki_mode_iteration_duration_seconds_count{project="shop"} 1.0
loki_mode_iteration_duration_seconds_sum{project="shop"} 90.5
# HELP loki_mode_session_info Info.
# TYPE loki_mode_session_info gauge
loki_mode_session_info{project="shop",phase="DEVELOPMENT"} 1.0
# HELP tallyship_exporter_source_up Up.
# TYPE tallyship_exporter_source_up gauge
tallyship_exporter_source_up{project="shop",source="loki-mode"} 1.0
# HELP loki_cost_usd Cost.
# TYPE loki_cost_usd gauge
loki_cost_usd{project="toys"} 4.375
"""


def _lines(text: str = TEXT, before: str | None = None, **options: Any) -> list[str]:
    known: dict[str, Any] = {"header": "HEAD", "trouble": None, "size": (100, 60), "now_s": NOW_S}
    return frame(parse_page(text), None if before is None else parse_page(before), **{**known, **options})


def test_series_stand_under_their_project_and_the_exporter_comes_last() -> None:
    """Each project has a heading, in the page's order; its name is not repeated in each line."""
    lines = _lines()
    headings = [line for line in lines if line and not line.startswith(" ")]

    assert headings == ["HEAD", "shop", "toys", "exporter"]
    assert "  loki_tasks_total status=pending" in lines[lines.index("shop") + 2]
    assert "  tallyship_exporter_source_up project=shop source=loki-mode" in lines[-1]


def test_single_project_without_a_label_is_loki_mode() -> None:
    """With no label `project` on the page, the numbers still have a heading."""
    lines = _lines("# TYPE loki_agents_active gauge\nloki_agents_active 4.0\n")

    assert lines[:3] == ["HEAD", "", "Loki Mode"]
    assert lines[3].split() == ["loki_agents_active", "4"]


def test_numbers_of_all_projects_end_in_one_column() -> None:
    """A reader compares numbers by their last digits."""
    lines = [line for line in _lines() if "loki_session_status" in line or "loki_cost_usd" in line]

    ends = {re.search(r"\S+(?=  |$)", line[46:]).end() for line in lines}  # type: ignore[union-attr]
    assert len(lines) == 3
    assert len(ends) == 1


def test_what_changed_is_marked_by_how_much() -> None:
    """A number that rose or fell has its difference beside it, a new series is called new, others nothing."""
    now = TEXT.replace("} 3.0", "} 5.0").replace("4.375", "4.25").replace('"pending"', '"pending"')
    before = TEXT.replace('loki_session_status{project="toys"} 2.0\n', "")
    lines = {" ".join(line.split()) for line in _lines(now, before)}

    assert "loki_tasks_total status=pending 5 +2" in lines
    assert "loki_cost_usd 4.25 -0.125" in lines
    assert "loki_session_status 2 new paused" in lines
    assert "loki_session_status 1 running" in lines


def test_nothing_is_marked_on_the_first_page() -> None:
    """Without a page before it, nothing has changed."""
    assert not [line for line in _lines() if " new" in line or "+" in line]


def test_what_stays_not_a_number_has_not_changed() -> None:
    """NaN differs from itself only in arithmetic."""
    text = "# TYPE loki_cost_usd gauge\nloki_cost_usd NaN\n"

    assert _lines(text, text)[3].split() == ["loki_cost_usd", "nan"]


def test_number_is_put_into_words_where_it_says_little() -> None:
    """Status, durations, sizes, moments: beside the number stands what it means."""
    text = (
        "loki_session_status 2\nloki_uptime_seconds 3900\n"
        f"loki_mode_last_event_timestamp_seconds {NOW_S - 12}\nprocess_resident_memory_bytes 36159488\n"
    )
    lines = [" ".join(line.split()) for line in _lines(text)]

    assert "loki_session_status 2 paused" in lines
    assert "loki_uptime_seconds 3900 1 h 05 min" in lines
    assert "loki_mode_last_event_timestamp_seconds 1794999988 12 s ago" in lines
    assert "process_resident_memory_bytes 36159488 34.5 MiB" in lines


def test_information_stands_where_its_meaningless_1_would() -> None:
    """The labels are the value of an info metric."""
    line = next(line for line in _lines() if "session_info" in line)

    assert line.split() == ["loki_mode_session_info", "phase=DEVELOPMENT"]


def test_buckets_are_left_out() -> None:
    """A histogram is its count and its sum to a person."""
    assert not [line for line in _lines() if "_bucket" in line]
    assert [line for line in _lines() if "seconds_count" in line]


@pytest.mark.parametrize("columns", [20, 40, 61, 80, 132])
@pytest.mark.parametrize("style", [COLOURS])
def test_no_line_is_wider_than_the_screen(columns: int, style: Any) -> None:
    """Names are cut, visibly; numbers never are."""
    text = TEXT.replace("pending", "p" * 90).replace("DEVELOPMENT", "\N{CJK UNIFIED IDEOGRAPH-4E16}" * 60)
    plain = [
        re.sub(r"\x1b\[[0-9;]*m", "", line) for line in _lines(text, "", size=(columns, 60), style=style)
    ]

    assert max(cells(line) for line in plain) <= columns
    assert any("~" in line for line in plain)
    assert any("4.375" in line for line in plain)


def test_what_does_not_fit_is_counted() -> None:
    """A low window shows as many lines as it has, the last of which says how many are missing."""
    lines = _lines(size=(100, 6))
    whole = _lines()

    assert len(lines) == 6
    assert lines[:5] == whole[:5]
    assert lines[5].startswith(f"... {len(whole) - 5} more lines")


def test_name_from_a_file_moves_no_cursor() -> None:
    """Control characters and marks that turn the writing around are made visible."""
    hostile = "\x1b[2Jevil\u202egnp\x07"
    lines = _lines(f'loki_agents_active{{project="{hostile}",a="{hostile}"}} 1\n', trouble=hostile)

    assert not [line for line in lines if any(not c.isprintable() for c in line)]
    assert "\\x1b[2Jevil\\u202egnp\\x07" in lines


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3.0, "3"),
        (4.375, "4.375"),
        (0.1 + 0.2, "0.3"),
        (1e300, "1e+300"),
        (float("inf"), "inf"),
        (-2.0, "-2"),
    ],
)
def test_number_is_as_short_as_it_can_be(value: float, said: str) -> None:
    """No `.0` behind what is whole, no digits that mean nothing."""
    assert number(value) == said


def test_cut_counts_cells_and_not_characters() -> None:
    """A wide character takes two cells, a combining one none."""
    assert clip("\N{CJK UNIFIED IDEOGRAPH-4E16}" * 4, 6) == "\N{CJK UNIFIED IDEOGRAPH-4E16}" * 2 + "~"
    assert clip("e\N{COMBINING ACUTE ACCENT}" * 3, 3) == "e\N{COMBINING ACUTE ACCENT}" * 3


def test_page_that_is_none_is_refused() -> None:
    """Some other server's HTML is no numbers."""
    with pytest.raises(NoPageError):
        parse_page("<!doctype html>\n<html>{")


def test_exporter_that_goes_away_leaves_its_last_numbers_and_says_so() -> None:
    """The numbers stay, marked as old; the next good page takes the mark away, and differences go on."""
    view = View()
    view.take(Page(TEXT), None, NOW_S)
    view.take(Page(failure="http://x: refused"), None, NOW_S + 2)

    assert view.trouble is not None
    assert view.trouble.startswith("numbers are of ")
    assert view.trouble.endswith("http://x: refused")
    assert len(view.now) == 8

    view.take(Page(TEXT.replace("} 3.0", "} 4.0")), None, NOW_S + 4)

    assert view.trouble is None
    assert view.before is not None
    assert len(view.before) == 8


def test_filter_that_matches_nothing_says_so() -> None:
    """An empty screen would look like an exporter without numbers."""
    view = View()
    view.take(Page(TEXT), "nonsense", NOW_S)

    assert view.trouble == "no metric has 'nonsense' in its name"


class _Exporter(http.server.BaseHTTPRequestHandler):
    """Answers every request with a page whose number of pending tasks rises."""

    requests = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        sample = f'loki_tasks_total{{status="pending"}} {self.requests}.0\n'
        page = f"# TYPE loki_tasks_total gauge\n{sample}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(name="port")
def _port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Exporter) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


class _Watched:
    """The command on a pseudo terminal of 90 columns and 12 rows."""

    def __init__(self, process: subprocess.Popen[bytes], master: int, slave: int) -> None:
        self.process = process
        self.master = master
        self.slave = slave
        self.output = b""

    def read_until(self, wanted: bytes, *, since: int = 0) -> None:
        deadline_s = time.monotonic() + 20
        while wanted not in self.output[since:]:
            ready, _, _ = select.select([self.master], [], [], max(0.0, deadline_s - time.monotonic()))
            assert ready, f"{wanted!r} is not in {self.output[since:]!r}"
            self.output += os.read(self.master, 65536)

    def end(self) -> int:
        """Return the exit code, with everything that was written read."""
        self.read_until(b"\x1b[?1049l")
        return self.process.wait(timeout=20)

    @property
    def modes(self) -> int:
        return int(termios.tcgetattr(self.slave)[3])


_WITH_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Becomes the command in a session of its own, whose terminal sends it Ctrl-C and changes of the window."""


@contextmanager
def _watched(port: int, *arguments: str, **environ: str) -> Iterator[_Watched]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 90, 0, 0))
    command = ["-m", "exporter", "metrics", "--port", str(port), "--watch", *arguments]
    process = subprocess.Popen(
        [sys.executable, "-c", _WITH_TERMINAL, *command],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**{k: v for k, v in os.environ.items() if k not in {"COLUMNS", "LINES", "NO_COLOR"}}, **environ},
    )
    try:
        yield _Watched(process, master, slave)
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


def test_terminal_is_restored_after_ctrl_c(port: int) -> None:
    """It draws on the alternate screen, marks what changed, and ends on Ctrl-C with 130, echo restored."""
    with _watched(port, "0.05", TERM="xterm-256color") as watched:
        before = watched.modes
        watched.read_until(b"+1")
        assert watched.output.startswith(b"\x1b[?1049h")
        assert b"\x1b[1;32m" in watched.output
        assert not watched.modes & termios.ECHO

        os.write(watched.master, b"\x03")

        assert watched.end() == 130
        assert watched.modes == before
        assert watched.output.endswith(b"\x1b[?7h\x1b[?25h\x1b[?1049l")


def test_q_ends_it_well(port: int) -> None:
    """The key q is an orderly end: exit code 0."""
    with _watched(port, "30", TERM="xterm") as watched:
        watched.read_until(b"loki_tasks_total")
        os.write(watched.master, b"q")

        assert watched.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_terminal_is_restored_when_somebody_ends_it(port: int, number: signal.Signals) -> None:
    """SIGTERM and SIGHUP leave no broken terminal behind; the code tells which it was."""
    with _watched(port, "30", TERM="xterm") as watched:
        before = watched.modes
        watched.read_until(b"loki_tasks_total")
        watched.process.send_signal(number)

        assert watched.end() == 128 + number
        assert watched.modes == before


def test_ctrl_z_gives_the_screen_back_and_fg_takes_it_again(port: int) -> None:
    """A stopped watch leaves the shell its screen and its echo."""
    with _watched(port, "30", TERM="xterm") as watched:
        before = watched.modes
        watched.read_until(b"loki_tasks_total")
        watched.process.send_signal(signal.SIGTSTP)
        watched.read_until(b"\x1b[?1049l")
        os.waitpid(watched.process.pid, os.WUNTRACED)
        assert watched.modes == before

        seen = len(watched.output)
        watched.process.send_signal(signal.SIGCONT)
        watched.read_until(b"loki_tasks_total", since=seen)

        assert b"\x1b[?1049h" in watched.output[seen:]
        watched.output = b""
        os.write(watched.master, b"q")
        assert watched.end() == 0


def test_frames_rewrite_lines_in_place(port: int) -> None:
    """Between two frames the screen is never cleared as a whole: that is what flickers."""
    with _watched(port, "0.05", TERM="xterm") as watched:
        watched.read_until(b"+1")
        begun = watched.output.partition(b"\x1b[2J")[2]

        assert b"\x1b[2J" not in begun
        assert begun.count(b"\x1b[H") >= 2
        assert b"\x1b[K" in begun


def test_window_that_changes_is_drawn_anew_at_once(port: int) -> None:
    """Nobody waits for the next page to see the window filled."""
    with _watched(port, "30", TERM="xterm") as watched:
        watched.read_until(b"loki_tasks_total")
        watched.read_until(b"\x1b[J")
        seen = len(watched.output)
        fcntl.ioctl(watched.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 20, 0, 0))

        watched.read_until(b"~", since=seen)


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}])
def test_colours_are_left_out_where_nobody_wants_them(port: int, environ: dict[str, str]) -> None:
    """NO_COLOR is kept; what changed still has its difference beside it."""
    with _watched(port, "0.05", **environ) as watched:
        watched.read_until(b"+1")

        assert not re.search(rb"\x1b\[[0-9;]*m", watched.output)


def test_nothing_is_drawn_when_nobody_answers() -> None:
    """A wrong port is one line and exit code 1, not an empty screen."""
    with _watched(1, "1", TERM="xterm") as watched:
        watched.read_until(b"is it running there?")

        assert watched.process.wait(timeout=20) == 1
        assert b"\x1b" not in watched.output


def test_pipe_gets_page_after_page_as_they_came(port: int) -> None:
    """No escape sequence, no layout: each page to the letter, at once; Ctrl-C ends it with 130, silently."""
    command = [sys.executable, "-m", "exporter", "metrics", "--port", str(port), "--watch", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(4)]
        process.send_signal(signal.SIGINT)
        process.stdout.read()

        assert lines[0] == lines[2] == b"# TYPE loki_tasks_total gauge\n"
        assert [re.sub(rb"\d+\.0", b"N", line) for line in lines[1::2]] == [
            b'loki_tasks_total{status="pending"} N\n'
        ] * 2
        assert process.stderr.read() == b""
        assert process.wait(timeout=20) == 130


class _Stop(Exception):  # noqa: N818 (ends an endless loop, is no error)
    pass


def test_pipe_goes_on_when_the_exporter_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Only pages go to stdout; each new reason is one line on stderr, and the return another."""
    came = [Page("a 1\n"), *[Page(failure="refused")] * 2, Page(failure="HTTP 500"), Page("a 2\n")]
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 5:
            raise _Stop

    pages = iter(came)
    with pytest.raises(_Stop):
        watch_pipe(lambda: next(pages), 3.0, None, sleep)

    assert waits == [3.0] * 5
    said = capsys.readouterr()
    assert said.out == "a 1\na 2\n"
    assert said.err == (
        "tallyship-exporter: refused; asking again every 3 s\n"
        "tallyship-exporter: HTTP 500; asking again every 3 s\n"
        "tallyship-exporter: the exporter answers again\n"
    )


def test_pipe_that_never_began_says_why() -> None:
    """Nobody there at the first time is a mistake in the command, not to be waited out."""
    assert watch_pipe(lambda: Page(failure="refused"), 3.0, None) == "refused"
