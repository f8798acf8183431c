"""A secret that a model wrote a few letters at a time is masked as one that stands whole."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import planted
import streams
from test_ordinary import fixture_lines, varied

from shipper.redact.own import Own
from shipper.redact.redactor import Redactor
from shipper.redact.shown import excerpts

REDACTOR = Redactor()
KEY = planted.secrets()[0].text
TEXTS = [secret.text for secret in planted.secrets(3)]


def whole(form: str, text: str) -> str:
    """Return what the model says: its tools take JSON."""
    return json.dumps({"command": f'echo "{text}" | run'}) if form in streams.TOOLS else f"It is {text} now"


@pytest.mark.parametrize("form", streams.FORMS)
@pytest.mark.parametrize("seed", range(1, 4))
def test_a_secret_of_any_kind_in_pieces_is_masked_in_every_form_of_stream(form: str, seed: int) -> None:
    """Cut anywhere: nothing is left in the joined pieces, each event is JSON, and so is the tool's input."""
    chance = random.Random(f"{form} {seed}")
    for secret in planted.secrets(seed):
        text = whole(form, secret.text)
        line = streams.record(
            [streams.FORMS[form](piece) for piece in streams.cut(text, chance)],
            chance,
        )
        masked, rules = REDACTOR.line(line)
        said = streams.said(form, masked)
        assert rules, (secret.kind, said)
        left = [part for part in secret.secrets if part in said or json.dumps(part)[1:-1] in said]
        assert left == [], (secret.kind, said)
        if form in streams.TOOLS:
            assert json.loads(said)["command"].startswith('echo "')
        assert said.startswith(text[:5])
        assert REDACTOR.line(masked) == (masked, [])


def test_a_streamed_secret_becomes_one_mask_and_all_else_of_the_line_stays() -> None:
    """In the first piece that has a part of it; the others lose theirs."""
    form = streams.FORMS["anthropic text"]
    pieces = ["so: ", "sk", "-ant-", KEY[7:20], KEY[20:60], KEY[60:] + " th", "en"]
    wanted = ["so: ", "[REDACTED:anthropic_key]", "", "", "", " th", "en"]
    assert REDACTOR.line(streams.record([form(p) for p in pieces])) == (
        streams.record([form(p) for p in wanted]),
        ["anthropic_key"],
    )


def test_the_name_of_a_field_and_its_value_may_come_apart() -> None:
    """What tells that it is a secret can be in another piece than any of it."""
    form = streams.FORMS["anthropic tool input"]
    pieces = ['{"pass', 'word": ', '"', "a7se", "cretword", '"}']
    masked, rules = REDACTOR.line(streams.record([form(p) for p in pieces]))
    assert streams.said("anthropic tool input", masked) == '{"password": "[REDACTED:secret_field]"}'
    assert rules == ["secret_field"]


def test_an_escape_cut_in_two_by_the_stream_is_no_edge_case() -> None:
    r"""A tool's input is JSON, and its `\n` can end one piece and begin the next."""
    form = streams.FORMS["anthropic tool input"]
    text = json.dumps({"content": f'a\n{KEY}\n"{KEY}"\n'})
    for size in range(1, 30):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        masked, _ = REDACTOR.line(streams.record([form(p) for p in pieces]))
        said = json.loads(streams.said("anthropic tool input", masked))
        mask = "[REDACTED:anthropic_key]"
        assert said == {"content": f'a\n{mask}\n"{mask}"\n'}


def test_two_tool_calls_in_turn_do_not_hide_each_other() -> None:
    """The pieces of each are told by its index."""
    pieces = [streams._chat(streams._call(number))(letter) for letter in KEY for number in (0, 1)]
    masked, rules = REDACTOR.line(streams.record(pieces))
    assert rules == ["anthropic_key", "anthropic_key"]
    assert sum(len(text) == 1 for event in streams.events_of(masked) for text in streams.texts_of(event)) == 0


@pytest.mark.parametrize("depth", [1, 2])
def test_a_stream_shown_within_a_body_is_looked_at_too(depth: int) -> None:
    """Who debugs a proxy puts its log into a prompt."""
    form = streams.FORMS["anthropic text"]
    line = streams.record([form(piece) for piece in streams.cut(KEY, random.Random(1))]).decode()
    for _ in range(depth):
        line = json.dumps({"body": line})
    masked, rules = REDACTOR.line(line.encode())
    text = masked.decode()
    for _ in range(depth):
        text = json.loads(text)["body"]
    assert streams.said("anthropic text", text.encode()) == "[REDACTED:anthropic_key]"
    assert rules == ["anthropic_key"]


def test_own_rules_see_the_joined_text_and_cut_no_escape() -> None:
    """A match may begin or end in the middle of one."""
    redactor = Redactor([Own("ticket", "TICKET-[0-9]{6}"), Own("rest", "ni.*x")])
    form = streams.FORMS["anthropic text"]
    masked, rules = redactor.line(
        streams.record([form(p) for p in ("TIC", "KET-12", "3456", " a\ni", "\n", "x.")])
    )
    assert streams.said("anthropic text", masked) == "[REDACTED:ticket] a[REDACTED:rest]."
    assert rules == ["ticket", "rest"]


def test_streams_without_a_secret_are_not_altered() -> None:
    """Those of the recorded logs, as they are and with other ids, and prose that is cut anywhere."""
    lines = [line for line in fixture_lines() if b'"chunks":[{' in line]
    assert len(lines) > 10
    chance = random.Random(3)
    lines += [varied(line, chance) for line in lines for _ in range(20)]
    prose = (
        "Use an sk- prefix, as in sk-ant-..., and a Bearer token; api_key = settings.key; password: string. "
        * 9
    )
    for form in streams.FORMS.values():
        lines.append(streams.record([form(piece) for piece in streams.cut(prose, chance)]))
    assert [line for line in lines if REDACTOR.line(line) != (line, [])] == []
    assert REDACTOR.lines(lines).lines is lines


def test_a_block_finds_a_streamed_secret_of_which_no_piece_looks_like_one() -> None:
    """The scan of a whole chunk must not pass it over."""
    line = streams.record([streams.FORMS["chat"](letter) for letter in KEY])
    masked = REDACTOR.lines([b'{"a":1}', line, b'{"b":2}'])
    assert masked.hits == [(1, "anthropic_key")]
    assert masked.lines[1] == REDACTOR.line(line)[0]


def test_a_streamed_secret_can_be_shown_before_and_after() -> None:
    """There is no one place that was masked: all between the first and the last is shown."""
    form = streams.FORMS["anthropic text"]
    line = streams.record(
        [form(piece) for piece in ["A" * 200, *streams.cut(KEY, random.Random(2)), " " + "B" * 200]]
    )
    before, after = excerpts(line, REDACTOR.line(line)[0])
    assert "".join(streams.cut(KEY, random.Random(2))[:1]) in before
    assert KEY[-3:] in before
    assert before.startswith("\u2026")
    assert before.endswith("\u2026")
    assert "[REDACTED:anthropic_key]" in after
    assert KEY[-3:] not in after
    assert len(before) - len(after) == len(KEY) - len("[REDACTED:anthropic_key]")
    assert "A" * 70 not in before + after


def test_the_head_of_a_stream_shows_none_of_what_was_said() -> None:
    """Where it was cut nobody knows what the next pieces would have made of it."""
    line = streams.record([streams.FORMS["anthropic text"](piece) for piece in KEY])
    for end in range(0, len(line), 7):
        assert b'text\\":\\"' not in REDACTOR.head(line[:end])


HOSTILE = {
    "fields": b'data: {\\"text\\":\\"',
    "empty pieces": b'data: {\\"text\\":\\"\\"',
    "no end": b'data: {\\"\\"text\\":\\"a',
    "backslashes": b'data: {\\"' + b"\\" * 64 + b'\\"text\\":\\"' + b"\\" * 63,
    "secrets": b'data: {\\"text\\":\\"sk-ant-a7aaaaaaaaaaaaaaaaaaaaaaaaa \\"}',
    "depths": b'data: {\\"text\\":\\"a\\"data: {\\\\\\"text\\\\\\":\\\\\\"b\\\\\\"',
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_grows_with_the_length_of_a_stream_and_not_with_its_square(unit: bytes) -> None:
    """Whatever is made to look like one."""
    small, large = (planted.seconds(REDACTOR, unit, size) for size in (1 << 14, 1 << 17))
    assert large < 8 * small * 3 + 0.05


@given(
    st.sampled_from(sorted(streams.FORMS)),
    st.lists(
        st.one_of(st.text(alphabet='\\"/ab7{}[]:,= \n\u00e9\U0001f600'), st.sampled_from(TEXTS)), max_size=5
    ),
    st.randoms(use_true_random=False),
)
@settings(max_examples=300, deadline=None)
def test_whatever_a_model_writes_its_masked_stream_is_json_and_is_masked_once(
    form: str, parts: list[str], chance: random.Random
) -> None:
    """Each event, and the joined input of a tool; a second time nothing is found."""
    text = "".join(parts)
    text = json.dumps({"command": text, "password": text}) if form in streams.TOOLS else text
    redactor = Redactor([Own("sevens", "b[7b]+")])
    for one in (REDACTOR, redactor):
        line = streams.record([streams.FORMS[form](piece) for piece in streams.cut(text, chance)], chance)
        masked, rules = one.line(line)
        assert (masked == line) == (not rules)
        said = streams.said(form, masked)
        if one is REDACTOR and form in streams.TOOLS:
            assert set(json.loads(said)) == {"command", "password"}
        assert one.line(masked) == (masked, [])
