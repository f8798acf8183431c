"""What was sent again lately, and what Loki's ingesters say that they hold."""

from __future__ import annotations

import json
import pathlib

import pytest

from shipper.proof.loki_query import Loki
from shipper.proof.resent import Resent
from shipper.push.retry import RetryPolicy

NOW_NS = 1_795_000_000 * 10**9
MINUTE_NS = 60 * 10**9


def test_what_was_noted_is_recalled_until_it_is_flushed(tmp_path: pathlib.Path) -> None:
    """Two notes half an hour apart, looked at when the first is too old; garbage between them is passed."""
    path = tmp_path / "resent.jsonl"
    resent = Resent(path)
    assert resent.recall(NOW_NS) == {}
    resent.note([(1, 10), (1, 20)], NOW_NS - 170 * MINUTE_NS)
    with path.open("a") as file:
        file.write('garbage\n[1]\n["x", 2, 3]\n[1e999, 2, 3]\n')
    resent.note([(2, 0)], NOW_NS - 140 * MINUTE_NS)

    assert resent.recall(NOW_NS) == {(2, 0): NOW_NS - 140 * MINUTE_NS}
    assert len(resent.recall(NOW_NS - 20 * MINUTE_NS)) == 3


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"status": "success", "data": ["2026-11-18T05"]}, {"2026-11-18T05"}),
        (200, {"status": "success"}, set()),
        (200, {"status": "error"}, None),
        (200, "<html>", None),
        (200, {"status": "success", "data": [1]}, None),
        (404, "404 page not found", None),
        (503, "away", None),
    ],
)
def test_only_lokis_own_answer_says_which_hours_are_held(
    status: int, body: object, expected: set[str] | None
) -> None:
    """Anything else is nothing known, which is not the same as none."""
    loki = Loki(
        lambda _path: (status, json.dumps(body).encode()),
        lambda _s: None,
        lambda: 0.5,
        RetryPolicy(retries=2),
    )

    assert loki.held_hours('{app="a"}', NOW_NS) == expected
