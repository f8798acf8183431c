"""What masking promises of any line."""

from __future__ import annotations

import json
import random
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import planted

from shipper.redact.redactor import Redactor
from shipper.redact.rules import NAMES

REDACTOR = Redactor()
SECRETS = planted.secrets()
IDS = [f"{number}-{secret.kind}" for number, secret in enumerate(SECRETS)]
MIB = 1 << 20

texts = st.one_of(st.text(), st.sampled_from([secret.text for secret in SECRETS]))
mixed = st.lists(texts, max_size=4).map("".join)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), mixed),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.text(), st.sampled_from(["password", "x-api-key", "Authorization"])), inner
        ),
        inner.map(json.dumps),
        inner.map(lambda value: json.dumps(json.dumps(value))),
    ),
    max_leaves=12,
)


@given(values)
@example({"PASSWORD": 1.0000000000000002e16})
@settings(max_examples=200, deadline=None)
def test_masked_json_is_json_of_the_same_shape(value: Any) -> None:
    """At any depth of JSON inside JSON, whatever stands beside the secret."""
    line = json.dumps(value).encode()
    masked, rules = REDACTOR.line(line)
    read = json.loads(masked)
    assert type(read) is type(value)
    if isinstance(value, list):
        assert len(read) == len(value)
    assert (masked == line) == (not rules)


@given(values)
@settings(max_examples=200, deadline=None)
def test_masking_twice_is_masking_once(value: Any) -> None:
    """A mask holds nothing that a rule finds, nor does what is left around it."""
    masked, _ = REDACTOR.line(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    assert REDACTOR.line(masked) == (masked, [])


@given(st.binary())
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_taken_and_masked_alike_each_time(line: bytes) -> None:
    """A repeat stays a repeat, and no bytes are an error."""
    first, rules = REDACTOR.line(line)
    assert REDACTOR.line(line) == Redactor().line(line) == (first, rules)


@given(st.lists(mixed, max_size=12))
@settings(max_examples=200, deadline=None)
def test_a_block_is_masked_as_its_lines_are(lines: list[str]) -> None:
    """However the lines are cut into blocks, and with a newline as the only thing before a secret."""
    raw = [line.replace("\n", " ").encode("utf-8", "surrogatepass") for line in lines]
    masked = REDACTOR.lines(raw)
    assert list(masked.lines) == [REDACTOR.line(line)[0] for line in raw]
    assert masked.hits == [(index, rule) for index, line in enumerate(raw) for rule in REDACTOR.line(line)[1]]


def test_lines_without_a_secret_are_the_very_same_object() -> None:
    """So that the usual chunk costs one scan."""
    lines = [b'{"type":"a"}', b'{"type":"b"}']
    assert REDACTOR.lines(lines).lines is lines


def test_every_rule_of_the_corpus_is_a_rule_and_has_a_name_fit_for_a_label() -> None:
    """The mask holds no quote, backslash or control character, whatever the rule."""
    assert {secret.kind for secret in SECRETS} <= set(NAMES)
    assert all(name.replace("_", "").isalnum() and name.islower() and name.isascii() for name in NAMES)


@pytest.mark.parametrize("secret", SECRETS, ids=IDS)
def test_a_secret_is_counted_under_its_own_kind(secret: planted.Planted) -> None:
    """Once, where it stands alone."""
    _, rules = REDACTOR.line(secret.text.encode())
    assert secret.kind in rules or rules == ["query_key"]


@pytest.mark.parametrize("secret", SECRETS, ids=IDS)
def test_a_head_shows_no_part_of_a_secret_wherever_it_is_cut(secret: planted.Planted) -> None:
    """Of a line above the limit only the head is kept, and the cut can go through a secret."""
    line = json.dumps({"a": "some words", "b": secret.text, "c": "more words"}).encode()
    for end in range(len(line)):
        head = REDACTOR.head(line[:end])
        for part in secret.secrets:
            assert part[-10:].encode() not in head
            assert part[: max(16, len(part) - 8)].encode() not in head, line[:end]


def test_a_head_without_an_end_of_a_word_is_kept_but_for_its_last_bytes() -> None:
    """What is cut off and those are enough that nobody can use the rest."""
    head = b'{"type":"request","body":"' + b"a" * 4000
    assert REDACTOR.head(head) == head[:-512] + b"[REDACTED:cut]"


def test_a_text_for_a_log_is_masked() -> None:
    """A gateway can answer with the very header that it refuses."""
    secret = planted.secrets()[0]
    assert REDACTOR.text(f"401 bad key {secret.text}") == "401 bad key [REDACTED:anthropic_key]"
    assert REDACTOR.text("401 bad key \udc80") == "401 bad key \udc80"


HOSTILE = {
    "names without end": b'"password":"',
    "names that are values": b"password=",
    "headers in headers": b'\\"x-api-key\\":[\\"',
    "quotes and backslashes": b'"secret":"' + b'\\\\\\"' * 7,
    "keys begun": b"-----BEGIN PRIVATE KEY-----",
    "long keys begun": b"-----BEGIN PRIVATE KEY-----" + b"A" * 300,
    "settings in settings": b"DB_PASSWORD=",
    "settings in settings that are values": b"DB_PASSWORD=a7",
    "keys ended": b"A" * 50 + b"\\n-----END PRIVATE KEY-----",
    "keys only ended": b"-----END PRIVATE KEY",
    "options": b" --password a7aaaaaa -u a:a7aaaaaa -pa7aaaaaa",
    "user parts and signs": b"://a:a@a[@{@#",
    "tags": b"<password>a7aaaaaaa",
    "references": b'"token":"${${${${a7aaaaaaaaaaaaaaaaaaaa(((((',
    "JWT begun": b"eyJaaaaaaaaaaaaaaaa.",
    "user parts": b"://a:",
    "bearer and words": b"Bearer aaaaaaaaaaaaaaaaaaaaaaaaa ",
    "sk words": b" sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "secrets": b" sk-ant-a7aaaaaaaaaaaaaaaaaaaaaaaaa",
    "one byte": b"a",
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_grows_with_the_length_and_not_with_its_square(unit: bytes) -> None:
    """Whoever writes the lines cannot stop the shipper with one."""
    small, large = (planted.seconds(REDACTOR, unit, size) for size in (MIB // 64, MIB // 8))
    assert large < 8 * small * 3 + 0.05


def test_random_text_of_the_largest_line_is_scanned_in_little_memory() -> None:
    """A line of 64 MiB with a secret at its end is copied once."""
    secret = planted.secrets()[0].text.encode()
    line = random.Random(1).randbytes(1 << 20).hex().encode() * 32 + b" " + secret
    tracemalloc.start()
    masked, rules = REDACTOR.line(line)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rules == ["anthropic_key"]
    assert len(masked) < len(line)
    assert peak < 2.2 * len(line)


@pytest.mark.parametrize(
    "word", ["a7secretword\\", 'a7secret"word', 'a7secretword\\"', "a7secret\\\\word\\\\", "a7\\nsecretword"]
)
@pytest.mark.parametrize("depth", range(4))
def test_a_value_is_masked_from_quote_to_quote_at_any_depth(word: str, depth: int) -> None:
    """Quotes and backslashes that belong to it go with it, and what follows stays."""

    def nested(value: str) -> bytes:
        text = json.dumps({"password": value, "next": "stays"})
        for _ in range(depth):
            text = json.dumps({"body": text})
        return text.encode()

    assert REDACTOR.line(nested(word))[0] == nested("[REDACTED:secret_field]")
