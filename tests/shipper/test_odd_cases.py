from __future__ import annotations

import hashlib
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from shipper_world import World

from shipper.sources.base import Source
from shipper.sources.llm_proxy import LlmProxy
from shipper.sources.loki_mode import LokiMode

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"
ODD = FIXTURES / "llm-proxy"
TEN_O_CLOCK_S = 168_800.0
"""An hour after the odd cases were written, on the clock of the world."""
MakeWorld = Callable[..., World]


def proxy(logs: pathlib.Path) -> list[Source]:
    """Return the source for llm-proxy's tree."""
    return [LlmProxy(str(logs), "test", "u@h")]


def expected(case: str) -> dict[str, Any]:
    """Return what the case says must come out of it."""
    found: dict[str, Any] = json.loads((ODD / case / "expected.json").read_text())
    return found


def sums(lines: list[str]) -> list[dict[str, Any]]:
    """Return length and hash of lines, in no order: streams are apart."""
    return sorted(
        (
            {"bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()}
            for b in (line.encode() for line in lines)
        ),
        key=str,
    )


def grown(world: World, path: pathlib.Path, content: bytes, piece: int) -> None:
    """Let a file grow by `piece` bytes at a time, with a hint and a turn after each."""
    assert world.engine is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    for at in range(0, len(content), piece):
        with path.open("ab") as file:
            file.write(content[at : at + piece])
        if at == 0:
            world.pump(10.0)  # a rescan finds it
        world.engine.files.ready.update(world.engine.files.all)
        world.engine.pump()


@pytest.mark.parametrize("piece", [1, 7, 4096])
@pytest.mark.parametrize("case", ["no-meta", "nul-and-control", "out-of-order", "same-timestamps"])
def test_each_odd_case_arrives_whole_however_it_was_written(case: str, piece: int, world: MakeWorld) -> None:
    """Byte by byte, seven at a time, or a page: every line once, with its bytes."""
    shop = world(sources=proxy)
    shop.clock.elapsed_s = TEN_O_CLOCK_S
    shop.start()
    (source,) = (ODD / case).rglob("*.jsonl")

    grown(shop, shop.logs / source.relative_to(ODD / case), source.read_bytes(), piece)
    shop.settle()

    assert sums(shop.arrived()) == sorted(expected(case)["shipped"], key=str)
    assert (shop.buried(), shop.model.problems) == ([], [])


def test_only_session_files_of_the_tree_are_read(world: MakeWorld) -> None:
    """No database, journal, swap file or archive; a mark, carriage returns and blank lines are nothing."""
    shop = world(sources=proxy)
    shop.clock.elapsed_s = TEN_O_CLOCK_S
    shutil.copytree(ODD / "layout", shop.logs, dirs_exist_ok=True)

    engine = shop.start()
    shop.settle()

    wanted = expected("layout")
    assert sorted(str(pathlib.Path(b.path).relative_to(shop.logs)) for b in engine.balances()) == sorted(
        wanted["files_read"]
    )
    assert len(shop.arrived()) == wanted["lines_shipped"]
    assert not any(line.endswith("\r") or line.startswith("\ufeff") for line in shop.arrived())


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_an_unfinished_last_line_waits_for_its_rest(*, restart: bool, world: MakeWorld) -> None:
    """Never a piece; the whole line exactly once, and a restart in between changes nothing."""
    shop = world(sources=proxy)
    shop.clock.elapsed_s = TEN_O_CLOCK_S
    case = ODD / "truncated-last-line"
    shutil.copytree(case / "step1", shop.logs, dirs_exist_ok=True)
    (path,) = shop.logs.rglob("*.jsonl")
    shop.start()
    shop.settle()
    assert len(shop.arrived()) == 4

    if restart:
        shop.crash()
        shop.start()
    with path.open("ab") as file:
        file.write((case / "rest-of-the-line.bin").read_bytes())
    shop.settle()

    assert sums(shop.arrived()) == sorted(expected("truncated-last-line")["shipped"], key=str)


def test_a_file_cut_in_place_is_read_anew_even_when_it_is_longer_than_before(world: MakeWorld) -> None:
    """Size alone does not show the second cut; nothing is shipped twice."""
    shop = world(sources=proxy)
    shop.clock.elapsed_s = TEN_O_CLOCK_S
    case = ODD / "truncated-file"
    shutil.copytree(case / "step1", shop.logs, dirs_exist_ok=True)
    (path,) = shop.logs.rglob("*.jsonl")
    shop.start()
    shop.settle()
    counts = [len(shop.arrived())]

    for step in ("step2-append.bin", "step3-append.bin"):
        path.write_bytes((case / step).read_bytes())
        shop.settle()
        counts.append(len(shop.arrived()))

    assert counts == expected("truncated-file")["lines_shipped_after"]
    assert shop.lost_bytes == 0


def test_three_identical_lines_of_one_time_are_three_in_loki_in_the_order_of_the_file(
    world: MakeWorld,
) -> None:
    """Loki drops what repeats nanosecond and text; a restart repeats none of them either."""
    shop = world(sources=proxy)
    shop.clock.elapsed_s = TEN_O_CLOCK_S
    (source,) = (ODD / "same-timestamps").rglob("*.jsonl")
    target = shop.logs / source.relative_to(ODD / "same-timestamps")
    target.parent.mkdir(parents=True)
    shutil.copy(source, target)
    shop.start()
    shop.settle()
    shop.crash()
    for generation in shop.state.glob("positions*.json"):
        generation.unlink()
    shop.start()
    shop.settle()

    by_type = {name.split("log_type=")[1].split()[0]: lines for name, lines in shop.streams().items()}

    written = source.read_text().splitlines()
    for kind in ("request", "response", "fork"):
        assert by_type[kind] == [line for line in written if f'"type":"{kind}"' in line]
    assert shop.model.repeats == len(written)


@pytest.mark.parametrize("piece", [1, 7, 4096])
@pytest.mark.parametrize("case", ["events-mixed", "truncated-files", "stopped"])
def test_recorded_events_of_loki_mode_arrive_line_by_line(case: str, piece: int, world: MakeWorld) -> None:
    """Broken records are lines, an unfinished one waits; times are days old and still their own."""
    shop = world(sources=lambda logs: [LokiMode(f"{logs}/*/.loki", "test", "u@h")])
    shop.clock.elapsed_s = TEN_O_CLOCK_S + 86_400
    shop.start()
    content = (FIXTURES / "loki-mode" / case / "loki-dir/events.jsonl").read_bytes()

    grown(shop, shop.logs / "shop/.loki/events.jsonl", content, piece)
    shop.settle()

    whole = content[: content.rfind(b"\n") + 1].decode().split("\n")
    assert sorted(shop.arrived()) == sorted(line for line in whole if line.strip())
    assert shop.model.problems == []
