"""Starts child processes that end with the script that started them, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STOPS_WITHIN_S = 10.0
_PR_SET_PDEATHSIG = 1
_LAST_WORDS_BYTES = 2_000


@dataclass(frozen=True)
class Child:
    """A running process and the file that takes what it prints."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def last_words(self) -> str:
        """Return the end of what it printed."""
        return self.log.read_bytes()[-_LAST_WORDS_BYTES:].decode("utf-8", "replace")


@contextmanager
def start(name: str, argv: Sequence[str], folder: Path, environ: Mapping[str, str]) -> Iterator[Child]:
    """Run a program as a child, stop it by SIGTERM at the end; what it prints goes to a file in `folder`.

    It gets a process group of its own, so that a Ctrl-C in the terminal reaches the parent alone, which then
    stops its children in order. If the parent is killed, the kernel sends the child SIGTERM.
    """
    log = folder / f"{name.replace(' ', '-')}.log"
    parent = os.getpid()
    library = ctypes.CDLL(None)  # looked up before the fork: nothing may be loaded after it

    def bind_to_parent() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=bind_to_parent,  # noqa: PLW1509 (this process has one thread)
        )
    try:
        yield Child(name, process, log)
    finally:
        process.terminate()
        try:
            process.wait(STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
