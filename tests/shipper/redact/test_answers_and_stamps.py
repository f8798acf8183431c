"""What an answer echoes is masked wherever it is kept, and masking moves no other line's stamp."""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import planted
from receiver import Answer
from shipper_world import World

from shipper.commands.prove import resender_of
from shipper.proof.resend import Letter
from shipper.push.answer import Action, Verdict
from shipper.redact.own import Own
from shipper.redact.redactor import Redactor
from shipper.state import Options

Make = Callable[..., World]
KEY = planted.secrets(7)[0].text


def stamps(world: World) -> dict[int, int]:
    """Return the stamp of each line that is no long one, by its number."""
    return {
        json.loads(text)["n"]: stamp
        for kept in world.model.entries.values()
        for stamp, text in (entry[:2] for entry in kept)
        if len(text) < 4000
    }


@pytest.mark.parametrize("word", ["word", "w\u00f6rd"])
@pytest.mark.parametrize("timed", [True, False])
def test_a_line_has_its_stamp_whatever_is_masked_in_the_one_before(
    tmp_path: pathlib.Path, *, word: str, timed: bool
) -> None:
    """Steps are reserved by the bytes in the file: another set of rules moves no stamp."""
    found = []
    rules = (None, Redactor(), Redactor([Own("long", f"((?:{word}){{20,}})")]))
    for number, redactor in enumerate(rules):
        root = tmp_path / str(number)
        root.mkdir()
        one = World(root, redactor=redactor)
        count = 8080 // (len(json.dumps(word)) - 2)
        long = (word * count, f"{word * count} {KEY}", f"{word * count} {word * count} {KEY}")
        lines = [one.line(text, n=number) for number, text in enumerate((*long, "short", "another"))]
        if not timed:
            lines = [json.dumps({**json.loads(line), "ts": None}) for line in lines]
        one.write("a.jsonl", *lines)
        one.start()
        one.settle()
        found.append({n: s for n, s in stamps(one).items() if n > 2})
        one.close()
    assert len(found[0]) == 2
    assert found[1] == found[0]
    assert found[2] == found[0]


def test_an_answer_that_echoes_a_secret_shows_it_nowhere(world: Make) -> None:
    """Neither on the status page nor in a dead letter."""
    one = world(redactor=Redactor())
    one.write("a.jsonl", one.line("refused"))
    one.start()
    one.script = lambda _labels: Answer(400, f"invalid UTF-8 in line, authorization was: Bearer {KEY}")
    one.pump(30)
    one.pump(30)
    (letter,) = one.buried()
    assert "[REDACTED:" in letter["detail"]
    assert KEY[-12:] not in json.dumps(letter)
    error = one.engine.sender.last_error.text
    assert "[REDACTED:" in error
    assert KEY[-12:] not in error


def test_replay_and_verify_mask_what_an_answer_echoes() -> None:
    """They write it to the dead-letter file and to the terminal."""
    refused = Verdict(Action.KEEP, "auth", 401, f"no such key: {KEY}")
    talk = SimpleNamespace(post=lambda _body: refused)
    config = SimpleNamespace(options=Options(), retry_max=1, redactor=Redactor)
    resender = resender_of(config, talk)
    resender.send([Letter({"app": "a"}, 1, "text", None)])
    assert resender.stopped.detail == "no such key: [REDACTED:anthropic_key]"
    bare = SimpleNamespace(options=Options(), retry_max=1, redactor=lambda: None)
    resender = resender_of(bare, talk)
    resender.send([Letter({"app": "a"}, 1, "text", None)])
    assert resender.stopped is refused
