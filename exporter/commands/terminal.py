"""A terminal that a program draws on and gives back as it was: on its end, on Ctrl-C, on Ctrl-Z, on SIGTERM.

It draws on the alternate screen, so what stood there before comes back, and rewrites lines in place, each
frame in one write, so nothing flickers.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import sys
import termios
from collections.abc import Sequence
from enum import Enum
from types import FrameType, TracebackType
from typing import Any, Self

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
"""Alternate screen, no cursor, no wrapping of lines that are too long, and clear."""
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_FRAME_BEGINS, _FRAME_ENDS = "\x1b[?2026h", "\x1b[?2026l"
"""Terminals that know it show the frame at once; others pass over it."""
_QUIT_KEYS = frozenset(b"qQ")


class Woken(Enum):
    """Why a wait ended."""

    TIME = "time"
    RESIZED = "resized"
    QUIT = "quit"


class Terminal:
    """The terminal at stdout, with the keyboard at stdin if that is one; a context manager.

    Main thread only (signals). SIGTERM ends the program with 143 after the screen is restored.
    """

    def __init__(self) -> None:
        self._out = sys.stdout.fileno()
        self._keyboard: int | None = (
            sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
        )
        self._saved: list[Any] | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self._wake_r, self._wake_w = socket.socketpair()

    def __enter__(self) -> Self:
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        signal.set_wakeup_fd(self._wake_w.fileno(), warn_on_full_buffer=False)
        for number, handler in (
            (signal.SIGWINCH, _pass_over),
            (signal.SIGTERM, _end),
            (signal.SIGHUP, _end),
            (signal.SIGTSTP, self._suspend),
        ):
            self._handlers[number] = signal.signal(number, handler)
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        self._wake_r.close()
        self._wake_w.close()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows, as they are now."""
        size = shutil.get_terminal_size()
        return size.columns, size.lines

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, from the top, and nothing else."""
        text = "\x1b[K\r\n".join(lines)
        self._write(f"{_FRAME_BEGINS}\x1b[H{text}\x1b[K\x1b[J{_FRAME_ENDS}")

    def wait(self, seconds: float) -> Woken:
        """Wait for the time to pass, the window to change, or a key that ends (q, or the end of input)."""
        wake = self._wake_r.fileno()
        sources = [wake, *([self._keyboard] if self._keyboard is not None else [])]
        ready, _, _ = select.select(sources, [], [], max(0.0, seconds))
        if self._keyboard is not None and self._keyboard in ready:
            keys = os.read(self._keyboard, 64)
            if not keys:
                self._keyboard = None  # closed: time and signals go on
            elif _QUIT_KEYS.intersection(keys):
                return Woken.QUIT
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                self._wake_r.recv(64)
        return Woken.RESIZED if ready else Woken.TIME

    def _take(self) -> None:
        if self._keyboard is not None:
            self._saved = termios.tcgetattr(self._keyboard)
            changed = termios.tcgetattr(self._keyboard)
            changed[3] &= ~(termios.ECHO | termios.ICANON)  # Ctrl-C and Ctrl-Z keep their meaning
            termios.tcsetattr(self._keyboard, termios.TCSADRAIN, changed)
        self._write(_ENTER)

    def _give_back(self) -> None:
        with contextlib.suppress(OSError):  # the window is closed: there is nothing to restore
            self._write(_LEAVE)
        if self._keyboard is not None and self._saved is not None:
            with contextlib.suppress(termios.error):
                # What was typed meanwhile was not meant for the shell.
                termios.tcsetattr(self._keyboard, termios.TCSAFLUSH, self._saved)

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        """Stop as Ctrl-Z asks, with the screen as the shell left it; go on when brought back."""
        self._give_back()
        signal.raise_signal(signal.SIGSTOP)
        self._take()

    def _write(self, text: str) -> None:
        data = text.encode(sys.stdout.encoding or "utf-8", "replace")
        while data:
            data = data[os.write(self._out, data) :]


def _pass_over(_number: int, _frame: FrameType | None) -> None:
    """Let the signal do nothing but end a wait."""


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
