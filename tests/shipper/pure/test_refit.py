from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shipper.entries import parts
from shipper.entries.ledger import Account
from shipper.entries.segment import Chunk, Segment
from shipper.entries.stamp import FRESH, STEP_NS
from shipper.entries.streams import Stream
from shipper.sending.refit import refitted
from shipper.state import EntryLimit

STREAM = Stream({"app": "x"}, 0, 0)
texts = st.lists(st.text("aé😀", min_size=1, max_size=60), min_size=1, max_size=6)


def segment(lines: list[str], limit: int) -> Segment:
    """Return lines split by a limit, a thousand bytes and a second apart, as sorting makes them."""
    starts, stamps, found, metas, before = [], [], [], [], []
    for number, line in enumerate(lines):
        pieces = parts.split(line.encode(), limit)
        count = len(pieces)
        starts += [1000 * number + part for part in range(count)]
        stamps += [10**9 * (number + 1) + STEP_NS * part for part in range(count)]
        found += pieces
        name = parts.line_id("/a", 1000 * number, pieces)
        metas += parts.metas(None, name, count) if count > 1 else [None]
        before += range(count)
    chunk = Chunk(0, 0, FRESH, FRESH, "")
    made = Segment(Account(), chunk, STREAM, starts, stamps, found, metas, parts=before)
    made.account.add(made)
    return made


@given(texts, st.integers(8, 40), st.integers(4, 8))
def test_lines_split_anew_are_as_if_they_had_been_split_by_that_limit_at_first(
    lines: list[str], first: int, lower: int
) -> None:
    """The same parts, names and stamps: so they are the same entries when they are read again."""
    made = segment(lines, first)
    new = refitted(made, lower, "/a")
    want = segment(lines, lower)

    if new is None:
        assert max(made.sizes) <= lower
        return
    long = {start // 1000 for start, size in zip(made.starts, made.sizes, strict=True) if size > lower}
    got = [e for e in _entries(new) if e[0] // 1000 in long]
    assert got == [e for e in _entries(want) if e[0] // 1000 in long]
    assert max(new.sizes) <= lower


@given(texts, st.integers(4, 8), st.data())
def test_what_is_settled_is_not_made_again_but_for_the_lines_that_are_split_anew(
    lines: list[str], lower: int, data: st.DataObject
) -> None:
    """A line of which one part was taken is made whole again."""
    made = segment(lines, 40)
    for index in data.draw(st.sets(st.integers(0, len(made.starts) - 1), max_size=len(made.starts) - 1)):
        made.settle(index, index + 1)
    new = refitted(made, lower, "/a")
    unsettled = {made.starts[i] // 1000 for i in range(len(made.starts)) if not made.is_settled(i)}

    assert new is None or {start // 1000 for start in new.starts} == unsettled


def test_a_limit_is_only_ever_lowered_by_an_answer_and_not_below_what_is_supported() -> None:
    """And forgotten with another setting."""
    limit = EntryLimit(100_000)

    assert [limit.learn(stated, 1) for stated in (200_000, 50_000, 60_000, 10)] == [False, True, False, True]
    assert limit.bytes == parts.MIN_ENTRY_BYTES
    again, other = EntryLimit(100_000), EntryLimit(90_000)
    again.restore(limit.saved())
    other.restore(limit.saved())
    assert (again.bytes, other.bytes) == (parts.MIN_ENTRY_BYTES, 90_000)


def _entries(made: Segment) -> list[tuple[int, int, str, object]]:
    return list(zip(made.starts, made.stamps, made.texts, made.metas, strict=True))
