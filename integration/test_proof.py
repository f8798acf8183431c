"""`verify`, `cat` and `replay` on a real Loki: every planted gap is found, no other, and it can be mended."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import http.server
import json
import pathlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from integration.containers import Loki
from shipper.keeping import positions

SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS
LIMITS = {"ingestion_rate_mb": 100, "ingestion_burst_size_mb": 200, "per_stream_rate_limit": "100MB"}
TOKEN = "sk-ant-api03-" + "Ab1" * 31 + "AA"

pytestmark = pytest.mark.timeout(400)


@dataclass
class Thief:
    """A gateway that swallows some lines, and answers as Loki does."""

    loki: Loki
    steals: Callable[[str], bool] = lambda _line: False
    stolen: set[tuple[str, str]] = field(default_factory=set)
    """Stamp and text; a push can come twice."""
    url: str = ""

    def push(self, body: bytes) -> tuple[int, bytes]:
        """Pass a push on without what is stolen."""
        (stream,) = json.loads(body)["streams"]
        taken = [value for value in stream["values"] if self.steals(value[1])]
        self.stolen.update((value[0], value[1]) for value in taken)
        stream["values"] = [value for value in stream["values"] if value not in taken]
        if not stream["values"]:
            return 204, b""
        answer = requests.post(self.loki.push_url, json={"streams": [stream]}, timeout=30)
        return answer.status_code, answer.content


@pytest.fixture
def thief_of() -> Iterator[Callable[[Loki], Thief]]:
    """Return a function that starts a thief before a Loki."""
    with contextlib.ExitStack() as stack:

        def start(loki: Loki) -> Thief:
            thief = Thief(loki)
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(thief))
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            stack.callback(thread.join, 5)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            thief.url = f"http://127.0.0.1:{server.server_address[1]}"
            return thief

        yield start


def _handler(thief: Thief) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            self._answer(*thief.push(body))

        def do_GET(self) -> None:
            """Let other requests through as they are."""
            parts = urlsplit(thief.loki.url)
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
            connection.request("GET", self.path, headers=dict(self.headers))
            answer = connection.getresponse()
            self._answer(answer.status, answer.read())
            connection.close()

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if status == 204 else body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

    return Handler


@dataclass
class Host:
    """A host whose files are shipped and compared."""

    root: pathlib.Path
    url: str = ""

    def run(self, command: str, *more: str, sources: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run one of the shipper's commands."""
        argv = [sys.executable, "-m", "shipper", command, "--loki-url", self.url]
        argv += ["--state-dir", str(self.root / "state"), "--environment", "proof", "--machine", "u@h"]
        if sources:
            argv += ["--source", f"loki-mode={self.root}/*/.loki"]
            argv += ["--source", f"jsonl={self.root}/agents/*.jsonl"]
            argv += ["--source", f"llm-proxy={self.root}/proxy"]
        return subprocess.run([*argv, *more], capture_output=True, check=False, timeout=300)

    def ship(self) -> None:
        """Ship everything there is."""
        done = self.run("run", "--once", "--listen-address", "", "--max-stream-rate", "0")
        assert done.returncode == 0, done.stderr.decode()[-3000:]

    def verify(self, *more: str) -> tuple[int, dict[str, Any]]:
        """Return the exit code and what was found."""
        done = self.run("verify", "--json", *more)
        assert done.stdout, done.stderr.decode()[-3000:]
        return done.returncode, json.loads(done.stdout)

    def write(self, name: str, lines: list[str]) -> None:
        """Append lines to a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)


def at(ago_s: float) -> str:
    """Return the time some seconds ago."""
    then = datetime.fromtimestamp(time.time() - ago_s, UTC)
    return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event(number: int, ago_s: float) -> str:
    """Return a line of Loki Mode."""
    kind = ("iteration_start", "iteration_complete", "phase_change")[number % 3]
    return json.dumps({"timestamp": at(ago_s), "type": kind, "data": {"n": f"<{number}>"}})


def flush(loki: Loki) -> None:
    """Make everything visible."""
    assert requests.post(f"{loki.url}/flush", timeout=60).status_code in (200, 204)


def let_go(loki: Loki) -> None:
    """Wait until the ingester holds no backfill stream: half a minute after it was flushed it lets go."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        now_ns = time.time_ns()
        words = {"start": str(now_ns - 60 * SECOND_NS), "end": str(now_ns)}
        answer = requests.get(f"{loki.url}/loki/api/v1/label/backfill/values", params=words, timeout=30)
        if not answer.json().get("data"):
            return
        time.sleep(2)
    raise AssertionError("the ingester still holds backfill streams")


def a_days_files(host: Host) -> None:
    """Write what a day leaves: equal lines, old ones, ones without a time, large ones, secrets."""
    for project in range(3):
        lines = [event(n + project * 10_000, 9000 - n) for n in range(3000)]
        equal = json.dumps({"timestamp": at(100), "type": "session_pause", "data": "equal"})
        host.write(f"project-{project}/.loki/events.jsonl", [*lines, *[equal] * 7])
    host.write("agents/a.jsonl", [json.dumps({"timestamp": at(50), "n": f"<a{n}>"}) for n in range(500)])
    host.write("agents/c.jsonl", [*(json.dumps({"n": f"<c{n}>"}) for n in range(50)), *["tick"] * 5])
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    host.write(
        f"proxy/api.anthropic.com/{day}/session.jsonl",
        [
            json.dumps(
                {
                    "type": "request",
                    "_meta": {"ts": at(200 - n), "machine": "u@h", "session": "s"},
                    "headers": {"x-api-key": TOKEN},
                    "body": f"<p{n}>" + "é" * (150_000 if n % 10 == 0 else 10),
                },
                ensure_ascii=False,
            )
            for n in range(100)
        ],
    )


def lines_of_the_night(host: Host) -> None:
    """Write a file three to six hours behind the others of its stream: its lines go to `backfill`."""
    lines = [json.dumps({"timestamp": at(6 * 3600 - n * 20), "n": f"<b{n}>"}) for n in range(500)]
    host.write("agents/b.jsonl", lines)


def hours_pass(host: Host) -> None:
    """Let the positions look as if nothing had been sent for three hours."""
    state = host.root / "state"
    found = positions.load(state).positions
    for record in found.files:
        record.counts["acked_at_s"] -= 3 * 3600
    positions.save(state, positions.encode(found))


def test_every_planted_gap_is_found_and_no_other_and_repair_mends_them(
    loki: Callable[..., Loki], thief_of: Callable[[Loki], Thief], tmp_path: pathlib.Path
) -> None:
    """Some of ten thousand lines are swallowed on the way; `verify` names these, `--repair` sends them."""
    server = loki(limits=LIMITS)
    thief = thief_of(server)
    host = Host(tmp_path, thief.url)
    chance = random.Random(11)  # noqa: S311 - test data
    swallowed = {f"<{chance.randrange(30_000)}>" for _ in range(30)}
    swallowed |= {
        "<0>",
        "<2999>",
        "<a0>",
        "<a499>",
        "<b0>",
        "<b7>",
        "<b499>",
        "<c0>",
        "<c20>",
        "<p3>",
        "<p20>",
    }
    ticks = iter(range(100))
    pauses = iter(range(100))

    def steals(line: str) -> bool:
        if line == "tick":
            return next(ticks) == 2
        if "session_pause" in line:
            return next(pauses) % 7 == 3
        return any(f'"{name}"' in line or f'"{name}é' in line for name in swallowed)

    thief.steals = steals
    a_days_files(host)
    host.ship()
    lines_of_the_night(host)
    host.ship()
    thief.steals = lambda _line: False
    flush(server)
    time.sleep(1)

    early = host.verify()[1]
    assert {gap["line"] for gap in early["gaps"]} <= {line[:100] for _, line in thief.stolen}
    assert early["missing"] + early["unseen"] == len(thief.stolen)
    hours_pass(host)
    let_go(server)

    code, found = host.verify()

    assert sorted(gap["line"] for gap in found["gaps"]) == sorted(line[:100] for _, line in thief.stolen)
    assert len(thief.stolen) > 15
    assert code == 1
    for gap in found["gaps"]:
        with pathlib.Path(gap["file"]).open("rb") as file:
            file.seek(gap["offset"])
            assert file.readline().decode().rstrip()[:12] == gap["line"][:12]
    assert found["backfilled"] > 300
    assert found["restamped"] == 52
    assert found["not_on_disk"] == []
    print({name: number for name, number in found.items() if isinstance(number, int)})

    code, _ = host.verify("--repair")
    assert code == 0
    flush(server)
    time.sleep(1)
    code, found = host.verify()
    assert (code, found["gaps"]) == (0, [])


def test_what_loki_does_not_show_yet_is_no_gap_and_is_not_repaired(
    loki: Callable[..., Loki], tmp_path: pathlib.Path
) -> None:
    """Lines of five hours ago, pushed just now: Loki has them, and shows them once they are flushed."""
    server = loki(limits=LIMITS)
    host = Host(tmp_path, server.url)
    host.write("agents/a.jsonl", [json.dumps({"timestamp": at(5 * 3600), "n": n}) for n in range(300)])
    host.write("agents/a.jsonl", [json.dumps({"timestamp": at(10), "n": n}) for n in range(300)])
    host.ship()

    code, found = host.verify("--repair")
    assert (code, found["unseen"], found["there"], found["gaps"]) == (0, 300, 300, [])

    flush(server)
    time.sleep(1)
    code, found = host.verify()
    assert (code, found["unseen"], found["there"]) == (0, 0, 600)


def test_a_repair_of_lines_that_are_not_shown_yet_is_not_repeated(
    loki: Callable[..., Loki], thief_of: Callable[[Loki], Thief], tmp_path: pathlib.Path
) -> None:
    """Lines ahead of the clock, long, old and of now in one file; a gap is mended once, no other is named."""
    server = loki(limits=LIMITS)
    thief = thief_of(server)
    host = Host(tmp_path, thief.url)
    long = "x" * 600_000
    lines = [{"timestamp": at(-3600), "n": "<ahead>"}, {"n": "<no time>"}]
    lines += [{"timestamp": at(600 - n), "n": f"<{n}>"} for n in range(40)]
    lines += [{"timestamp": at(5 * 3600 - n), "n": f"<old {n}>"} for n in range(5)]
    lines += [{"timestamp": at(age_s), "n": long} for age_s in (5 * 3600 - 10, 30 * 86400, 29 * 86400, 100)]
    host.write("agents/a.jsonl", [json.dumps(line) for line in lines])
    names = ("<ahead>", "<no time>", "<7>", "<old 2>")
    thief.steals = lambda line: any(name in line for name in names)
    host.ship()
    thief.steals = lambda _line: False

    code, found = host.verify("--since", "40d", "--repair")
    assert (code, found["missing"], found["unseen"]) == (0, 3, 8)
    assert {gap["repaired"] for gap in found["gaps"]} == {True}
    for _ in range(2):
        code, found = host.verify("--since", "40d", "--repair")
        assert (code, found["gaps"], found["unseen"]) == (0, [], 8)

    flush(server)
    let_go(server)
    hours_pass(host)
    (tmp_path / "state" / "resent.jsonl").unlink()
    code, found = host.verify("--since", "40d")
    assert ["<old 2>" in gap["line"] for gap in found["gaps"]] == [True]


def test_cat_puts_a_line_together_byte_for_byte(loki: Callable[..., Loki], tmp_path: pathlib.Path) -> None:
    """Parts of 256 KiB in two streams, some of them twice; and the parts that are missing are named."""
    server = loki(limits=LIMITS)
    host = Host(tmp_path, server.url)
    text = "".join(random.Random(3).choices('aé€😀\u2028\\"\t', k=3_000_000))  # noqa: S311 - test data
    pieces = [text[n : n + 60_000] for n in range(0, len(text), 60_000)]
    now_ns = time.time_ns() - 60 * SECOND_NS

    def push(line_id: str, stream: dict[str, str], numbers: list[int]) -> None:
        for n in numbers:
            meta = {"line_id": line_id, "part": str(n + 1), "parts": str(len(pieces))}
            value = [str(now_ns + n * 1000), pieces[n], meta]
            body = {"streams": [{"stream": {"app": "jsonl", **stream}, "values": [value]}]}
            answer = requests.post(server.push_url, json=body, timeout=30)
            assert answer.status_code == 204, answer.text

    push("ab" * 8, {}, list(range(30)))
    push("ab" * 8, {"backfill": "2026-11-21T05"}, list(range(20, len(pieces))))
    push("cd" * 8, {}, [n for n in range(len(pieces)) if n not in (4, 10, 11)])

    whole = host.run("cat", "--line-id", "ab" * 8)
    assert (whole.returncode, whole.stderr) == (0, b"")
    assert whole.stdout == text.encode()

    holed = host.run("cat", "--line-id", "cd" * 8)
    assert (holed.returncode, holed.stdout) == (1, b"")
    assert f"parts missing: 5, 11-12 of {len(pieces)}" in holed.stderr.decode()

    none = host.run("cat", "--line-id", "ef" * 8)
    assert (none.returncode, none.stdout) == (1, b"")


def peak_rss_kib(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process to end; return its high-water mark.

    That of `wait4` begins with what this process has, which the child is for a moment.
    """
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(OSError, StopIteration, IndexError):
            lines = pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
            peak = int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
        time.sleep(0.01)
    return peak


def test_a_line_of_20_mb_among_1000_arrives_whole_in_300_mb_of_memory(
    loki: Callable[..., Loki], tmp_path: pathlib.Path
) -> None:
    """All arrive, the large one is equal after `cat`, and the process never has more than 300 MB."""
    server = loki(limits=LIMITS)
    host = Host(tmp_path, server.url)
    chance = random.Random(5)  # noqa: S311 - test data
    large = json.dumps(
        {"timestamp": at(30), "text": "".join(chance.choices("abcé😀", k=12_000_000))}, ensure_ascii=False
    )
    assert len(large.encode()) > 20_000_000
    lines = [json.dumps({"timestamp": at(60 - n * 0.01), "n": f"<{n}>"}) for n in range(1000)]
    host.write("agents/a.jsonl", [*lines[:500], large, *lines[500:]])
    argv = [
        sys.executable,
        "-m",
        "shipper",
        "run",
        "--once",
        "--listen-address",
        "",
        "--loki-url",
        server.url,
    ]
    argv += ["--state-dir", str(tmp_path / "state"), "--environment", "proof", "--machine", "u@h"]
    argv += ["--source", f"jsonl={tmp_path}/agents/*.jsonl"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
        peak_kib = peak_rss_kib(process)
    assert process.returncode == 0, (tmp_path / "log").read_text()[-3000:]
    print(f"{peak_kib / 1024:.0f} MiB")

    code, found = host.verify()
    assert (code, found["missing"], found["dead"]) == (0, 0, 0)
    now_ns = time.time_ns()
    (stream,) = server.query('{app="jsonl"} | part="1"', start_ns=now_ns - HOUR_NS, end_ns=now_ns, limit=10)
    line_id = stream["stream"]["line_id"]
    whole = host.run("cat", "--line-id", line_id)
    assert whole.returncode == 0, whole.stderr
    assert hashlib.sha256(whole.stdout).digest() == hashlib.sha256(large.encode()).digest()
    assert peak_kib * 1024 <= 300_000_000


def test_dead_letters_arrive_once_their_cause_is_mended(
    loki: Callable[..., Loki], thief_of: Callable[[Loki], Thief], tmp_path: pathlib.Path
) -> None:
    """A gateway refused some lines with a 400; once it takes them `replay` sends them, `verify` agrees."""
    server = loki(limits=LIMITS)
    thief = thief_of(server)
    host = Host(tmp_path, thief.url)
    host.write("agents/a.jsonl", [json.dumps({"timestamp": at(60 - n), "n": f"<{n}>"}) for n in range(50)])
    passed = thief.push
    thief.push = lambda body: (400, b"no sevens") if b"7>" in body else passed(body)  # type: ignore[method-assign]
    host.ship()
    code, found = host.verify()
    assert (code, found["dead"], found["there"]) == (0, 5, 45)

    assert host.run("replay").returncode == 1
    dry = host.run("replay", "--dry-run")
    assert (dry.returncode, b"5  would be sent" in dry.stdout) == (0, True)
    thief.push = passed  # type: ignore[method-assign]
    done = host.run("replay")

    assert (done.returncode, (tmp_path / "state" / "dead-letters.jsonl").read_bytes()) == (0, b"")
    code, found = host.verify()
    assert (code, found["dead"], found["there"]) == (0, 0, 50)


def test_a_loki_that_cannot_be_asked_is_no_gap(loki: Callable[..., Loki], tmp_path: pathlib.Path) -> None:
    """Exit code 3, and nothing is called missing; without positions, 2."""
    server = loki(limits=LIMITS)
    host = Host(tmp_path, server.url)
    assert host.run("verify").returncode == 2
    host.write("agents/a.jsonl", [json.dumps({"timestamp": at(1), "n": 1})])
    host.ship()
    server.stop(grace_s=0)

    done = host.run("verify")

    assert (done.returncode, done.stdout) == (3, b"")
    assert b"not compared" in done.stderr
