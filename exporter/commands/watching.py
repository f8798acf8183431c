"""What `metrics --watch` does: fetches again and again, in place on a terminal, page after page in a pipe."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from exporter.commands.fetch import Page, only
from exporter.commands.terminal import Terminal, Woken
from exporter.commands.watch import (
    COLOURS,
    PLAIN,
    Key,
    NoPageError,
    Sample,
    Style,
    clock_time,
    frame,
    parse_page,
)
from exporter.logs import printable


@dataclass(slots=True)
class View:
    """What is on the screen: the last page that came and the one before it; what went wrong since.

    `answered_s`: Unix seconds of the last good page.
    """

    now: Mapping[Key, Sample] = field(default_factory=dict)
    before: Mapping[Key, Sample] | None = None
    answered_s: float | None = None
    trouble: str | None = None

    def take(self, page: Page, name_filter: str | None, now_s: float) -> None:
        """Enter what was fetched; a failure leaves the last numbers, said to be old."""
        failure = page.failure
        if failure is None:
            try:
                samples = parse_page(only(page.text, name_filter))
            except NoPageError as error:
                failure = str(error)
            else:
                self.before = self.now if self.answered_s is not None else None
                self.now, self.answered_s, self.trouble = samples, now_s, None
                if name_filter and not samples:
                    self.trouble = f"no metric has {name_filter!r} in its name"
        if failure is not None:
            old = "" if self.answered_s is None else f"numbers are of {clock_time(self.answered_s)}: "
            self.trouble = f"{old}{failure}"


def watch_terminal(fetch: Callable[[], Page], every_s: float, name_filter: str | None) -> str | None:
    """Show the page in place until q or Ctrl-C (KeyboardInterrupt); return why it never began, if so.

    Once it has begun, an exporter that goes away is waited for.
    """
    view = View()
    view.take(fetch(), name_filter, time.time())
    if view.answered_s is None:
        return view.trouble
    style = PLAIN if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else COLOURS
    with Terminal() as terminal:
        while True:
            next_s = time.monotonic() + every_s
            while True:
                terminal.draw(_screen(view, every_s, terminal.size, style))
                woken = terminal.wait(next_s - time.monotonic())
                if woken is Woken.QUIT:
                    return None
                if woken is Woken.TIME:
                    break
            view.take(fetch(), name_filter, time.time())


def watch_pipe(
    fetch: Callable[[], Page],
    every_s: float,
    name_filter: str | None,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """Write page after page, as they come, to stdout, for ever; return why it never began, if so.

    Once it has begun, an exporter that goes away is waited for, as on a terminal. Each new reason is one line
    on stderr, and so is the return: in between, what reads the pipe hears nothing.
    """
    first = fetch()
    if first.failure is not None:
        return first.failure
    page = first
    trouble: str | None = None
    while True:
        failure: str | None = page.failure
        if failure is None:
            if trouble is not None:
                _tell("the exporter answers again")
            sys.stdout.write(only(page.text, name_filter))
            sys.stdout.flush()
        elif failure != trouble:
            _tell(f"{failure}; asking again every {every_s:g} s")
        trouble = failure
        sleep(every_s)
        page = fetch()


def _tell(line: str) -> None:
    sys.stderr.write(f"tallyship-exporter: {printable(line)}\n")
    sys.stderr.flush()


def _screen(view: View, every_s: float, size: tuple[int, int], style: Style) -> list[str]:
    now_s = time.time()
    header = f"tallyship-exporter metrics, every {every_s:g} s, {clock_time(now_s)}; q or Ctrl-C ends"
    return frame(
        view.now, view.before, header=header, trouble=view.trouble, size=size, now_s=now_s, style=style
    )
