"""Nothing secret reaches Loki, the dead-letter file or a log: the reader masks before all else."""

from __future__ import annotations

import io
import json
import pathlib
import random
import sys
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import planted
import pytest
import streams
from receiver import Answer
from shipper_world import World

from shipper.entries.sorting import Policy
from shipper.redact.own import Own
from shipper.redact.redactor import Redactor
from shipper.sources.llm_proxy import LlmProxy
from shipper.state import Options
from shipper.telling.logs import Log

Make = Callable[..., World]
SECRETS = planted.secrets(7)
KEY = SECRETS[0].text
FILE = "api.anthropic.com/2026-11-21/20261121-004346-ec7ae409.jsonl"


def proxy(logs: pathlib.Path) -> list[LlmProxy]:
    """Return the source for the records of the corpus."""
    return [LlmProxy(str(logs), "test", "u@h")]


def everything(world: World) -> str:
    """Return all that left: entries with their labels and metadata, dead letters, what was told."""
    return repr(
        (
            world.model.entries,
            world.arrived(),
            world.buried(),
            world.told,
            [b for _, b in world.transport.pushed],
        )
    )


def texts(world: World) -> list[str]:
    """Return the text of each line that arrived."""
    return [json.loads(line)["text"] for line in world.arrived()]


def test_no_planted_secret_reaches_the_receiver(world: Make) -> None:
    """Every kind, in every place of a record; every line arrives, and each secret is counted."""
    one = world(sources=proxy, redactor=Redactor())
    lines = [
        line
        for secret in SECRETS
        for record in (planted.REQUEST, planted.RESPONSE)
        for _, line in planted.places(record, secret.text)
    ]
    one.write(FILE, *lines)
    one.start()
    one.settle()
    assert len(one.arrived()) == len(set(lines))
    out = everything(one)
    assert [part for secret in SECRETS for part in secret.secrets if part in out] == []
    counted = {rule: count for (name, rule), count in one.meter.counts.items() if name == "redactions"}
    assert sum(counted.values()) >= len(lines)
    assert {"anthropic_key", "jwt", "private_key", "url_password", "header_key"} <= set(counted)


def test_no_streamed_secret_reaches_the_receiver(world: Make) -> None:
    """Every kind, in pieces, in every form of stream; what arrives is joined as a reader would."""
    chance = random.Random(7)
    one = world(sources=proxy, redactor=Redactor())
    sent = [
        (form, secret, streams.record([make(piece) for piece in streams.cut(secret.text, chance)]))
        for form, make in streams.FORMS.items()
        for secret in SECRETS
    ]
    one.write(FILE, *(line for _, _, line in sent))
    one.start()
    one.settle()
    assert len(one.arrived()) == len({line for _, _, line in sent})
    said = [streams.said(form, line.encode()) for line in one.arrived() for form in streams.forms_of(line)]
    assert len(said) >= len(sent)
    assert [
        part for _, secret, _ in sent for part in secret.secrets if any(part in text for text in said)
    ] == []


def test_without_a_redactor_lines_arrive_as_they_are(world: Make) -> None:
    """`--no-redact`."""
    one = world()
    one.write("a.jsonl", one.line(KEY))
    one.start()
    one.settle()
    assert texts(one) == [KEY]


def test_a_masked_line_is_the_same_entry_after_a_crash(world: Make) -> None:
    """It was stored, the answer was lost: the repeat shows once."""
    one = world(redactor=Redactor())
    one.write("a.jsonl", one.line(f"it is {KEY}"), one.line("and more"))
    one.start()
    one.script = lambda _labels: "stored-reset"
    one.pump(10)
    one.crash()
    one.script = lambda _labels: None
    one.start()
    one.settle()
    assert texts(one) == ["it is [REDACTED:anthropic_key]", "and more"]


def test_lines_that_are_read_again_are_masked_and_counted_once(world: Make) -> None:
    """A refused stream leaves memory; its lines are read a second time."""
    one = world(redactor=Redactor())
    one.write("a.jsonl", *(one.line(f"{n} {KEY}") for n in range(50)))
    one.start()
    one.script = lambda _labels: Answer(403, "no")
    one.pump(60)
    one.script = lambda _labels: None
    one.settle()
    assert texts(one) == [f"{n} [REDACTED:anthropic_key]" for n in range(50)]
    assert one.meter.counts["redactions", "anthropic_key"] == 50


def test_dead_letters_hold_the_masked_line(world: Make) -> None:
    """Those that Loki refuses for good, and those that are too old."""
    one = world(redactor=Redactor(), options=Options(policy=Policy(3600 * 10**9, "dead-letter")))
    one.write("a.jsonl", one.line(f"old {KEY}", ago_s=9000), one.line(f"bad {KEY}"))
    one.start()
    one.script = lambda _labels: Answer(400, "invalid UTF-8 in line")
    one.pump(30)
    one.pump(30)
    buried = json.dumps(one.buried())
    assert "old [REDACTED:anthropic_key]" in buried
    assert KEY[-12:] not in everything(one)


@pytest.mark.parametrize("cut", [4096 - 30, 4096 - 60, 4096 - 8, 4096 - 110])
def test_the_head_of_a_line_that_is_too_long_shows_no_part_of_a_secret(world: Make, cut: int) -> None:
    """Wherever the head ends."""
    one = world(redactor=Redactor(), options=Options(max_line_bytes=300_000))
    text = "word " * (cut // 5)
    one.write("a.jsonl", text[: cut - 1] + " " + KEY + "x" * 500_000)
    one.start()
    one.settle()
    (letter,) = one.buried()
    assert letter["reason"] == "line_too_long"
    assert KEY[:20] not in letter["line"]
    assert letter["line"].startswith("word word")


def test_a_log_line_is_masked() -> None:
    """A gateway may answer with what it was sent."""
    out = io.StringIO()
    Log(out, masked=Redactor().text)("push_refused", detail=f"you sent x-api-key: {KEY}")
    assert KEY[-12:] not in out.getvalue()
    assert "[REDACTED:" in out.getvalue()


def test_the_log_masks_by_the_rules_of_the_configuration_in_force() -> None:
    """A reload brings other rules, and they hold for the log from then on."""
    out = io.StringIO()
    log = Log(out)
    log.configure(form="text", level="info", masked=Redactor([Own("ticket", "TCK-[0-9]+")]).text)
    log("push_refused", detail="TCK-12345678")
    assert "12345678" not in out.getvalue()
