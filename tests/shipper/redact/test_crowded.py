"""A line packed with what looks like secrets costs little, and shows none of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import planted

from shipper.redact import crowded, own, streamed
from shipper.redact.own import Own
from shipper.redact.redactor import Redactor

REDACTOR = Redactor()
KEY = planted.secrets()[0].text
MANY = crowded.MOST_SUSPECTS + 1
MASK = "[REDACTED:crowded]"


class Counted:
    """A pattern of an engine that counts how often it is asked."""

    def __init__(self, pattern: Any, asked: list[str]) -> None:
        self._pattern = pattern
        self._asked = asked

    def search(self, line: bytes, at: int = 0) -> Any:
        """Search."""
        self._asked.append("search")
        return self._pattern.search(line, at)


def record(**fields: object) -> bytes:
    """Return a request with other fields."""
    return planted.line({**planted.REQUEST, **fields})


@pytest.mark.parametrize(
    "unit", ['"password":"', "password=a7secretword ", " " + KEY, "Bearer a7aaaaaaaaaaaaaaa "]
)
def test_a_body_with_too_many_suspects_is_masked_whole_and_the_record_stays(unit: str) -> None:
    """What a record says of itself is judged as ever, so it is sorted and found as ever."""
    line = record(body=unit * MANY, headers={"X-Api-Key": [KEY]})
    masked, rules = REDACTOR.line(line)
    wanted = {**planted.REQUEST, "body": MASK, "headers": {"X-Api-Key": ["[REDACTED:header_key]"]}}
    assert json.loads(masked) == wanted
    assert rules == ["crowded", "header_key"]
    assert REDACTOR.line(masked) == (masked, [])


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (json.dumps([{"password": "a7secretword"}] * MANY), f'"{MASK}"'),
        (f"DB_PASSWORD={KEY} " * MANY, MASK),
        ('\\"x-api-key\\":[\\"' * MANY, MASK),
        (json.dumps(["a"] * 200_000 + [KEY * 3] * MANY), f'"{MASK}"'),
    ],
)
def test_a_line_that_is_crowded_all_over_leaves_nothing(line: str, wanted: str) -> None:
    """JSON stays JSON."""
    assert REDACTOR.line(line.encode()) == (wanted.encode(), ["crowded"])


def test_thousands_of_secrets_are_masked_one_by_one() -> None:
    """A file full of passwords in a prompt is no reason to lose the prompt; each is looked at twice."""
    count = crowded.MOST_SUSPECTS // 2 - 2
    body = f"DB_PASSWORD={KEY}\n" * count
    masked, rules = REDACTOR.line(record(body=body))
    assert KEY not in masked.decode()
    assert json.loads(masked)["body"].count("DB_PASSWORD=[REDACTED:") == count
    assert len(rules) == count


def test_a_stream_in_more_pieces_than_there_can_be_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No piece is left that was not looked at."""
    monkeypatch.setattr(streamed, "MOST_PIECES", 100)
    event = '{"delta":{"text":"%s"}}'
    body = "".join(f"data: {event % letter}\n" for letter in "x" * 100 + KEY)
    masked, rules = REDACTOR.line(record(body=body))
    assert json.loads(masked)["body"] == MASK
    assert rules == ["crowded"]


def test_a_line_in_which_an_own_rule_matches_too_often_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the built-in ones."""
    monkeypatch.setattr(own, "MOST", 100)
    redactor = Redactor([Own("digit", "[0-9]")])
    assert redactor.line(b"1" * 5000) == (MASK.encode(), ["crowded"])


@pytest.mark.parametrize("unit", ['"password":"', "password=", '\\"x-api-key\\":[\\"', " " + KEY])
def test_the_work_on_a_hostile_line_is_bounded_whatever_its_length(unit: str) -> None:
    """Sixteen times the line, and no more is judged."""
    redactor = Redactor()
    asked: list[str] = []
    redactor._anchor = Counted(redactor._anchor, asked)
    line = unit * (16 * MANY)
    assert redactor.line(line.encode())[1] == ["crowded"]
    assert len(asked) <= 2 * (MANY + 1)
