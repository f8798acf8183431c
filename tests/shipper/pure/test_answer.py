from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.push.answer import REASONS, Action, judge, no_answer, not_ready

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
    (400, "max entry size exceeded", Action.BISECT, "line_too_long"),
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
    (500, "rpc error: code = ResourceExhausted desc = x", Action.SPLIT, "too_large"),
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


def test_no_status_but_204_is_an_acknowledgement_without_a_text() -> None:
    """Each of them, whatever a gateway invents."""
    assert [status for status in range(100, 1000) if judge(status, "").action is Action.DELIVERED] == [204]


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


@pytest.mark.parametrize("status", [400, 429, 503])
def test_what_was_said_is_told_on_one_line(status: int) -> None:
    """As far as it fits into a log line."""
    assert judge(status, " no\n\torg  id\r\n").detail == "no org id"
    assert judge(status, "a " * 300).detail == ("a " * 150)


def test_a_loki_that_is_not_ready_gets_the_same_bytes_again() -> None:
    """Its own words are told, on one line's length."""
    verdict = not_ready("Ingester not ready: " + "x" * 1000)

    assert (verdict.action, verdict.reason, verdict.status) == (Action.REPEAT, "not_ready", 503)
    assert verdict.detail.startswith("/ready: Ingester not ready: xx")
    assert len(verdict.detail) == 300
    assert verdict.reason in REASONS


def test_a_connection_that_failed_is_told_as_it_was() -> None:
    """The cause is the first thing an operator wants."""
    assert no_answer(timed_out=False, detail="Connection refused").detail == "Connection refused"


@pytest.mark.parametrize(
    ("status", "location", "told"),
    [
        (300, "", "to nowhere"),
        (304, "http://other/x", "to http://other/x"),
        (308, "https://u:hidden@other/x?token=hidden?", "to https://other/x"),
        (399, "http://a b", "to http://a b"),
    ],
)
def test_every_redirect_is_told_and_none_is_followed(status: int, location: str, told: str) -> None:
    """Whatever it is called; a user, a password and a query are not for logs."""
    verdict = judge(status, "moved", location=location)

    assert verdict.action is Action.KEEP
    assert verdict.detail == f"{told}: not followed, that address must be configured"


def test_a_redirect_without_an_address_leads_nowhere() -> None:
    """There may be no such header."""
    assert judge(301, "").detail.startswith("to nowhere: ")


@pytest.mark.parametrize("status", [200, 299, 402, 499])
def test_an_answer_that_is_no_redirect_is_told_in_its_own_words(status: int) -> None:
    """Even if it has an address."""
    assert judge(status, "said", location="http://other/").detail == "said"


@pytest.mark.parametrize("status", [499, 500])
def test_from_500_on_it_is_the_servers_fault(status: int) -> None:
    """That passes; below it a person has to look."""
    assert (judge(status, "").action is Action.REPEAT) == (status == 500)


def test_numbers_are_read_only_where_they_say_what_is_refused() -> None:
    """A stated rate in a refusal of something else limits nothing."""
    rate = "(limit: 3MB/sec)"

    assert judge(400, f"label {rate}").limit_bytes is None
    assert judge(400, f"label. max entry size '7' bytes exceeded {rate}").max_entry_bytes == 7
    assert judge(400, f"timestamp too old. max entry size '7' bytes exceeded {rate}").max_entry_bytes is None


def test_a_gateways_page_keeps_its_status() -> None:
    """It is what an operator looks up."""
    verdict = judge(400, "<html><h1>400</h1></html>")

    assert (verdict.action, verdict.reason, verdict.status) == (Action.KEEP, "gateway", 400)
    assert verdict.reason in REASONS
