"""Lines over Loki's limit: split, put together again, and never in the way of others."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Callable

import pytest
from receiver import Answer, Rules
from shipper_world import World, whole_lines

from shipper.sending.batch import Limits
from shipper.state import Options

Make = Callable[..., World]
KIB = 1024


def test_a_long_line_arrives_in_numbered_parts_among_others(world: Make) -> None:
    """In order, each within the limit; joined they are the line."""
    shop = world()
    lines = [shop.line(f"{n:03}", ago_s=300 - n) for n in range(200)]
    lines.insert(100, shop.line("long", ago_s=200, prompt="é€😀\\n" * 100_000))
    shop.write("a.jsonl", *lines)
    shop.start()
    shop.settle()

    assert sorted(whole_lines(shop)) == sorted(lines)
    entries = sorted(entry for kept in shop.model.entries.values() for entry in kept.items())
    numbers = [meta["part"] for _, meta in entries if "part" in meta]
    assert numbers == [str(n) for n in range(1, len(numbers) + 1)]
    assert all(len(text.encode()) <= 256 * KIB for (_, text), _ in entries)
    assert shop.buried() == []


@pytest.mark.parametrize("mode", ["stored-reset", "reset"])
def test_a_long_line_is_the_same_entries_when_it_is_read_again(world: Make, mode: str) -> None:
    """Killed again and again while its parts are on their way."""
    shop = world(options=Options(max_entry_bytes=10 * KIB, limits=Limits(entries=3)))
    line = shop.line("long", prompt="x" * 200 * KIB)
    others = [shop.line(str(n)) for n in range(10)]
    shop.write("a.jsonl", *others[:5], line, line, *others[5:])
    for turn in range(12):
        answers = iter([None] * turn)
        shop.script = lambda _labels, answers=answers: next(answers, mode)  # type: ignore[misc]
        shop.start()
        shop.pump(8.0)
        shop.crash()
    shop.script = lambda _labels: None
    shop.start()
    shop.settle()

    names = {
        meta["line_id"] for kept in shop.model.entries.values() for meta in kept.values() if "part" in meta
    }
    assert sorted(whole_lines(shop)) == sorted([*others, line, line])
    assert len(names) == 2


def test_a_lower_limit_is_learnt_from_the_answer_and_kept(world: Make) -> None:
    """Nothing of the line stood there when it was refused, so no part is left over; nothing is buried."""
    shop = world()
    shop.model.rules = Rules(max_line_bytes=20_000)
    lines = [
        shop.line("long", prompt="p" * 900_000),
        shop.line("middle", prompt="q" * 30_000),
        shop.line("short"),
    ]
    shop.write("a.jsonl", *lines)
    shop.start()
    shop.settle()
    shop.crash()
    refused = [told for event, told in shop.told if event == "push_refused"]
    more = shop.line("more", prompt="r" * 100_000)
    shop.write("a.jsonl", more)
    shop.start()
    shop.settle()

    assert sorted(whole_lines(shop)) == sorted([*lines, more])
    assert shop.buried() == []
    assert len(refused) == 1
    assert [told for event, told in shop.told if event == "push_refused"] == refused


def test_lines_that_wait_in_other_streams_are_split_by_the_learnt_limit(world: Make) -> None:
    """They need no answer of their own."""
    shop = world(options=Options(window_bytes=64 << 20))
    shop.model.rules = Rules(max_line_bytes=20_000)
    lines = [shop.line(f"{n}", prompt="p" * 100_000) for n in range(40)]
    shop.write("a.jsonl", *lines)
    shop.start()
    shop.settle()

    assert sorted(whole_lines(shop)) == sorted(lines)
    assert [event for event, _ in shop.told].count("push_refused") == 1


NGINX = "<html><head><title>413 Request Entity Too Large</title></head></html>"


@pytest.mark.parametrize(
    ("status", "text"), [(413, NGINX), (500, "rpc error: code = ResourceExhausted"), (400, "max entry size")]
)
def test_a_line_that_no_push_is_small_enough_for_is_split_smaller(
    world: Make, status: int, text: str
) -> None:
    """A gateway takes less than Loki does and does not say how much: halved until it passes, none is lost."""
    shop = world()

    def gateway(_labels: dict[str, str]) -> Answer | None:
        return Answer(status, text) if len(shop.transport.pushed[-1][1]) > 40_000 else None

    shop.script = gateway
    lines = [
        shop.line("long", prompt="p" * 900_000),
        shop.line("middle", prompt="q" * 50_000),
        *(shop.line(str(n)) for n in range(20)),
        shop.line("another", prompt="r" * 300_000),
    ]
    shop.write("a.jsonl", *lines)
    shop.start()
    shop.settle()

    assert sorted(whole_lines(shop)) == sorted(lines)
    assert shop.buried() == []
    learnt = [told["bytes"] for event, told in shop.told if event == "entry_limit_learnt"]
    assert learnt == [128 * KIB, 64 * KIB, 32 * KIB]


def test_a_limit_of_a_gateway_is_kept_through_a_restart(world: Make) -> None:
    """It is not found out again line by line, and no part of another split is left over."""
    shop = world()
    shop.model.rules = Rules(max_push_bytes=40_000)
    shop.write("a.jsonl", shop.line("long", prompt="p" * 900_000))
    shop.start()
    shop.settle()
    shop.crash()
    refused = [event for event, _ in shop.told].count("push_refused")
    shop.write("a.jsonl", shop.line("more", prompt="r" * 30_000 * 9))
    shop.options = Options(limits=Limits(body_bytes=40_000))
    shop.start()
    shop.settle()

    counts = {
        meta["parts"] for kept in shop.model.entries.values() for meta in kept.values() if "parts" in meta
    }
    assert len(whole_lines(shop)) == 2
    assert len(counts) == 2
    assert [event for event, _ in shop.told].count("push_refused") == refused


def test_a_line_that_passes_in_no_size_is_buried_and_blocks_nothing(world: Make) -> None:
    """Parts of 8 KiB are the smallest; what a gateway refuses even so lies in the dead-letter file."""
    shop = world()
    shop.script = lambda _labels: Answer(413, NGINX) if len(shop.transport.pushed[-1][1]) > 5000 else None
    line = shop.line("long", prompt="p" * 20_000)
    shop.write("a.jsonl", shop.line("a"), line, shop.line("b"))
    shop.start()
    shop.settle()

    assert [letter["reason"] for letter in shop.buried()] == ["too_large"] * 2
    assert line in whole_lines(shop)
    assert len(shop.arrived()) == 2 + 1  # the last part is short enough


def test_a_short_line_that_is_refused_as_too_large_says_nothing_of_longer_ones(world: Make) -> None:
    """It could not be split smaller: it is buried, and no limit is learnt from it."""
    shop = world()
    shop.script = lambda _labels: Answer(413, NGINX) if b"refuse me" in shop.transport.pushed[-1][1] else None
    line = shop.line("long", prompt="p" * 100_000)
    shop.write("a.jsonl", shop.line("refuse me"), line)
    shop.start()
    shop.settle()

    assert shop.arrived() == [line]
    assert [letter["reason"] for letter in shop.buried()] == ["too_large"]


def test_after_another_setting_a_learnt_limit_counts_no_more(world: Make) -> None:
    """Somebody has looked after it."""
    shop = world()
    shop.model.rules = Rules(max_line_bytes=20_000)
    shop.write("a.jsonl", shop.line("long", prompt="p" * 90_000))
    shop.start()
    shop.settle()
    shop.crash()
    shop.model.rules = Rules()
    shop.options = Options(max_entry_bytes=200_000)
    line = shop.line("again", prompt="p" * 90_000)
    shop.write("a.jsonl", line)
    shop.start()
    shop.settle()

    assert line in shop.arrived()


def test_a_limit_below_what_is_supported_buries_and_blocks_nothing(world: Make) -> None:
    """The line lies in the dead-letter file, in parts of 8 KiB; the others arrive."""
    shop = world()
    shop.model.rules = Rules(max_line_bytes=5000)
    shop.write("a.jsonl", shop.line("a"), shop.line("long", prompt="p" * 20_000), shop.line("b"))
    shop.start()
    shop.settle()

    assert len(shop.arrived()) == 2 + 1  # the last part is short enough
    assert [letter["reason"] for letter in shop.buried()] == ["line_too_long"] * 2


def test_without_structured_metadata_the_parts_go_out_all_the_same(world: Make) -> None:
    """For a Loki that does not take it."""
    shop = world(options=Options(structured_metadata=False))
    line = shop.line("long", prompt="p" * 900_000)
    shop.write("a.jsonl", line)
    shop.start()
    shop.settle()

    assert "".join(shop.arrived()) == line


def test_a_line_longer_than_memory_allows_is_buried_with_its_head_and_hash(world: Make) -> None:
    """Its bytes are still in the file, and can be told by the hash."""
    shop = world(options=Options(max_line_bytes=1 << 20))
    line = json.dumps({"prompt": "x" * (3 << 20)})
    shop.write("a.jsonl", shop.line("before"), line, shop.line("after"))
    shop.start()
    shop.settle()

    (letter,) = shop.buried()
    assert (letter["bytes"], letter["sha256"]) == (len(line), hashlib.sha256(line.encode()).hexdigest())
    assert letter["line"] == line[:4096]
    assert len(shop.arrived()) == 2


def test_a_long_line_is_in_memory_a_few_times_at_most(world: Make) -> None:
    """Also one with a character that would make its text four times as large as its bytes."""
    shop = world(options=Options(max_stream_rate_bps=0))
    line = shop.line("long", prompt="?" * (8 << 20)).replace("????", "x😀xx").encode()
    shop.script = lambda _labels: "hang"
    shop.write("a.jsonl", line)
    shop.start()
    tracemalloc.start()
    try:
        shop.pump(20.0)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(shop.transport.pushed) == 1
    assert peak_bytes < 8 * len(line)


def test_a_refused_part_that_cannot_be_mended_says_which_it_is(world: Make) -> None:
    """So that somebody can send it later."""
    shop = world()
    answers = iter([None, Answer(400, "cannot be parsed")])
    shop.script = lambda _labels: next(answers, None)
    shop.write("a.jsonl", shop.line("long", prompt="p" * 500_000))
    shop.start()
    shop.settle()

    (letter,) = shop.buried()
    assert letter["metadata"]["part"] == "2"
