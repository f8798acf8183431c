"""The table of answers: each row is what was measured on a real Loki."""

from __future__ import annotations

import pytest

from shipper.push.answer import REASONS, Action, judge, no_answer

TOO_FAR = (
    "entry with timestamp 2026-11-21 07:47:27 +0000 UTC ignored, reason: 'entry too far behind, entry "
    "timestamp is: 2026-11-21T07:47:27Z, oldest acceptable timestamp is: "
    "2026-11-21T09:47:00Z',\nuser 'fake', "
    'total ignored: {} out of 5 for stream: {{a="b"}}'
)


@pytest.mark.parametrize(
    ("status", "text", "action", "reason"),
    [
        (204, "", Action.DELIVERED, ""),
        (200, "", Action.KEEP, "unexpected_status"),
        (260, "ingestion blocked for user fake until", Action.KEEP, "blocked"),
        (301, "", Action.KEEP, "redirect"),
        (400, "Max entry size '262144' bytes exceeded", Action.BISECT, "line_too_long"),
        (400, "max entry size exceeded", Action.BISECT, "line_too_long"),
        (400, TOO_FAR.format(1), Action.TOO_FAR_BEHIND, "too_far_behind"),
        (400, "entry out of order", Action.TOO_FAR_BEHIND, "too_far_behind"),
        (400, "has timestamp too old: 2020-01-01T00:00:00Z", Action.TOO_OLD, "too_old"),
        (400, "has timestamp too new: 2030-01-01T00:00:00Z", Action.TOO_NEW, "too_new"),
        (400, "label value too long", Action.BISECT, "labels"),
        (400, "loghttp.PushRequest.Streams: couldn't parse", Action.BISECT, "invalid"),
        (401, "", Action.KEEP, "auth"),
        (403, "", Action.KEEP, "auth"),
        (404, "<html>", Action.KEEP, "not_found"),
        (413, "", Action.SPLIT, "too_large"),
        (422, "at least one valid stream", Action.BISECT, "invalid"),
        (429, "Ingestion rate limit exceeded for user fake", Action.BACK_OFF, "rate_limited"),
        (429, "Maximum active stream limit exceeded", Action.BACK_OFF, "stream_limit"),
        (500, "rpc error: code = ResourceExhausted desc = x", Action.SPLIT, "too_large"),
        (500, "something else", Action.REPEAT, "server_error"),
        (502, "<html>", Action.REPEAT, "server_error"),
        (503, "", Action.REPEAT, "server_error"),
        (504, "", Action.REPEAT, "server_error"),
    ],
)
def test_an_answer_means_what_the_table_says(status: int, text: str, action: Action, reason: str) -> None:
    """204 alone is an acknowledgement; nothing is ever dropped for an answer that is not known."""
    verdict = judge(status, text)

    assert (verdict.action, verdict.reason) == (action, reason)
    assert not reason or reason in REASONS


def test_no_status_but_204_is_an_acknowledgement() -> None:
    """Whatever a gateway invents."""
    assert [status for status in range(1000) if judge(status, "").action is Action.DELIVERED] == [204]


def test_a_partial_refusal_says_which_lines_it_refused() -> None:
    """The oldest acceptable time and the numbers are taken from the text."""
    some, all_ = judge(400, TOO_FAR.format(2)), judge(400, TOO_FAR.format(5))

    assert (some.all_refused, all_.all_refused) == (False, True)
    assert some.oldest_ok_ns == 1795254420 * 10**9


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting", 4194304),
        ("Per stream rate limit exceeded (limit: 16KB/sec) while attempting to ingest", 16000),
        ("Per stream rate limit exceeded (limit: what/sec)", None),
    ],
)
def test_a_stated_rate_limit_is_learnt(text: str, limit: int | None) -> None:
    """A push above it is split at once instead of being tried in vain."""
    assert judge(429, text).limit_bytes == limit


def test_no_answer_is_repeated_and_its_kind_is_told() -> None:
    """Nobody knows what was stored."""
    assert no_answer(timed_out=True, detail="x").reason == "timeout"
    assert no_answer(timed_out=False, detail="x").action is Action.REPEAT
