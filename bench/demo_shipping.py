"""The shipper's part of the demo: the process, what it pushes to, and what arrives there."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from children import Child, start
from listening import port_for

from exporter.commands.fetch import fetch_metrics

HOST = "127.0.0.1"
USUAL_PORT = 57375
LISTENS_WITHIN_S = 10.0
_SENT = "tallyship_shipper_entries_sent_total"
_CHECKOUT = Path(__file__).resolve().parent.parent
_GREETING = "receiver listens on "


@dataclass
class Shipping:
    """The shipper at work: its port, where it pushes to, its children, and what of the arrivals was shown."""

    port: int
    loki_url: str
    children: tuple[Child, ...]
    receiver: Child | None = None
    _shown_bytes: int = field(default=0, repr=False)

    def summary(self) -> str:
        """Return one line: how many lines Loki has acknowledged."""
        page = fetch_metrics(HOST, str(self.port), "/metrics")
        counts = [line.split()[-1] for line in page.text.splitlines() if line.startswith(_SENT)]
        sent = sum(float(count) for count in counts)
        where = "a receiver with Loki's rules" if self.receiver is not None else "Loki"
        return f"shipper: {sent:.0f} lines acknowledged by {where} at {self.loki_url}"

    def arrivals(self) -> list[str]:
        """Return what the receiver printed since the last time, without its greeting."""
        if self.receiver is None:
            return []
        text = self.receiver.log.read_bytes()[self._shown_bytes :]
        text = text[: text.rfind(b"\n") + 1]
        self._shown_bytes += len(text)
        lines = text.decode("utf-8", "replace").splitlines()
        return [line for line in lines if not line.startswith(_GREETING)]


class ReceiverError(Exception):
    """The receiver does not come up; the text says why."""


def start_shipping(stack: ExitStack, folder: Path, loki_dir: Path) -> Shipping:
    """Start the shipper, into `$LOKI_URL` if that is set, else into a receiver of our own."""
    loki_url = os.environ.get("LOKI_URL", "")
    receiver = None if loki_url else _start_receiver(stack, folder)
    if receiver is not None:
        loki_url = _url_of(receiver)
    port = port_for(HOST, USUAL_PORT)
    run = ["run", "--loki-url", loki_url, "--source", f"loki-mode={loki_dir}"]
    run += ["--state-dir", str(folder / "shipper-state"), "--batch-wait", "1s", "--environment", "demo"]
    run += ["--listen-address", f"{HOST}:{port}"]
    shipper = stack.enter_context(
        start("shipper", [sys.executable, "-m", "shipper", *run], folder, {"LLM_PROXY_LOKI_ENABLED": ""})
    )
    children = (shipper,) if receiver is None else (shipper, receiver)
    return Shipping(port, loki_url, children, receiver)


def _start_receiver(stack: ExitStack, folder: Path) -> Child:
    script = _CHECKOUT / "bench" / "receiver.py"
    return stack.enter_context(start("receiver", [sys.executable, str(script), "--port", "0"], folder, {}))


def _url_of(receiver: Child) -> str:
    """Return the address that the receiver prints once it listens; raises `ReceiverError`."""
    ends_s = time.monotonic() + LISTENS_WITHIN_S
    while time.monotonic() < ends_s and receiver.process.poll() is None:
        text = receiver.log.read_text("utf-8", "replace")
        if _GREETING in text and "\n" in text:
            return text.partition(_GREETING)[2].split()[0]
        time.sleep(0.05)
    raise ReceiverError(f"the receiver does not listen\n{receiver.last_words()}")
