"""Measures masking: ordinary event lines, bodies in which secrets are frequent, streams, and hostile lines.

python bench/redact_bench.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import shipper_bench

from shipper.follow.framing import Framed, frame
from shipper.redact.own import Own
from shipper.redact.redactor import Redactor

CHUNK_BYTES = 256 * 1024
TARGET_CPU_S = 0.75
"""A quarter of the 3.0 CPU-s that the whole pipeline took for the million lines before there was masking."""


def measure(*, quick: bool) -> None:
    """Print each figure beside its target."""
    lines = shipper_bench.LINES // 10 if quick else shipper_bench.LINES
    with tempfile.TemporaryDirectory(prefix="tallyship-bench-") as name:
        path = Path(name) / "events.jsonl"
        shipper_bench.write_events(path, lines, shipper_bench.LINE_BYTES)
        print(f"masking {lines:,} event lines of {shipper_bench.LINE_BYTES} bytes, in chunks of 256 KiB")
        share = lines / shipper_bench.LINES
        spent_s, hits = _spent(path, Redactor())
        print(
            f"  built-in rules     {spent_s:6.2f} CPU-s, {hits} masked (target ≤ {TARGET_CPU_S * share:.2f})"
        )
        spent_s, hits = _spent(
            path, Redactor([Own("ticket", r"TICKET-[0-9]{6}"), Own("staff", r"staff-id=(\w+)")])
        )
        print(f"  and two own rules  {spent_s:6.2f} CPU-s, {hits} masked")
    count = 40 if quick else 200
    print(f"masking {count} request bodies of about 200 kB")
    for secrets in (0, 1, 20):
        bodies = list(_bodies(count, secrets))
        spent_s, found = _cpu_s(bodies)
        rate = sum(map(len, bodies)) / 1e6 / spent_s
        print(f"  {secrets:3} secrets in each  {spent_s:6.2f} CPU-s ({rate:6.0f} MB/s), {found} masked")

    _streams(count)
    _hostile(4 if quick else 64)


def _streams(count: int) -> None:
    chance = random.Random(3)
    lines = [_stream(chance) for _ in range(count)]
    spent_s, hits = _cpu_s(lines)
    rate = sum(map(len, lines)) / 1e6 / spent_s
    print(f"masking {count} streamed answers, a few letters an event")
    print(f"  without a secret   {spent_s:6.2f} CPU-s ({rate:6.0f} MB/s), {hits} masked")


def _hostile(mib: int) -> None:
    print(f"masking one line of {mib} MiB that is packed with what secrets begin with")
    for unit in (b'"password":"', b'\\"x-api-key\\":[\\"', b" sk-ant-a7aaaaaaaaaaaaaaaaaaaaaaaaa"):
        spent_s, _ = _cpu_s([b'{"body":"' + unit * ((mib << 20) // len(unit)) + b'"}'])
        print(f"  {unit[:20].decode():18} {spent_s:6.2f} CPU-s")


def _cpu_s(lines: list[bytes]) -> tuple[float, int]:
    redactor = Redactor()
    began_s = time.process_time()
    hits = sum(len(redactor.lines([line]).hits) for line in lines)
    return time.process_time() - began_s, hits


def _spent(path: Path, redactor: Redactor) -> tuple[float, int]:
    spent_s, hits = 0.0, 0
    for framed in _chunks(path):
        piece = framed.lines.piece
        began_s = time.process_time()
        hits += len(redactor.block(piece, framed.lines).hits)
        spent_s += time.process_time() - began_s
    return spent_s, hits


def _chunks(path: Path) -> Iterator[Framed]:
    with path.open("rb") as file:
        offset = 0
        while piece := file.read(CHUNK_BYTES):
            framed = frame(piece, offset)
            offset = framed.end
            file.seek(offset)
            yield framed


def _bodies(count: int, secrets: int) -> Iterator[bytes]:
    chance = random.Random(secrets)
    for _ in range(count):
        turns = [_turn(chance) for _ in range(140)]
        turns += [f"the key is sk-ant-api03-{chance.randbytes(47).hex()}, use it" for _ in range(secrets)]
        chance.shuffle(turns)
        body = {
            "model": "claude-sonnet-4-5",
            "messages": [{"role": "user", "content": turn} for turn in turns],
        }
        record = {"type": "request", "headers": {"X-Api-Key": ["sk-ant-...q2AA"]}, "body": json.dumps(body)}
        yield json.dumps(record).encode()


def _stream(chance: random.Random) -> bytes:
    start = chance.randrange(len(shipper_bench.PROSE) - 1300)
    text = shipper_bench.PROSE[start : start + 1200] * 2
    events = [
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": text[at : at + 5]},
        }
        for at in range(0, len(text), 5)
    ]
    raws = [
        raw for event in events for raw in (f"event: {event['type']}\n", f"data: {json.dumps(event)}\n", "\n")
    ]
    chunks = [{"ts": "2026-11-21T00:43:46.67Z", "delta_ms": 42, "raw": raw} for raw in raws]
    return json.dumps({"chunks": chunks, "type": "response"}, separators=(",", ":")).encode()


def _turn(chance: random.Random) -> str:
    start = chance.randrange(len(shipper_bench.PROSE) - 1300)
    return f'{shipper_bench.PROSE[start : start + 1200]}\n"{chance.randbytes(16).hex()}"'


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure masking.")
    parser.add_argument("--quick", action="store_true")
    measure(quick=parser.parse_args().quick)
