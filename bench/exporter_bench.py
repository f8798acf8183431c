"""Measures the exporter: what a scrape takes, a first reading, and memory, each beside its target.

The machine is never quiet, so what is compared is measured in turns, round by round, and the medians of the
rounds are compared. The floor is the same web server with an empty registry.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median

import session_story
from children import Child, start
from event_lines import LINE_BYTES, MIX, event_lines, write_history
from listening import port_for
from measured import Cost, Run, Scraper, mean_cost, rss_bytes, run
from sample_session import apply
from session_files import Iteration, Usage, efficiency

HOST = "127.0.0.1"
BENCH = Path(__file__).resolve().parent
ROUNDS = 15
SCRAPES_A_ROUND = 20
GROWTHS_A_ROUND = 4
NEW_LINES = 1_000
FEW_RECORDS, MANY_RECORDS = 100, 5_000
READY_WITHIN_S = 120.0
_MS, _MB = 1e-3, 1e6


@dataclass(frozen=True)
class Case:
    """A project to be scraped: its size, its process, and what its scrapes took, a `Cost` a round."""

    name: str
    lines: int
    records: int
    child: Child
    scraper: Scraper
    events: Path | None
    unchanged: list[Cost] = field(default_factory=list)
    grown: list[Cost] = field(default_factory=list)


def measure(*, quick: bool) -> None:
    """Print all figures; `quick` leaves the longest history out."""
    sizes = [10_000, 1_000_000] if quick else [10_000, 1_000_000, 10_000_000]
    needed_bytes = int(sum(sizes) * LINE_BYTES * 1.1) + 200_000_000
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        free_bytes = shutil.disk_usage(folder).free
        if free_bytes < needed_bytes:
            print(
                f"exporter: needs {needed_bytes / 1e9:.1f} GB in {folder}, {free_bytes / 1e9:.1f} GB are free"
            )
            return
        print(f"exporter: lines of {LINE_BYTES} bytes; {MIX}")
        cases = [_floor(stack, folder)]
        cases += [_case(stack, folder, lines, FEW_RECORDS) for lines in sizes]
        cases.append(_case(stack, folder, sizes[0], MANY_RECORDS))
        idle_rss_bytes = rss_bytes(cases[1].child.process.pid)
        first_reading = _measure_first_reading(folder / "1000000-100" / ".loki", 3 if quick else 5)
        stat_cost_s = _measure_scrapes(cases)
        _report_scrapes(cases)
        _report_records(cases, stat_cost_s)
        _report_memory(cases, idle_rss_bytes)
        _report_first_reading(first_reading)


def _measure_scrapes(cases: Sequence[Case]) -> float:
    """Scrape in turns; return what a bare stat of the many records takes, in seconds, measured between."""
    records = next(case for case in cases if case.records == MANY_RECORDS)
    assert records.events is not None  # noqa: S101 (for the type checker)
    stats = []
    for case in cases:
        case.scraper.cost(3)
    for _ in range(ROUNDS):
        for case in cases:
            case.unchanged.append(case.scraper.cost(SCRAPES_A_ROUND))
        stats.append(_stat_all(records.events.parent / "metrics" / "efficiency"))
    new = b"".join(event_lines(NEW_LINES))
    for _ in range(ROUNDS):
        for case in cases:
            if case.events is not None:
                case.grown.append(mean_cost([_grown(case, case.events, new) for _ in range(GROWTHS_A_ROUND)]))
    return median(stats)


def _grown(case: Case, events: Path, new: bytes) -> Cost:
    """Return what the scrape takes that comes after new lines."""
    with events.open("ab", buffering=0) as file:
        file.write(new)
    return case.scraper.cost(1)


def _report_scrapes(cases: Sequence[Case]) -> None:
    floor = _cpu_ms(cases[0].unchanged)
    base = _cpu_ms(cases[1].unchanged)
    longest = max(cases, key=lambda case: case.lines)
    print(f"\n{'one scrape, median of ' + str(ROUNDS) + ' rounds':46} {'CPU':>9} {'wall':>9} {'x floor':>8}")
    for case in cases:
        _scrape_line(case.name, case.unchanged, floor)
        if case.grown:
            _scrape_line(f"  with {NEW_LINES:,} new lines", case.grown, floor)
    most = _cpu_ms(longest.unchanged)
    what = f"unchanged, {longest.lines:,} lines"
    _target(f"{what}: CPU above the floor", most - floor, 2.0, "ms")
    _target(f"{what}: times the CPU with {cases[1].lines:,}", most / base, 1.1, "x")


def _report_records(cases: Sequence[Case], stat_s: float) -> None:
    many = next(case for case in cases if case.records == MANY_RECORDS)
    reading_ms = _cpu_ms(many.unchanged) - _cpu_ms(cases[1].unchanged)
    print(f"\nbare stat of {MANY_RECORDS:,} records by dir_fd: {stat_s / _MS:.2f} ms")
    what = f"{MANY_RECORDS:,} unchanged records, above {FEW_RECORDS}"
    _target(what, reading_ms, 15.0, "ms")
    # The target was set where a bare stat of them takes 7 ms.
    _target(f"{what}: times a bare stat", reading_ms * _MS / stat_s, 15 / 7, "x")


def _report_memory(cases: Sequence[Case], idle_rss_bytes: int) -> None:
    longest = max(cases, key=lambda case: case.lines)
    after = rss_bytes(longest.child.process.pid) / _MB
    print(f"\nresident after {longest.lines:,} lines and all scrapes: {after:.1f} MB")
    _target("resident when idle, small project", idle_rss_bytes / _MB, 45.0, "MB")


def _measure_first_reading(loki_dir: Path, times: int) -> dict[str, list[Run]]:
    """Read a million lines for the first time, in turns with what does a part of it; runs by what ran."""
    events = str(loki_dir / "events.jsonl")
    program = [sys.executable, "-m", "exporter", "print"]
    programs = {
        _PRINT: [*program, "--loki-dir", str(loki_dir)],
        "start of the program alone (print --help)": [*program, "--help"],
        "reading and counting newlines alone": [sys.executable, "-c", _COUNT, events],
        "msgspec, two fields of each line": [sys.executable, "-c", _TWO_FIELDS, events],
    }
    runs: dict[str, list[Run]] = {name: [] for name in programs}
    for _ in range(times):
        for name, argv in programs.items():
            runs[name].append(run(argv))
    return runs


def _report_first_reading(runs: dict[str, list[Run]]) -> None:
    cpu_s = {name: median(one.cost.cpu_s for one in its) for name, its in runs.items()}
    print(f"\nfirst reading of 1,000,000 lines, median of {len(runs[_PRINT])}")
    for name, its_s in cpu_s.items():
        print(f"  {name:44} {its_s:6.2f} CPU-s, {its_s / cpu_s[_PRINT]:4.0%} of print")
    _target("CPU of print", cpu_s[_PRINT], 1.0, "s")
    _target("largest resident set of print", max(one.max_rss_bytes for one in runs[_PRINT]) / _MB, 60.0, "MB")


_PRINT = "print, everything counted"

_COUNT = """
import sys
with open(sys.argv[1], "rb", buffering=0) as file:
    print(sum(block.count(b"\\n") for block in iter(lambda: file.read(1 << 18), b"")))
"""

_TWO_FIELDS = """
import sys, msgspec
class Record(msgspec.Struct, gc=False):
    type: str
    timestamp: str
decode = msgspec.json.Decoder(Record).decode
with open(sys.argv[1], "rb") as file:
    for line in file:
        decode(line)
"""


def _scrape_line(name: str, costs: Sequence[Cost], floor_ms: float) -> None:
    cpu, wall = _cpu_ms(costs), median(cost.wall_s for cost in costs) / _MS
    print(f"{name:46} {cpu:6.2f} ms {wall:6.2f} ms {cpu / floor_ms:7.1f}x")


def _target(what: str, value: float, limit: float, unit: str) -> None:
    verdict = "ok" if value <= limit else "MISSED"
    print(f"  {what}: {value:.2f} {unit} (target {limit:.3g} {unit}) {verdict}")


def _cpu_ms(costs: Sequence[Cost]) -> float:
    return median(cost.cpu_s for cost in costs) / _MS


def _stat_all(folder: Path) -> float:
    """Return the CPU seconds of a bare stat of each file in a folder."""
    names = os.listdir(folder)  # noqa: PTH208 (names, as the exporter has them)
    fd = os.open(folder, os.O_RDONLY)
    began_s = time.process_time()
    for name in names:
        os.stat(name, dir_fd=fd, follow_symlinks=False)
    took_s = time.process_time() - began_s
    os.close(fd)
    return took_s


def _floor(stack: ExitStack, folder: Path) -> Case:
    port = port_for(HOST, 0)
    argv = [sys.executable, str(BENCH / "floor_server.py"), str(port)]
    child = stack.enter_context(start("floor", argv, folder, {}))
    scraper = stack.enter_context(Scraper(child.process.pid, port))
    _wait(child, scraper)
    return Case("floor: the same server, empty registry", 0, 0, child, scraper, None)


def _case(stack: ExitStack, folder: Path, lines: int, records: int) -> Case:
    """Make a project, start an exporter on it and wait until it has read everything."""
    loki_dir = folder / f"{lines}-{records}" / ".loki"
    _make_project(loki_dir, records)
    write_history(loki_dir / "events.jsonl", lines)
    port = port_for(HOST, 0)
    argv = [sys.executable, "-m", "exporter", "serve", "--loki-dir", str(loki_dir), "--cache-seconds", "0"]
    argv += ["--web.listen-address", f"{HOST}:{port}", "--web.telemetry-path", "/metrics"]
    child = stack.enter_context(start(f"exporter {lines} {records}", argv, folder, {}))
    scraper = stack.enter_context(Scraper(child.process.pid, port))
    _wait(child, scraper)
    events = loki_dir / "events.jsonl"
    return Case(f"{lines:,} lines, {records:,} records, unchanged", lines, records, child, scraper, events)


def _make_project(loki_dir: Path, records: int) -> None:
    """Write a session as it stands after `FEW_RECORDS` iterations, then so many records."""
    session = session_story.begin(os.getpid(), "bench", str(loki_dir.parent), time.time() - 3600)
    for step in session_story.play(session, Random(1), torn_ratio=0.0):
        apply(loki_dir, step)
        if len(session.history) >= FEW_RECORDS:
            break
    folder = loki_dir / "metrics" / "efficiency"
    shutil.rmtree(folder)
    folder.mkdir()
    for number in range(1, records + 1):
        usage = Usage(20_000 + number, 9_000, 80_000, 20_000)
        record = efficiency(session, Iteration(number, "completed", session.now_s, 10.0, usage))
        (folder / f"iteration-{number}.json").write_text(record)


def _wait(child: Child, scraper: Scraper) -> None:
    """Wait until the server answers and no history is left to read."""
    deadline_s = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline_s:
        if child.process.poll() is not None:
            raise ChildProcessError(f"{child.name} ended: {child.last_words()}")
        try:
            page = scraper.page()
        except OSError:
            scraper.close()
            time.sleep(0.05)
            continue
        unread = [line for line in page.splitlines() if line.startswith("tallyship_exporter_unread_bytes")]
        if all(line.endswith(" 0.0") for line in unread):
            return
        time.sleep(0.1)
    raise TimeoutError(f"{child.name} was not ready within {READY_WITHIN_S:.0f} s")
