"""Shows both processes at work on a moving sample session: metrics, and lines that arrive, until Ctrl-C.

`make demo` calls it. The shipper pushes to `$LOKI_URL`, else to a receiver of our own.
`DEMO_SECONDS=20` ends it by itself. Everything it makes lies in `.demo/` of the checkout and is gone
afterwards; its processes end with it, even when it is killed. Exits 0, or 1 with the reason.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from children import Child, start
from demo_shipping import ReceiverError, Shipping, start_shipping
from listening import port_for

from exporter.commands.fetch import fetch_metrics

HOST = "127.0.0.1"
USUAL_PORT = 57374
CHECKOUT = Path(__file__).resolve().parent.parent
REFRESH_S = 2.0
LINE_EVERY_S = 3.0
ARRIVALS_SHOWN = 6
APPEARS_WITHIN_S = 20.0
ITERATION_LIMIT = "100"
_ESSENTIAL = "loki_session_status 1.0"
_IN_A_LINE = {
    "loki_iteration_current": "iteration",
    "loki_agents_active": "active agents",
    'loki_tasks_total{status="completed"}': "tasks done",
    "loki_cost_usd": "USD",
    "loki_events_total": "events",
}


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


@dataclass(frozen=True)
class Show:
    """What the demo has to show: the address, the children behind it, and since when (monotonic seconds)."""

    port: int
    children: tuple[Child, ...]
    shipping: Shipping
    stop: threading.Event = field(default_factory=threading.Event)
    began_s: float = field(default_factory=time.monotonic)

    @property
    def url(self) -> str:
        """Where the metrics are."""
        return f"http://{HOST}:{self.port}/metrics"


def main() -> int:
    """Run the demo and return its exit code."""
    try:
        seconds = _seconds(os.environ.get("DEMO_SECONDS", ""))
    except ValueError as error:
        return _fail(str(error), 2)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(_folder())
            show = _start(stack, folder, stop)
            _wait_for_metrics(show)
            present = _on_terminal if sys.stdout.isatty() else _in_pipe
            present(show, None if seconds is None else show.began_s + seconds)
    except DemoError as error:
        return _fail(str(error), 1)
    except BrokenPipeError:  # whoever read along has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    print("demo ended; its processes and files are gone", flush=True)
    return 0


def _start(stack: ExitStack, folder: Path, stop: threading.Event) -> Show:
    loki_dir = folder / "sample" / ".loki"
    loki_dir.mkdir(parents=True)
    port = port_for(HOST, USUAL_PORT)
    if port != USUAL_PORT:
        print(f"port {USUAL_PORT} is taken, so the exporter listens on {port}", flush=True)
    python = sys.executable
    generator = CHECKOUT / "bench" / "sample_session.py"
    serve = ["serve", "--loki-dir", str(loki_dir), "--web.listen-address", f"{HOST}:{port}"]
    serve += ["--web.telemetry-path", "/metrics"]
    exporter = stack.enter_context(
        start("exporter", [python, "-m", "exporter", *serve], folder, {"LOKI_METRICS_ENABLED": "true"})
    )
    try:
        shipping = start_shipping(stack, folder, loki_dir)
    except ReceiverError as error:
        raise DemoError(str(error)) from error
    # The session ends first and in order, as long as somebody can see it.
    session = stack.enter_context(
        start(
            "sample session",
            [python, str(generator), str(loki_dir)],
            folder,
            {"LOKI_MAX_ITERATIONS": ITERATION_LIMIT},
        )
    )
    return Show(port, (exporter, session, *shipping.children), shipping, stop)


def _wait_for_metrics(show: Show) -> None:
    """Return when the exporter shows the session as running; raises `DemoError` when it does not."""
    reason = "it answers, but shows no running session"
    while time.monotonic() < show.began_s + APPEARS_WITHIN_S:
        _check(show)
        page = fetch_metrics(HOST, str(show.port), "/metrics")
        if _ESSENTIAL in page.text.splitlines():
            return
        reason = page.failure or reason
        if show.stop.wait(0.2):
            return
    raise DemoError(f"no metrics within {APPEARS_WITHIN_S:.0f} s: {reason}\n{show.children[0].last_words()}")


def _on_terminal(show: Show, ends_s: float | None) -> None:
    """Show the metrics in place, anew every two seconds."""
    print("\x1b[2J", end="")
    recent: list[str] = []
    while _goes_on(show, ends_s):
        lines = _samples(show)
        size = shutil.get_terminal_size()
        recent = [*recent, *show.shipping.arrivals()][-ARRIVALS_SHOWN:]
        room = max(5, size.lines - 6 - len(recent))
        if len(lines) > room:
            lines = [*lines[:room], f"... and {len(lines) - room} more"]
        shown = "\n".join(
            line[: size.columns - 1]
            for line in [_title(show), "", *lines, "", show.shipping.summary(), *recent]
        )
        print(f"\x1b[H\x1b[J{shown}", flush=True)
        _rest(show, ends_s, REFRESH_S)
    print()


def _in_pipe(show: Show, ends_s: float | None) -> None:
    """Print all metrics at the beginning and at the end, and one line every few seconds in between."""
    print("\n".join([_title(show), *_samples(show), ""]), flush=True)
    _rest(show, ends_s, LINE_EVERY_S)
    while _goes_on(show, ends_s):
        values = dict(line.rsplit(" ", 1) for line in _samples(show))
        known = [f"{name} {values[metric]}" for metric, name in _IN_A_LINE.items() if metric in values]
        print(f"after {_elapsed_s(show):3.0f} s: {', '.join(known)}", flush=True)
        print("\n".join([show.shipping.summary(), *show.shipping.arrivals()]), flush=True)
        _rest(show, ends_s, LINE_EVERY_S)
    if not show.stop.is_set():
        print("\n".join(["", f"at the end, after {_elapsed_s(show):.0f} s:", *_samples(show)]), flush=True)


def _samples(show: Show) -> list[str]:
    """Return the lines of `loki_*`, without the buckets of histograms, whole numbers without `.0`."""
    page = fetch_metrics(HOST, str(show.port), "/metrics")
    if page.failure is not None:
        _check(show)
        raise DemoError(f"the metrics are gone: {page.failure}")
    samples = [line for line in page.text.splitlines() if line.startswith("loki_") and "_bucket{" not in line]
    return [line.removesuffix(".0") for line in samples]


def _title(show: Show) -> str:
    return f"exporter at {show.url} (running for {_elapsed_s(show):.0f} s; Ctrl-C ends)"


def _elapsed_s(show: Show) -> float:
    return time.monotonic() - show.began_s


def _rest(show: Show, ends_s: float | None, rest_s: float) -> None:
    left_s = rest_s if ends_s is None else min(rest_s, ends_s - time.monotonic())
    show.stop.wait(max(0.0, left_s))


def _goes_on(show: Show, ends_s: float | None) -> bool:
    _check(show)
    return not show.stop.is_set() and (ends_s is None or time.monotonic() < ends_s)


def _check(show: Show) -> None:
    """Raise `DemoError` when a child has died."""
    for child in show.children:
        code = child.process.poll()
        if code is not None and not show.stop.is_set():
            raise DemoError(f"the {child.name} ended with exit code {code}\n{child.last_words()}")


@contextmanager
def _folder() -> Iterator[Path]:
    """Make a folder in `.demo/` and remove it, and `.demo/` as well unless another demo is in it."""
    above = CHECKOUT / ".demo"
    try:
        above.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=above))
    except OSError as error:
        raise DemoError(f"cannot write into {above}: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not any(above.iterdir()):
            above.rmdir()


def _seconds(text: str) -> float | None:
    """Return DEMO_SECONDS, None when it is not set; raises `ValueError` for what is no time."""
    if not text.strip():
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise ValueError(f"DEMO_SECONDS is {text!r}, but must be a number of seconds above 0")
    return seconds


def _fail(reason: str, code: int) -> int:
    print(f"demo: {reason.rstrip()}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
