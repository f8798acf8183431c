"""Files that share a stream are read in order of time, however far apart they are."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Callable

from hypothesis import example, given, settings
from hypothesis import strategies as st
from shipper_world import World

from shipper.sending.batch import Limits
from shipper.state import Options

MINUTE_S = 60.0
gaps = st.lists(st.sampled_from([40 * MINUTE_S, 5 * MINUTE_S, 1.0, 0.0]), min_size=6, max_size=20)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 100 * MINUTE_S]), gaps), min_size=2, max_size=4))
@example([(0.0, [40 * MINUTE_S] * 20), (1.0, [40 * MINUTE_S] * 20)])
def test_a_backlog_of_files_that_share_a_stream_arrives_in_order_of_time(
    files: list[tuple[float, list[float]]],
) -> None:
    """Hours apart, each in order itself: nothing lands too far behind, nothing needs `backfill`."""
    with tempfile.TemporaryDirectory() as root:
        shop = World(pathlib.Path(root), options=Options(Limits(entries=7), window_entries=40))
        written = []
        for name, (late_s, steps) in enumerate(files):
            ago_s = 30 * 3600.0 - late_s
            for number, step in enumerate(steps):
                ago_s -= step
                written.append(shop.line(f"{name} {number}", ago_s=ago_s))
                shop.write(f"{name}.jsonl", written[-1])

        shop.start()
        shop.settle()
        shop.close()

        assert sorted(shop.arrived()) == sorted(written)
        assert not [name for name in shop.streams() if "backfill" in name]
        assert shop.model.problems == []


def test_of_thousands_of_files_as_many_are_read_as_can_be_pushed_meanwhile(
    world: Callable[..., World],
) -> None:
    """All at once they would be in memory together: twenty megabytes that do not come back."""
    shop = world()
    for number in range(1200):
        shop.write(f"{number}.jsonl", shop.line(f"{number:04}", ago_s=9000.0 - number))
    engine = shop.start()

    engine.pump()

    read = [tracked.read for tracked in engine.files.all.values()]
    assert sum(map(bool, read)) == 1000
    shop.settle()
    assert [line.split('"text": "')[1][:4] for line in shop.arrived()] == [f"{n:04}" for n in range(1200)]


def test_a_file_that_begins_in_the_future_waits_for_no_other(world: Callable[..., World]) -> None:
    """Its first line gets the time of reading; those after it are hours old, and due in their turn."""
    shop = world(options=Options(Limits(entries=7), window_entries=40))
    shop.write("a.jsonl", shop.line("future", ago_s=-50 * MINUTE_S))
    for name in ("a", "b"):
        shop.write(
            f"{name}.jsonl", *(shop.line(f"{name} {n}", ago_s=6 * 3600 - 120.0 * n) for n in range(170))
        )
    shop.start()
    shop.settle()

    assert len(shop.arrived()) == 341
    assert not [name for name in shop.streams() if "backfill" in name]
