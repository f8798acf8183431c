from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.push.answer import REASONS, Action, judge, no_answer

TOO_FAR = (
    "entry with timestamp 2026-11-21 01:00:00 +0000 UTC ignored, reason: 'entry too far behind, "
    "entry timestamp is: "
    "2026-11-21T01:00:00Z, oldest acceptable timestamp is: 2026-11-21T04:00:00Z',\nuser 'fake', "
    "total ignored: {} "
    'out of {} for stream: {{app="x"}}'
)
TABLE = [
    # status, text, action, reason
    (204, "", Action.DELIVERED, ""),
    (260, "ingestion blocked for user fake until '2026-11-22T00:00:00Z'", Action.KEEP, "blocked"),
    (200, "", Action.KEEP, "unexpected_status"),
    (202, "accepted", Action.KEEP, "unexpected_status"),
    (301, "", Action.KEEP, "redirect"),
    (418, "", Action.KEEP, "unexpected_status"),
    (400, "entry for stream '{}' has timestamp too old: 2026-01-01", Action.TOO_OLD, "too_old"),
    (400, "entry for stream '{}' has timestamp too new: 2027-01-01", Action.TOO_NEW, "too_new"),
    (400, "Max entry size '262144' bytes exceeded for stream", Action.BISECT, "line_too_long"),
    (400, "max entry size '262144' bytes exceeded for stream", Action.BISECT, "line_too_long"),
    (400, "entry has 16 label names; limit 15", Action.BISECT, "labels"),
    (400, "stream has label value too long: 'x'", Action.BISECT, "labels"),
    (400, "stream is missing required labels", Action.BISECT, "labels"),
    (400, TOO_FAR.format(1, 2), Action.TOO_FAR_BEHIND, "too_far_behind"),
    (400, "entry out of order for stream", Action.TOO_FAR_BEHIND, "too_far_behind"),
    (400, "couldn't parse push request: Value looks like object", Action.BISECT, "invalid"),
    (400, 'Content-Encoding "zstd" not supported', Action.BISECT, "invalid"),
    (400, "mime: no media type", Action.BISECT, "invalid"),
    (401, "no org id", Action.KEEP, "auth"),
    (403, "", Action.KEEP, "auth"),
    (407, "", Action.KEEP, "auth"),
    (404, "404 page not found", Action.KEEP, "not_found"),
    (405, "", Action.KEEP, "not_found"),
    (408, "", Action.REPEAT, "timeout"),
    (413, "request entity too large", Action.SPLIT, "too_large"),
    (422, "at least one valid stream is required for ingestion", Action.BISECT, "invalid"),
    (
        429,
        "ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec)",
        Action.BACK_OFF,
        "rate_limited",
    ),
    (
        429,
        "Per stream rate limit exceeded (limit: 3MB/sec) while attempting",
        Action.BACK_OFF,
        "rate_limited",
    ),
    (429, "Maximum active stream limit exceeded, reduce the number", Action.BACK_OFF, "stream_limit"),
    (
        500,
        "rpc error: code = ResourceExhausted desc = received message larger than max (5001274 vs. 4194304)",
        Action.SPLIT,
        "too_large",
    ),
    (500, "at least 1 live replicas required", Action.REPEAT, "server_error"),
    (502, "<html>bad gateway</html>", Action.REPEAT, "server_error"),
    (503, "", Action.REPEAT, "server_error"),
    (504, "context deadline exceeded", Action.REPEAT, "server_error"),
    (529, "", Action.REPEAT, "server_error"),
]


@pytest.mark.parametrize(("status", "text", "action", "reason"), TABLE)
def test_each_answer_of_the_table_means_one_thing(
    status: int, text: str, action: Action, reason: str
) -> None:
    """Row by row: what Loki says, what is done, and what the metric calls it."""
    verdict = judge(status, text)

    assert (verdict.action, verdict.reason, verdict.status) == (action, reason, status)
    assert reason == "" or reason in REASONS


@pytest.mark.parametrize(("status", "text", "action", "reason"), TABLE)
def test_the_case_of_a_text_does_not_matter(status: int, text: str, action: Action, reason: str) -> None:
    """Loki changed it between versions."""
    assert judge(status, text.upper()).action is action
    assert judge(status, text.lower()).reason == reason


@given(st.integers(100, 999), st.text(max_size=80))
def test_only_204_is_an_acknowledgement(status: int, text: str) -> None:
    """Whatever else comes, with whatever text: the lines are still ours. And nothing raises."""
    verdict = judge(status, text)

    assert (verdict.action is Action.DELIVERED) == (status == 204)
    assert verdict.reason in ("", *REASONS)
    assert len(verdict.detail) <= 300


@pytest.mark.parametrize(("timed_out", "reason"), [(True, "timeout"), (False, "unreachable")])
def test_no_answer_means_the_same_bytes_again(*, timed_out: bool, reason: str) -> None:
    """Nobody knows what was stored; a repeat is invisible."""
    verdict = no_answer(timed_out=timed_out, detail="x" * 1000)

    assert (verdict.action, verdict.reason, verdict.status) == (Action.REPEAT, reason, 0)
    assert len(verdict.detail) == 300


def test_too_far_behind_says_which_lines() -> None:
    """The limit to the second, and whether it was all of them."""
    some, all_ = judge(400, TOO_FAR.format(1, 2)), judge(400, TOO_FAR.format(2, 2))

    assert some.oldest_ok_ns == 1795233600 * 10**9
    assert (some.all_refused, all_.all_refused) == (False, True)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("Per stream rate limit exceeded (limit: 3MB/sec) while", 3_000_000),
        ("ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while", 4_194_304),
        ("ingestion rate limit exceeded (limit: 0 bytes/sec)", None),
        ("ingestion rate limit exceeded (limit: .. bytes/sec)", None),
        ("rate limit exceeded", None),
    ],
)
def test_a_stated_limit_is_read(text: str, limit: int | None) -> None:
    """What is above it can never pass, and is split at once."""
    assert judge(429, text).limit_bytes == limit


def test_the_limit_of_a_line_is_read_from_the_answer_and_not_from_the_labels_in_it() -> None:
    """In either case, with and without quotes; a stream may be named as it likes."""
    tail = (
        "for stream '{app=\"max entry size '1' bytes exceeded\"}' while adding an entry with length '300000'"
    )

    quoted = judge(400, f"Max entry size '131072' bytes exceeded {tail} bytes")
    plain = judge(400, f"max entry size 131072 bytes exceeded {tail} bytes")
    other = judge(429, f"max entry size '131072' bytes exceeded {tail} bytes")

    assert (quoted.max_entry_bytes, plain.max_entry_bytes, other.max_entry_bytes) == (131072, 131072, None)
    assert quoted.reason == "line_too_long"
