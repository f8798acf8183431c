"""A headless Chromium that a test drives over its debugging pipe: no driver, no port, nothing from outside.

Chrome's DevTools protocol on a pipe is JSON messages ended by a zero byte, on descriptors 3 (to the browser)
and 4 (from it).
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

ANSWERS_WITHIN_S = 60.0
FLAGS = (
    "--headless",
    "--no-sandbox",  # the tests may run as root, where there is none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_BECOME = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Puts the pipes where the browser expects them, and becomes the browser. (A POSIX shell cannot: it need not
know descriptors above 9.)"""


def find() -> str | None:
    """Return the path of the browser, if there is one."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@dataclass
class Page:
    """One tab. `seen` holds the names and parameters of every event so far."""

    _to: BinaryIO
    _from: int
    _session: str = ""
    _next_id: int = 0
    _rest: bytes = b""
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call the browser and return its result; events that come meanwhile are kept."""
        self._next_id += 1
        request = {"id": self._next_id, "method": method, "params": params}
        if self._session:
            request["sessionId"] = self._session
        self._to.write(json.dumps(request).encode() + b"\0")
        self._to.flush()
        while True:
            answer = self._receive(method)
            if answer.get("id") == self._next_id:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])

    def open(self, url: str, *, width: int = 1280, dark: bool = False) -> None:
        """Go to the address and wait until it is loaded."""
        scheme = "dark" if dark else "light"
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.seen.clear()
        self.call("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")

    def wait_for(self, event: str) -> None:
        """Wait until an event of that name has come since the page was opened."""
        while not self.events(event):
            self._receive(f"waiting for {event}")

    def value(self, expression: str) -> Any:
        """Return what a JavaScript expression comes to in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the parameters of the events of that name since the page was opened."""
        return [params for event, params in self.seen if event == name]

    def screenshot(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _attach(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _receive(self, waiting_for: str) -> dict[str, Any]:
        deadline_s = time.monotonic() + ANSWERS_WITHIN_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline_s - time.monotonic()))
            assert ready, f"the browser says nothing: {waiting_for}"
            piece = os.read(self._from, 1 << 20)
            assert piece, f"the browser is gone: {waiting_for}"
            self._rest += piece
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.seen.append((message["method"], message["params"]))
        return message


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Page]:
    """Run the browser with a new, empty profile, and end it afterwards."""
    from_us, to_browser = os.pipe()
    from_browser, to_us = os.pipe()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _BECOME,
            f"{from_us}",
            f"{to_us}",
            program,
            *FLAGS,
            f"--user-data-dir={profile}",
        ],
        pass_fds=(from_us, to_us),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile)},
    )
    os.close(from_us)
    os.close(to_us)
    try:
        with os.fdopen(to_browser, "wb") as to:
            page = Page(to, from_browser)
            page._attach()  # noqa: SLF001 (this function is the other half of the class)
            yield page
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(from_browser)
