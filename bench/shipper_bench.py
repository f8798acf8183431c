"""Measures the shipper against the floor: read, split, decode, JSON body, igzip, and nothing else.

python bench/shipper_bench.py [--quick] [PART]; `floor FILE` and `fill` are what it runs itself in children.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import orjson
from measured import Run, cpu_s, rss_bytes, run, written_bytes
from peers import PEERS
from peers import measure as measure_peer

LINES = 1_000_000
LINE_BYTES = 245
LONG_LINE_BYTES = 100_000
LINES_A_SECOND = 1_000
CALM_LOOKS = 6
ROUNDS = 5
HERE = Path(__file__).resolve().parent
KINDS = ("iteration_start", "iteration_complete", "phase_change", "council_vote", "code_review_start")
MIB = 1 << 20
PROSE = " ".join(
    random.Random(7).choices(
        [
            f"{a}{b}"
            for a in ("re", "un", "de", "ex", "over", "")
            for b in (
                "fine",
                "view",
                "tract",
                "press",
                "code",
                "fact",
                "plan",
                "path",
                "test",
                "form",
                "line",
                "read",
                "time",
            )
        ],
        k=4000,
    )
)


def measure(*, quick: bool) -> None:
    """Print each figure beside its target."""
    lines = LINES // 10 if quick else LINES
    with tempfile.TemporaryDirectory(prefix="tallyship-bench-") as name:
        folder = Path(name)
        _one_file(folder, lines, LINE_BYTES, "≤ 3, as near to 2 as can be")
        _one_file(folder, lines // 500, LONG_LINE_BYTES, "≤ 1.6")
        _latency(folder, 40 if quick else 160)
        _idle(folder, 1_000 if quick else 10_000, 12 if quick else 30)


def _one_file(folder: Path, lines: int, line_bytes: int, target: str) -> None:
    path = folder / "project" / ".loki" / "events.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_events(path, lines, line_bytes)
    script = str(Path(__file__).resolve())
    rounds: list[tuple[Run, Run, Run]] = []
    with sink() as url:
        source = f"loki-mode={path.parent}"
        for number in range(ROUNDS):
            state = folder / f"state-{line_bytes}-{number}"
            rounds.append(
                (
                    run([sys.executable, script, "floor", str(path)]),
                    run(_once(url, source, state, "--no-redact")),
                    run(_once(url, source, state.with_suffix(".masked"))),
                )
            )
    # Of several rounds the one in the middle: a machine's speed changes between two seconds.
    ratios = [shipped.cost.cpu_s / floor.cost.cpu_s for floor, shipped, _masked in rounds]
    ratio = median(ratios)
    floor, shipped, masked = rounds[ratios.index(ratio)]
    print(f"{lines:,} lines of {line_bytes:,} bytes in one file, a receiver that answers 204 at once")
    _row("floor", floor, lines)
    _row("shipper", shipped, lines)
    _row("masking", masked, lines)
    each = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
    print(f"  ratio to the floor: {ratio:.2f} (of {each}; target {target}); RSS target 60 MB")
    extra = median(masked.cost.cpu_s / shipped.cost.cpu_s - 1 for _floor, shipped, masked in rounds)
    print(f"  masking of secrets: {extra:+.0%} (target ≤ 25 %)")
    for peer in PEERS:
        if program := peer.program():
            with sink() as url:
                other = measure_peer(peer, program, path, url, folder / f"{peer.name}-{line_bytes}")
            _row(peer.name, other, lines)
            print(f"    {other.cost.cpu_s / floor.cost.cpu_s:.1f} x the floor")
    path.unlink()


def _row(name: str, measured: Run, lines: int) -> None:
    cost = measured.cost
    print(
        f"  {name:8} {cost.cpu_s:6.2f} CPU-s ({cost.cpu_s / lines * 1e6:7.2f} µs a line), "
        f"{cost.wall_s:6.2f} s, {measured.max_rss_bytes / 1e6:5.0f} MB"
    )


def _once(url: str, source: str, state: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "shipper", "run", "--once", "--loki-url", url, "--source", source]
    return [*command, "--state-dir", str(state), "--listen-address", "", "--max-stream-rate", "0", *more]


def _latency(folder: Path, mib: int) -> None:
    """Eight streams of 1 kB lines, a receiver that takes 200 ms for each push."""
    for number in range(8):
        path = folder / "eight" / f"p{number}" / ".loki" / "events.jsonl"
        path.parent.mkdir(parents=True)
        write_events(path, mib * MIB // 8 // 1000, 1000, kinds=KINDS[:1])
    with sink("--latency-ms", "200") as url:
        source = f"loki-mode={folder}/eight/*/.loki"
        shipped = run(_once(url, source, folder / "state-eight", "--batch-bytes", "1MiB"))
    rate = mib * MIB / 1e6 / shipped.cost.wall_s
    print(f"{mib} MiB in eight streams, 200 ms an answer: {rate:.1f} MB/s (target ≥ 10)")


def _idle(folder: Path, files: int, seconds: float) -> None:
    """Thousands of settled files that nobody writes to: as they were first read, and after a restart."""
    day = folder / "proxy" / "api.anthropic.com" / "2026-11-20"
    day.mkdir(parents=True)
    for number in range(files):
        (day / f"s{number}.jsonl").write_text(_session_start(number))
    with sink() as url:
        command = _once(url, f"llm-proxy={folder}/proxy", folder / "state-idle")
        command.remove("--once")
        for name in ("idle files", "after a restart"):
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
                _wait_until_calm(process.pid)
                used, rss = _calm(process.pid, seconds)
                print(
                    f"{files:,} {name}: {used:.2%} of a core (target < 1 %), "
                    f"RSS {rss / 1e6:.0f} MB (target ≤ 80 MB)"
                )
                if name == "after a restart":
                    _one_line_a_second(process.pid, day / "s7.jsonl", int(seconds))
                process.terminate()


def _calm(pid: int, seconds: float) -> tuple[float, int]:
    """Return what part of a core a process takes while nothing happens, and its memory."""
    before_s = cpu_s(pid)
    time.sleep(seconds)
    return (cpu_s(pid) - before_s) / seconds, rss_bytes(pid)


def _one_line_a_second(pid: int, path: Path, seconds: int) -> None:
    cpu_before_s, written = cpu_s(pid), written_bytes(pid)
    for _ in range(seconds):
        with path.open("a") as file:
            file.write(_session_start(7))
        time.sleep(1)
    used = (cpu_s(pid) - cpu_before_s) / seconds
    rate = (written_bytes(pid) - written) / seconds
    print(
        f"  one line a second into one of them: {used:.2%} of a core, {rate / 1e6:.2f} MB/s written, "
        f"RSS {rss_bytes(pid) / 1e6:.0f} MB"
    )


def _session_start(number: int) -> str:
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    meta = {"session": f"s{number}", "ts": now}
    return json.dumps({"_meta": meta, "type": "session_start", "provider": "anthropic"}) + "\n"


def _wait_until_calm(pid: int) -> None:
    """Wait until hardly anything was done for so long that the last save is over as well."""
    last, calm = cpu_s(pid), 0
    for _ in range(120):
        time.sleep(2)
        now = cpu_s(pid)
        calm = calm + 1 if now - last < 0.15 else 0
        if calm == CALM_LOOKS:
            return
        last = now


def write_events(path: Path, lines: int, line_bytes: int, kinds: tuple[str, ...] = KINDS) -> None:
    """Write events of the given length, a thousand to the second, the last of them now."""
    chance = random.Random(line_bytes)
    began_s = int(time.time()) - lines // LINES_A_SECOND - 1
    with path.open("wb") as file:
        for index in range(lines):
            at = datetime.fromtimestamp(began_s + index // LINES_A_SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            event = {
                "timestamp": at,
                "type": kinds[index % len(kinds)],
                "data": {"iteration": index // 100, "provider": "claude", "status": "completed", "note": ""},
            }
            bare = len(orjson.dumps(event)) + 1
            event["data"]["note"] = _note(chance, line_bytes - bare)  # type: ignore[index]
            file.write(orjson.dumps(event) + b"\n")


def _note(chance: random.Random, length: int) -> str:
    """Return text that compresses about as agents' prose does.

    About five to one with the rest of the line.
    """
    start = chance.randrange(len(PROSE) - 200)
    words = PROSE[start : start + 150]
    return (words + chance.randbytes(8).hex() + words * (length // 150 + 1))[:length]


def floor(path: Path) -> None:
    """Do the least that any shipper must: no times, no positions, no sending."""
    from isal import igzip  # noqa: PLC0415 - the children that fill and sink need it not

    lines: list[str] = []
    rest = b""
    stamp = time.time_ns()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(MIB):
            *whole, rest = (rest + piece).split(b"\n")
            lines += [line.decode() for line in whole]
            while len(lines) >= 1000:
                _floor_body(lines[:1000], stamp, igzip.compress)
                del lines[:1000]
    if lines:
        _floor_body(lines, stamp, igzip.compress)


def _floor_body(lines: list[str], stamp: int, compress: object) -> None:
    text = str(stamp)
    body = orjson.dumps(
        {"streams": [{"stream": {"job": "floor"}, "values": [(text, line) for line in lines]}]}
    )
    compress(body, 1)  # type: ignore[operator]


@contextmanager
def sink(*more: str) -> Iterator[str]:
    """Run a receiver that answers 204 to everything, in a process of its own; yield its address."""
    command = [sys.executable, str(HERE / "receiver.py"), "--sink", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            found = re.search(rb"http://\S+", process.stdout.readline())
            if found is None:
                raise ChildProcessError("the receiver does not say where it listens")
            yield found[0].decode()
        finally:
            process.terminate()


def main() -> None:
    """Measure, or be one of the children."""
    if sys.argv[1:2] == ["floor"]:
        floor(Path(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description="Measure the shipper.")
    parser.add_argument("--quick", action="store_true")
    measure(quick=parser.parse_args().quick)


if __name__ == "__main__":
    main()
