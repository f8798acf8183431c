"""The landing page in a real browser: it shows a hostile project's name, runs nothing, and fits a phone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.chromium import Page, browser, find

HOSTILE = "<script>alert(1)</script>"
LONG = "a-project-with-one-very-long-name-that-has-to-break-somewhere-on-a-small-screen"
STARTS_WITHIN_S = 15.0


@pytest.fixture(scope="module", name="url")
def _url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run `tallyship-exporter serve` on two projects, one of which has a script for a name."""
    root = tmp_path_factory.mktemp("projects")
    for folder, name in (("evil", HOSTILE), ("long", LONG)):
        _write_project(root / folder / ".loki", name)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "exporter", "serve", "--loki-dir", f"{root}/*/.loki"]
    process = subprocess.Popen(
        [*command, "--web.listen-address", f"127.0.0.1:{port}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Run one headless browser for all tests here; conftest.py says what happens where there is none."""
    program = find()
    assert program is not None
    with browser(program, tmp_path_factory.mktemp("profile")) as page:
        yield page


def test_hostile_name_is_shown_and_not_run(chromium: Page, url: str) -> None:
    """A project called `<script>alert(1)</script>` is a heading that says so: no script, no dialog."""
    chromium.open(url)

    assert chromium.value("[...document.querySelectorAll('h2')].map(h => h.textContent)") == [HOSTILE, LONG]
    assert chromium.value("document.scripts.length") == 0
    assert chromium.events("Page.javascriptDialogOpening") == []


def test_policy_would_stop_a_script_that_came_through(chromium: Page, url: str) -> None:
    """Were the escaping ever forgotten, the policy still refuses to run what is in the page.

    The script is put in as markup, where the browser itself would run it: an image's `onerror`.
    """
    chromium.open(url)
    chromium.value("document.querySelector('h2').innerHTML = '<img src=x onerror=\"window.ran = 1\">', 0")
    chromium.wait_for("Log.entryAdded")

    refusals = [event["entry"]["text"] for event in chromium.events("Log.entryAdded")]
    assert chromium.value("window.ran") is None
    assert any("Content Security Policy" in text for text in refusals)


def test_page_asks_for_nothing_but_itself(chromium: Page, url: str) -> None:
    """One request, and no complaint of the browser: the policy's hash is that of the style it carries."""
    chromium.open(url)

    assert [event["request"]["url"] for event in chromium.events("Network.requestWillBeSent")] == [url]
    assert chromium.events("Log.entryAdded") == []
    assert chromium.value("getComputedStyle(document.querySelector('main')).display") == "grid"


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_page_fits_the_screen(chromium: Page, url: str, width: int) -> None:
    """On a phone as on a desktop nothing sticks out of the page or of its card, and the text is not small."""
    chromium.open(url, width=width)

    assert chromium.value("document.documentElement.scrollWidth") <= width
    sticks_out = (
        "[...document.querySelectorAll('article *')].filter(e => e.getBoundingClientRect().right >"
        " e.closest('article').getBoundingClientRect().right).map(e => e.outerHTML)"
    )
    assert chromium.value(sticks_out) == []
    sizes = "[...document.querySelectorAll('body *')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    assert min(chromium.value(sizes)) >= 12


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_in_light_and_dark(chromium: Page, url: str, *, dark: bool) -> None:
    """The page follows the reader's choice, and every text stands out from its ground: 4.5 to 1 (WCAG AA)."""
    chromium.open(url, dark=dark)
    contrasts = chromium.value(CONTRASTS)

    assert (chromium.value(LIGHTNESS) < 0.5) is dark
    assert len(contrasts) > 20
    assert {text: ratio for text, ratio in contrasts if ratio < 4.5} == {}


LUMINANCE = """
const rgb = text => text.match(/[0-9.]+/g).map(Number);
const luminance = text => rgb(text).slice(0, 3).map(c => c / 255)
  .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const ground = e => rgb(getComputedStyle(e).backgroundColor)[3] === 0 ? ground(e.parentElement)
  : getComputedStyle(e).backgroundColor;
"""
LIGHTNESS = f"(() => {{ {LUMINANCE} return luminance(ground(document.body)); }})()"
CONTRASTS = f"""(() => {{ {LUMINANCE}
return [...document.querySelectorAll('body *')]
  .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
  .map(e => {{
    const pair = [luminance(getComputedStyle(e).color), luminance(ground(e))].sort((a, b) => b - a);
    return [e.textContent, (pair[0] + 0.05) / (pair[1] + 0.05)];
  }}); }})()"""


def _write_project(root: Path, name: str) -> None:
    """Write a project whose session runs: this test's own process is its runner."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    files = {
        "dashboard-state.json": {
            "timestamp": stamp,
            "mode": "autonomous",
            "phase": "DEVELOPMENT",
            "provider": "claude",
            "version": "5.46.0",
            "project": {"name": name},
            "tasks": {"pending": [1, 2], "inProgress": [1], "completed": [1] * 12, "failed": [1]},
        },
        "metrics/efficiency/iteration-1.json": {"iteration": 1, "model": "opus", "cost_usd": 4.38},
        "metrics/budget.json": {"limit": 5.0, "budget_limit": 5.0, "budget_used": 4.2, "exceeded": True},
    }
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(json.dumps(content), "utf-8")
    (root / "loki.pid").write_text(f"{os.getpid()}\n", "utf-8")
    event = {"timestamp": stamp, "type": "iteration_start", "data": {"iteration": 7}}
    (root / "events.jsonl").write_text(json.dumps(event) + "\n", "utf-8")


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline_s:
        assert process.poll() is None, f"the exporter ended with {process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the exporter does not answer")
