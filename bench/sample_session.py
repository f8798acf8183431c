"""Writes a moving, real-looking Loki Mode session into a `.loki/` directory, until SIGTERM or for a time.

    python bench/sample_session.py DIR [--seconds N] [--speed N] [--seed N]

The files appear in the order and in the ways of the real writers (see `session_story`): a reader meets
what it meets in life, files empty for a moment, a state that is no JSON until the next turn, agents that come
and go. `loki.pid` holds this process's own pid. A clean end appends `session_end` and removes `loki.pid`.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import session_story as story
from session_story import Step, Write


def main() -> None:
    """Play the session given by the arguments."""
    arguments = _arguments()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    root: Path = arguments.directory
    root.mkdir(parents=True, exist_ok=True)
    path = str(root.resolve().parent)
    session = story.begin(os.getpid(), arguments.project, path, time.time())
    ends_s = time.time() + arguments.seconds if arguments.seconds else None
    steps = story.play(session, Random(arguments.seed), speed=arguments.speed)
    for step in steps:
        if not _wait_until(step.at_s, ends_s, stop, time.time):
            break
        apply(root, step)
    apply(root, story.end(session, time.time(), "stop_requested" if stop.is_set() else None))


def apply(root: Path, step: Step) -> None:
    """Write what the step says."""
    for write in step.writes:
        _WAYS[write.way](root / write.path, write)


def _wait_until(at_s: float, ends_s: float | None, stop: threading.Event, clock: Callable[[], float]) -> bool:
    """Wait for the moment; return whether the session goes on then."""
    until_s = at_s if ends_s is None else min(at_s, ends_s)
    stop.wait(max(0.0, until_s - clock()))
    return not stop.is_set() and until_s == at_s


def _append(path: Path, write: Write) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(write.text)


def _in_place(path: Path, write: Write) -> None:
    """Truncate, then write: in between a reader finds the file empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(write.text, encoding="utf-8")


def _rename(path: Path, write: Write) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(write.text, encoding="utf-8")
    temporary.replace(path)


def _remove(path: Path, _write: Write) -> None:
    path.unlink(missing_ok=True)


_WAYS: dict[story.Way, Callable[[Path, Write], None]] = {
    "append": _append,
    "in place": _in_place,
    "rename": _rename,
    "remove": _remove,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write a moving sample session of Loki Mode.")
    parser.add_argument("directory", type=Path, metavar="DIR", help="the .loki directory, made if missing")
    parser.add_argument("--seconds", type=float, metavar="N", help="end after so many [until SIGTERM]")
    parser.add_argument("--speed", type=float, default=1.0, metavar="N", help="times faster than life [1]")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what happens [1]")
    parser.add_argument("--project", default="demo", metavar="NAME", help="the project's name [demo]")
    arguments = parser.parse_args()
    if arguments.speed <= 0:
        parser.error("--speed must be more than 0")
    return arguments


if __name__ == "__main__":
    main()
