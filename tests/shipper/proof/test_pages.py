"""Paging through Loki's answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shipper.proof.pages import Incomplete, Next, Walk

Stamps = list[int]


def walked(stamps: Stamps, walk: Walk, answer: Callable[[Stamps, int], Stamps | tuple[int, str]]) -> Stamps:
    """Return what a walk sees of entries with these times, and fail where it does not end."""
    seen: Stamps = []
    for _ in range(2000):
        ask = walk.ask
        if ask is None:
            return seen
        there = sorted(s for s in stamps if ask.start_ns <= s < ask.end_ns)
        found = answer(there, ask.limit)
        if isinstance(found, tuple):
            assert walk.refused(*found) is Next.AT_ONCE
        else:
            seen += found[walk.took(found)]
    raise AssertionError("the walk does not end")


def honest(there: Stamps, limit: int) -> Stamps:
    """Answer as asked."""
    return there[:limit]


@pytest.mark.parametrize("count", [0, 1, 14, 15, 16, 99, 100, 101, 1000])
def test_each_entry_is_seen_once_whatever_the_page(count: int) -> None:
    """Entries around the borders of a page come once, in order."""
    stamps = [10 + 3 * n for n in range(count)]

    assert stamps == walked(stamps, Walk(0, 10_000, page=100), honest)


def test_a_page_that_ends_inside_a_nanosecond_loses_and_repeats_nothing() -> None:
    """Forty entries in one nanosecond, around the end of a page of fifty."""
    stamps = [*range(30), *[30] * 40, *range(31, 60)]

    assert stamps == walked(stamps, Walk(0, 100, page=50), honest)


def test_the_last_entry_of_a_chunk_is_not_overlooked() -> None:
    """Loki 3.7.8 hides it from a query that begins at its very time, as the first page's end would be."""

    def answer(there: Stamps, limit: int) -> Stamps:
        return there[:limit] if there[:1] != [120] else there[1:][:limit]

    stamps = list(range(101, 121))

    assert stamps == walked(stamps, Walk(0, 1000), answer)
    assert walked(stamps, Walk(120, 121), answer) == [120]


def test_a_nanosecond_with_more_entries_than_a_page_is_told_as_incomplete() -> None:
    """Nothing can be asked that would show the rest: that is said, not passed over."""
    with pytest.raises(Incomplete):
        walked([5] * 60, Walk(0, 100, page=50), honest)


def test_a_refusal_for_size_shrinks_the_page_and_nothing_is_lost() -> None:
    """Loki's 500 to a result over 4 MiB: sixteen entries are too many."""

    def answer(there: Stamps, limit: int) -> Stamps | tuple[int, str]:
        found = there[:limit]
        too_large = "rpc error: code = ResourceExhausted desc = trying to send message larger than max"
        return (500, too_large) if len(found) > 16 else found

    stamps = list(range(0, 500, 5))

    assert stamps == walked(stamps, Walk(0, 1000), answer)


@pytest.mark.parametrize("batch", [128, 1])
def test_an_answer_that_ends_in_silence_before_large_entries_is_found_out(batch: int) -> None:
    """Loki 3.7.8: 200 with what came before the batch of 128 entries that has more than 4 MiB."""
    large = set(range(300, 330))

    def answer(there: Stamps, limit: int) -> Stamps:
        found, kept = there[:limit], []
        for first in range(0, len(found), batch):
            piece = found[first : first + batch]
            if len(large & set(piece)) > 16 or (batch == 1 and limit > 20 and large & set(piece)):
                break
            kept += piece
        return kept

    stamps = list(range(600))

    assert stamps == walked(stamps, Walk(0, 1000), answer)


def test_a_limit_of_entries_that_the_answer_states_is_kept_to() -> None:
    """`max_entries_limit_per_query` below the page."""

    def answer(there: Stamps, limit: int) -> Stamps | tuple[int, str]:
        if limit > 40:
            return (
                400,
                f"max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > 40)",
            )
        return there[:limit]

    stamps = list(range(200))

    assert stamps == walked(stamps, Walk(0, 1000), answer)


def test_a_range_that_is_too_long_is_split() -> None:
    """`max_query_length`: halves until they are taken; order and number stay."""
    day_ns = 24 * 3600 * 10**9
    walk = Walk(0, 100 * day_ns)
    longest = 0
    seen: Stamps = []
    stamps = [n * day_ns for n in range(100)]
    while (ask := walk.ask) is not None:
        if ask.end_ns - ask.start_ns > 30 * day_ns:
            assert (
                walk.refused(400, "the query time range exceeds the limit (query length: 960h, limit: 30d1h)")
                is Next.AT_ONCE
            )
            continue
        longest = max(longest, ask.end_ns - ask.start_ns)
        found = [s for s in stamps if ask.start_ns <= s < ask.end_ns][: ask.limit]
        seen += found[walk.took(found)]

    assert stamps == seen
    assert longest > 20 * day_ns


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (429, "too many outstanding requests", Next.LATER),
        (503, "", Next.LATER),
        (500, "empty ring", Next.LATER),
        (504, "context deadline exceeded", Next.AT_ONCE),
        (400, "parse error : unexpected IDENTIFIER", Next.NEVER),
        (401, "no org id", Next.NEVER),
        (302, "", Next.NEVER),
    ],
)
def test_a_refusal_is_asked_again_only_where_that_helps(status: int, text: str, expected: Next) -> None:
    """The server's troubles pass; a wrong question or wrong credentials do not."""
    assert expected is Walk(0, 3600 * 10**9).refused(status, text)


def test_a_single_entry_that_is_too_large_ends_the_questions() -> None:
    """A page of one that is refused for its size can shrink no further."""
    walk = Walk(0, 100, page=1)

    assert walk.refused(500, "trying to send message larger than max (5000000 vs. 4194304)") is Next.NEVER
