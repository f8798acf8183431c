"""Every odd case of llm-proxy's fixtures, fed in pieces, arrives as its expectation says."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from receiver import Model, Rules
from shipper_world import START_S, World

from shipper.sources.base import Source
from shipper.sources.coo_llm import CooLlm
from shipper.sources.llm_proxy import LlmProxy
from shipper.state import Options

ODD = pathlib.Path(__file__).parent.parent / "fixtures" / "llm-proxy" / "odd"
PIECES = (1, 7, 4096)
# The fixtures' times are fixed; this clock stands a day after them.
NOW_S = 1_795_253_000.0


def proxy(logs: pathlib.Path) -> list[Source]:
    """Return the source."""
    return [LlmProxy(str(logs), "test", "u@h")]


@pytest.fixture
def proxy_world(world: Callable[..., World]) -> World:
    """Return a world whose clock fits the fixtures."""
    made = world(sources=proxy, options=Options(batch_wait_s=0.5))
    made.clock.elapsed_s = NOW_S - START_S
    made.model.rules = Rules(window_ns=10 * 3600 * 10**9)
    return made


def expected(case: str) -> dict[str, Any]:
    """Return what the case says."""
    found: dict[str, Any] = json.loads((ODD / case / "expected.json").read_text())
    return found


def files_of(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield all files of a case but its description."""
    yield from (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "expected.json")


def feed(world: World, source: pathlib.Path, target: pathlib.Path, size: int) -> None:
    """Append a file's bytes in pieces; the shipper looks after each of the first and then now and then."""
    target.parent.mkdir(parents=True, exist_ok=True)
    data = source.read_bytes()
    with target.open("ab", buffering=0) as file:
        for number, start in enumerate(range(0, len(data), size)):
            file.write(data[start : start + size])
            if number % 97 == 0 or size > 7:
                world.pump(10.5 if number == 0 else 0.0)
                assert world.engine is not None
                for tracked in world.engine.files.all.values():
                    world.engine.files.ready[tracked.id] = tracked


def sums(lines: list[str]) -> list[tuple[int, str]]:
    """Return length and hash of lines, in the form of the expectations."""
    return sorted((len(line.encode()), hashlib.sha256(line.encode()).hexdigest()) for line in lines)


@pytest.mark.parametrize("size", PIECES)
@pytest.mark.parametrize("case", ["layout", "no-meta", "nul-and-control", "out-of-order", "same-timestamps"])
def test_an_odd_case_arrives_as_expected(proxy_world: World, case: str, size: int) -> None:
    """As many lines as expected, each with the expected bytes.

    Whatever the pieces in which they were written.
    """
    proxy_world.start()
    for path in files_of(ODD / case):
        feed(proxy_world, path, proxy_world.logs / path.relative_to(ODD / case), size)
    proxy_world.settle()

    want = expected(case)
    arrived = proxy_world.arrived()
    assert len(arrived) == want["lines_shipped"]
    assert proxy_world.buried() == []
    if "shipped" in want:
        assert sums(arrived) == sorted((entry["bytes"], entry["sha256"]) for entry in want["shipped"])


@pytest.mark.parametrize("size", PIECES)
def test_an_unfinished_last_line_waits_for_its_end_also_through_a_restart(
    proxy_world: World, size: int
) -> None:
    """It is neither sent nor dropped, and sent whole and once when its newline is there."""
    case = ODD / "truncated-last-line"
    (path,) = files_of(case / "step1")
    target = proxy_world.logs / path.relative_to(case / "step1")
    proxy_world.start()
    feed(proxy_world, path, target, size)
    proxy_world.settle()
    first = len(proxy_world.arrived())
    proxy_world.crash()
    proxy_world.start()
    feed(proxy_world, case / "rest-of-the-line.bin", target, size)
    proxy_world.settle()

    want = expected("truncated-last-line")
    assert first == want["after_step_1"]["lines_shipped"]
    assert len(proxy_world.arrived()) == want["after_step_2"]["lines_shipped"]


def test_a_file_cut_in_place_is_read_from_its_start_also_when_it_is_longer_than_before(
    proxy_world: World,
) -> None:
    """Step 3 cannot be told from the size; the bytes before the position tell it."""
    case = ODD / "truncated-file"
    (path,) = files_of(case / "step1")
    target = proxy_world.logs / path.relative_to(case / "step1")
    proxy_world.start()
    counts = []
    for step in (path, case / "step2-append.bin", case / "step3-append.bin"):
        if target.exists():
            os.truncate(target, 0)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab") as file:
            file.write(step.read_bytes())
        proxy_world.settle()
        counts.append(len(proxy_world.arrived()))

    assert counts == expected("truncated-file")["lines_shipped_after"]


def test_times_come_from_meta_then_the_top_level_then_the_reading(proxy_world: World) -> None:
    """Lines without a usable time carry the time of reading, in a stream of their own."""
    case = ODD / "no-meta"
    (path,) = files_of(case)
    proxy_world.start()
    feed(proxy_world, path, proxy_world.logs / path.relative_to(case), 4096)
    proxy_world.settle()

    restamped = [labels for labels in proxy_world.model.entries if ("restamped", "true") in labels]
    count = sum(len(proxy_world.model.entries[labels]) for labels in restamped)
    assert count == expected("no-meta")["timestamps"].count("time of reading")
    assert all({name for name, _ in labels} >= {"provider", "log_type", "machine"} for labels in restamped)


def test_the_model_is_strict() -> None:
    """The receiver refuses what Loki refuses; without that the tests above would prove little."""
    model = Model(now_ns=lambda: 10**18)

    assert model.push(b"{}").status == 400
    assert model.push(b'{"streams":[{"stream":{"a":"b"},"values":[["1","x"]]}]}').status == 400
    assert (
        model.push(b'{"streams":[{"stream":{"a":"b"},"values":[["1000000000000000000","x"]]}]}').status == 204
    )


@pytest.mark.parametrize("size", [7, 4096])
def test_a_coo_llm_log_cut_in_place_arrives_whole_with_each_of_its_repeated_lines(
    world: Callable[..., World], size: int
) -> None:
    """Copied and cut, as its rotation must; the program goes on writing. More than half the lines repeat."""
    folder = ODD.parent.parent / "coo-llm"
    shop = world(sources=lambda logs: [CooLlm(f"{logs}/llm.log", "test", "u@h")])
    shop.clock.elapsed_s = NOW_S - START_S
    target = shop.logs / "llm.log"
    shop.start()
    written: list[str] = []
    for name in ("step1-llm.log", "step2-llm.log"):
        if target.exists():
            (shop.logs / "llm.log.1").write_bytes(target.read_bytes())
            os.truncate(target, 0)
            shop.crash()
            shop.start()
        feed(shop, folder / name, target, size)
        shop.settle()
        written += (folder / name).read_text().splitlines()

    assert sorted(shop.arrived()) == sorted(written)
    assert shop.lost_bytes == 0
    streams = shop.streams()
    assert all("provider=" in name for name in streams if "log_type=request" in name)
    # Within a stream the order is the file's.
    for lines in streams.values():
        assert lines == [line for line in written if line in set(lines)]
