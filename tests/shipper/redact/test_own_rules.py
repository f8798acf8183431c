"""An operator's own rules."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipper.redact.own import Own, errors
from shipper.redact.redactor import Redactor
from shipper.redact.shown import excerpts


def masked(pattern: str, line: str) -> str:
    """Return a line as one own rule leaves it."""
    return Redactor([Own("mine", pattern)]).line(line.encode())[0].decode()


def test_what_a_pattern_matches_is_masked() -> None:
    """All of it, each time."""
    assert masked("ACME-[0-9]{6}", "ACME-123456, ACME-654321.") == "[REDACTED:mine], [REDACTED:mine]."


def test_a_group_is_the_secret() -> None:
    """So that what shows where it stands can stay."""
    assert masked(r"employee (\d+)", '{"t":"employee 4711"}') == '{"t":"employee [REDACTED:mine]"}'


def test_what_an_own_rule_masks_before_a_secret_does_not_hide_it() -> None:
    """A key has no edge within a word, and has one after a mask: masking twice is masking once."""
    redactor = Redactor([Own("mine", "b[7b]+")])
    line, rules = redactor.line(b"b7sk-a7e173d9acd5971d9d387b15718b6a93")
    assert (line, rules) == (b"[REDACTED:mine][REDACTED:sk_key]", ["mine", "sk_key"])
    assert redactor.line(b'{"n":7}')[1] == []
    assert Redactor([Own("mine", r"\d+")]).line(b'{"n":7}') == (b'{"n":0}', ["mine"])


def test_a_number_in_json_becomes_0() -> None:
    """A mask there would not be JSON; the whole number goes."""
    assert masked(r"\d{13,16}", '{"card":4111111111111111,"n":7}') == '{"card":0,"n":7}'
    assert masked(r"\d{13,16}", '{"card":"4111111111111111"}') == '{"card":"[REDACTED:mine]"}'
    assert masked(r"\d{4}", '{"card":-12345.5e3}') == '{"card":0}'


def test_a_match_over_quotes_leaves_the_json_as_it_is_built() -> None:
    """Only what is text is masked."""
    line = '{"user":"someone","id":12,"mail":"a@b.test"}'
    read = json.loads(masked('"user".*"mail":"[^"]*"', line))
    assert list(read.values()) == ["[REDACTED:mine]", 0, "[REDACTED:mine]"] or "someone" not in json.dumps(
        read
    )


def test_a_match_in_a_line_that_is_no_json_is_masked_whole() -> None:
    """Quotes mean nothing there."""
    assert masked('a".*"b', 'x a"12"b y') == "x [REDACTED:mine] y"


def test_own_rules_see_characters() -> None:
    """Not bytes."""
    assert masked("gr[üö]n", "grün, grön, gran") == "[REDACTED:mine], [REDACTED:mine], gran"


def test_own_rules_leave_masks_alone() -> None:
    """Of the built-in rules and their own."""
    redactor = Redactor([Own("mine", r"[A-Za-z_]{6,}|key=\S+")])
    first, _ = redactor.line(b'{"a":"key=ghp_0123456789abcdefghij0123456789abcdef!x","b":"wordword"}')
    assert redactor.line(first) == (first, [])
    assert json.loads(first)


@given(
    st.recursive(
        st.one_of(st.none(), st.integers(), st.text(), st.floats(allow_nan=False, allow_infinity=False)),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner), inner.map(json.dumps)),
    ),
    st.sampled_from(
        ["[0-9]+", ".", "[^a]+", '"[^"]*"', r"\\", "[,:{}]", "n", "u0", '(?s:".*")', r"[\\]u.", "true|null|-"]
    ),
)
@settings(max_examples=300, deadline=None)
def test_json_stays_json_whatever_an_own_rule_matches(value: object, pattern: str) -> None:
    """Even quotes, brackets and halves of escapes."""
    line = json.dumps(value).encode()
    assert type(json.loads(Redactor([Own("mine", pattern)]).line(line)[0])) in {type(value), int, float}


def test_all_that_is_wrong_with_own_rules_is_said_at_once() -> None:
    """With the name of the rule, and the reason that RE2 gives."""
    rules = [
        Own("Bad Name", "a"),
        Own("jwt", "a"),
        Own("twice", "a"),
        Own("twice", "b"),
        Own("open", "(a"),
        Own("back", r"(a)\1"),
        Own("ahead", "a(?=b)"),
        Own("empty", "a*"),
        Own("huge", "(?:(?:a{100}){100}){100}"),
        Own("long", "a" * 3000),
        Own("good", "ACME-[0-9]+"),
    ]
    found = errors(rules)
    assert len(found) == 9
    for name, word in (
        ("open", "missing"),
        ("back", "escape"),
        ("ahead", "(?="),
        ("empty", "empty"),
        ("huge", ""),
    ):
        assert any(repr(name) in text and word in text for text in found), (name, found)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)*b", "(.*a){20}", "(x+x+)+y"])
def test_a_pattern_that_hangs_others_takes_linear_time(pattern: str) -> None:
    """The guard is the engine: it never goes back."""
    redactor = Redactor([Own("mine", pattern)])
    began = time.process_time()
    redactor.line((b"a" * 5_000 + b"x" * 5_000) * 20)
    assert time.process_time() - began < 5


def test_what_is_masked_can_be_shown() -> None:
    """With little of what is the same around it."""
    line = b"A" * 200 + b" sk-ant-a7aaaaaaaaaaaaaaaaaaaaaaaaa and " + b"B" * 200 + b" ghp_" + b"a7" * 18
    before, after = excerpts(line, Redactor().line(line)[0])
    assert (
        before
        == "…"
        + "A" * 59
        + " sk-ant-a7aaaaaaaaaaaaaaaaaaaaaaaaa and "
        + "B" * 55
        + "…"
        + "B" * 59
        + " ghp_"
        + "a7" * 18
    )
    assert after.endswith("…" + "B" * 59 + " [REDACTED:github_token]")
    assert len(after) < len(line)


@pytest.mark.parametrize(
    "pattern",
    [
        r"ACME-\d{4}",
        r"staff\.id=(\w+)",
        "gr[üö]n",
        "x[^y]z",
        "^.{3}$",
        r"\pL{4}9",
        "^ACME",
        r"\Astaff",
        r"u7\z",
        "7$",
    ],
)
def test_own_rules_find_the_same_in_blocks_as_in_lines(pattern: str) -> None:
    """Some are looked for together with the built-in ones, some apart."""
    redactor = Redactor([Own("mine", pattern)])
    texts = ("ACME-1234", "staff.id=u7", "grün", "xüz", "üüü", "ääää9", "nothing of it")
    lines = [text.encode() for text in texts]
    for group in (*([line] for line in lines), lines, lines[::-1]):
        assert list(redactor.lines(group).lines) == [redactor.line(line)[0] for line in group]
    assert sum(redactor.line(line)[0] != line for line in lines) >= 1
