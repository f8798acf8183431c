"""Fewer descriptors than files: each has its turn, and the turn is that of the oldest line."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from shipper_world import World

from shipper.follow.tracked import Tracked
from shipper.reading import reader
from shipper.sending import lanes
from shipper.state import Options

Make = Callable[..., World]


def texts(world: World) -> list[str]:
    """Return the `text` of each line that arrived."""
    return sorted(line.split('"text": "')[1].split('"')[0] for line in world.arrived())


@pytest.mark.parametrize("size", [5, 250_000])
def test_files_with_an_unfinished_last_line_keep_no_other_waiting(world: Make, size: int) -> None:
    """Their descriptors are lent to others, and what is added to them is read."""
    one = world(max_open=3)
    halves = {}
    for number in range(10):
        whole = one.line(f"half{number}", pad="x" * size)
        halves[f"{number}.jsonl"] = whole
        one.write(f"{number}.jsonl", one.line(f"whole{number}"))
        one.write(f"{number}.jsonl", whole[: -len(whole) // 2], end=b"")
    one.start()
    one.settle()
    one.write("z.jsonl", one.line("z"))
    one.settle()
    before = texts(one)
    for name, whole in halves.items():
        one.write(name, whole[-len(whole) // 2 :])
    one.settle()

    assert before == [*(f"whole{number}" for number in range(10)), "z"]
    assert texts(one) == sorted([*before, *(f"half{number}" for number in range(10))])
    assert one.engine is not None
    assert one.engine.files.open_count <= 3


def test_room_for_one_file_does_not_cost_a_look_at_all_others(
    world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand new files took five million looks at where the open ones stand: most of half a minute."""
    one = world(max_open=64)
    for number in range(320):
        one.write(f"{number}.jsonl", one.line(f"{number:03}"))
    looks = []
    stands_at_path = Tracked.stands_at_path
    monkeypatch.setattr(Tracked, "stands_at_path", lambda file: looks.append(file) or stands_at_path(file))  # type: ignore[func-returns-value]

    one.start()
    one.settle()

    assert texts(one) == [f"{number:03}" for number in range(320)]
    assert len(looks) <= 3 * 320


def test_files_that_cannot_be_opened_take_no_turn_from_one_that_is(
    world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of thousands some are read at a time: were those it that wait for a descriptor, none would get one."""
    monkeypatch.setattr(reader, "_TURNS_OF_MANY", 2)
    one = world(max_open=1)
    path = one.write("held.jsonl", one.line("held 0"))
    one.start()
    one.settle()
    with path.open("ab") as held:
        path.unlink()
        for number in range(10):
            one.write(f"{number}.jsonl", one.line(f"waits {number}", ago_s=60.0))
        held.write(f"{one.line('held 1')}\n".encode())
    one.pump(8.0)

    assert texts(one) == ["held 0", "held 1"]
    one.settle()
    assert len(texts(one)) == 12


def test_files_of_which_all_is_settled_are_forgotten_by_the_queues(
    world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a file an hour, and all that is known of it, a year would fill the memory."""
    monkeypatch.setattr(lanes, "_MANY_FILES", 4)
    one = world()
    engine = one.start()
    for number in range(20):
        one.write(f"{number:02}.jsonl", one.line(f"{number:02}"))
        one.settle()

    assert texts(one) == [f"{number:02}" for number in range(20)]
    assert len(engine.sender._lanes._files) <= 4


def test_unfinished_lines_are_not_looked_at_again_and_again(world: Make) -> None:
    """A thousand of them at rest, with few descriptors, cost no reading at each rescan."""
    one = world(max_open=3)
    for number in range(10):
        one.write(f"{number}.jsonl", one.line("half"), end=b"")
    engine = one.start()
    one.settle()
    opened = []
    ensure_open = engine.files.ensure_open
    engine.files.ensure_open = lambda *a: opened.append(a) or ensure_open(*a)  # type: ignore[assignment,func-returns-value,method-assign]
    one.pump(60.0)

    assert not opened


@pytest.mark.parametrize("max_open", [1, 2, 5])
@pytest.mark.parametrize("slow", [False, True])
def test_more_files_than_descriptors_catch_up_in_order(world: Make, max_open: int, slow: bool) -> None:  # noqa: FBT001 - two cases
    """Ten files, each of six hours: nothing falls behind Loki's window, nothing goes into backfill."""
    one = world(max_open=max_open)
    turn = iter(range(10**9))
    one.script = lambda _labels: "hang" if slow and next(turn) % 3 else None
    for number in range(10):
        one.write(
            f"{number}.jsonl",
            *(one.line(f"{number} {n:03}", ago_s=(360 - n) * 60.0 - number) for n in range(360)),
        )
    one.start()
    one.settle(limit_s=5000.0)

    assert len(one.arrived()) == 10 * 360
    assert [dict(labels) for labels in one.model.entries if "backfill" in dict(labels)] == []
    assert one.model.repeats == 0


def test_a_refused_stream_does_not_keep_the_descriptors(world: Make) -> None:
    """What must be read again of it is opened when it is taken; the others go on meanwhile."""
    one = world(max_open=2, sources=None, options=Options(window_entries=20))
    refused = ["0"]
    one.script = lambda labels: "reset" if refused and "restamped" in labels else None
    for number in range(6):
        one.write(f"{number}.jsonl", json.dumps({"text": f"untimed{number}"}), one.line(f"timed{number}"))
    one.start()
    one.pump(300.0)
    before = texts(one)
    refused.clear()
    one.settle()

    assert before == [f"timed{number}" for number in range(6)]
    assert texts(one) == [*before, *(f"untimed{number}" for number in range(6))]


def test_files_without_a_path_are_read_to_their_end_and_lend_their_descriptors_then(world: Make) -> None:
    """They cannot be opened again, so the others wait for them, and they for no other."""
    one = world(max_open=1, options=Options(window_entries=5))
    one.script = lambda _labels: "hang"
    path = one.write("a.jsonl", *(one.line(f"a{n:03}", pad="x" * 2000) for n in range(300)))
    one.start()
    one.pump(5.0)
    path.rename(one.root / path.name)
    one.pump(11.0)
    for name in "cd":
        one.write(f"{name}.jsonl", one.line(name, ago_s=60.0))
    one.pump(11.0)
    one.script = lambda _labels: None
    one.settle()

    assert texts(one) == [*(f"a{n:03}" for n in range(300)), "c", "d"]
    assert one.lost_bytes == 0
