"""Dead letters once more."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from receiver import Answer, Model

from shipper.commands.replay import filler, splitter
from shipper.entries import parts
from shipper.keeping import deadletter
from shipper.keeping.deadletter import DeadLetters
from shipper.proof.letters import places
from shipper.proof.replay import Busy, Means, Outcome, look, replay
from shipper.proof.resend import Resender
from shipper.push.answer import Verdict, judge
from shipper.push.retry import RetryPolicy
from shipper.redact.redactor import Redactor
from shipper.sending.batch import Limits
from shipper.sources.jsonl import Jsonl

NOW_NS = 1_795_000_000 * 10**9
HOUR_NS = 3600 * 10**9
STREAM = {"app": "jsonl", "environment": "test", "machine": "u@h"}


def letter(text: str, *, stamp: int | None = NOW_NS, **more: object) -> dict[str, Any]:
    """Return a dead letter."""
    return {
        "reason": "invalid",
        "status": 400,
        "detail": "",
        "file": "/logs/a.jsonl",
        "file_id": 7,
        "offset": 0,
        "stream": STREAM,
        "timestamp": None if stamp is None else str(stamp),
        "metadata": {"session_id": "s"},
        "time": "2026-11-18T00:00:00Z",
        "line": text,
        **more,
    }


class Case:
    """A dead-letter file and a Loki in memory."""

    def __init__(self, root: pathlib.Path, *records: dict[str, Any] | bytes) -> None:
        self.path = root / "dead-letters.jsonl"
        self.path.write_bytes(b"".join(map(_raw, records)))
        self.model = Model(now_ns=lambda: NOW_NS)
        self.before: Callable[[], None] = lambda: None
        self.noted: list[tuple[int, int]] = []
        self.answer: Callable[[bytes], Answer | None] = lambda _body: None

    def run(self, *, limit_bytes: int = 256 << 10, redactor: Redactor | None = None) -> Outcome:
        """Replay."""
        resender = Resender(
            self._post,
            lambda _s: None,
            lambda: 0.5,
            lambda: NOW_NS,
            Limits(),
            policy=RetryPolicy(retries=2),
        )
        means = Means(
            redactor.text if redactor is not None else str,
            filler((Jsonl("/logs/*.jsonl", "test", "u@h"),)),
            splitter(limit_bytes, {7: "/logs/first.jsonl"}),
            limit_bytes,
        )
        return replay(self.path, resender, means, self.noted.extend, lambda: "now")

    def _post(self, body: bytes) -> Verdict:
        self.before()
        answer = self.answer(body) or self.model.push(body)
        return judge(answer.status, answer.text)

    @property
    def left(self) -> list[str]:
        """What is in the file, line by line."""
        return self.path.read_text().splitlines()

    def entries(self) -> dict[str, dict[str, str]]:
        """Return what Loki holds: by text, labels and metadata together."""
        return {
            line: {**dict(labels), **meta}
            for labels, kept in self.model.entries.items()
            for (_, line), meta in kept.items()
        }


def _raw(record: dict[str, Any] | bytes) -> bytes:
    return record if isinstance(record, bytes) else json.dumps(record).encode() + b"\n"


def test_what_is_taken_leaves_the_file(tmp_path: pathlib.Path) -> None:
    """Two letters, in their stream, at their nanosecond, with their metadata."""
    case = Case(tmp_path, letter("one"), letter("two", stamp=NOW_NS + 1000))

    assert case.run().taken == 2
    assert case.left == []
    assert case.entries()["one"] == {**STREAM, "session_id": "s"}
    assert {(NOW_NS, "one"), (NOW_NS + 1000, "two")} == set(*case.model.entries.values())


def test_what_is_refused_again_stays_with_the_new_reason(tmp_path: pathlib.Path) -> None:
    """One of three is too long for Loki's present limit; no other suffers."""
    case = Case(
        tmp_path, letter("one"), letter("x" * 2000, stamp=NOW_NS + 1), letter("two", stamp=NOW_NS + 2)
    )
    case.model.rules.max_line_bytes = 1000

    done = case.run()

    assert (done.taken, dict(done.refused)) == (2, {"line_too_long": 1})
    (kept,) = map(json.loads, case.left)
    assert (kept["reason"], kept["time"], kept["line"]) == ("line_too_long", "now", "x" * 2000)


def test_a_torn_last_line_and_garbage_stay(tmp_path: pathlib.Path) -> None:
    """What is no dead letter is nobody's to throw away."""
    case = Case(tmp_path, b"garbage\n", letter("one"), b"[1]\n", b'{"reason": "torn')

    done = case.run()

    assert done.taken == 1
    assert case.left == ["garbage", "[1]", '{"reason": "torn']


def test_the_head_of_a_line_that_was_too_long_for_memory_stays(tmp_path: pathlib.Path) -> None:
    """Its line is not there to be sent."""
    case = Case(tmp_path, letter("head", truncated=True, stream=None))

    assert case.run().kept.total() == 1
    assert len(case.left) == 1


@pytest.mark.parametrize("status", [500, 429, 401])
def test_nothing_leaves_the_file_while_loki_takes_nothing(tmp_path: pathlib.Path, status: int) -> None:
    """After the first letter Loki is away, or refuses the credentials."""
    records = [
        letter(f"line {n}", stamp=NOW_NS + n * HOUR_NS // 100, stream={"app": str(n)}) for n in range(3)
    ]
    case = Case(tmp_path, *records)
    case.answer = lambda body: None if b"line 0" in body else Answer(status, "no")

    done = case.run()

    assert (done.taken, done.waiting) == (1, 2)
    assert done.stopped
    assert [json.loads(line)["line"] for line in case.left] == ["line 1", "line 2"]


def test_letters_behind_a_stream_that_went_on_go_to_backfill(tmp_path: pathlib.Path) -> None:
    """The stream is five hours ahead."""
    case = Case(tmp_path, letter("old", stamp=NOW_NS - 5 * HOUR_NS), letter("now"))
    case.model.push(
        json.dumps({"streams": [{"stream": STREAM, "values": [[str(NOW_NS), "ahead"]]}]}).encode()
    )

    assert case.run().taken == 2
    assert case.entries()["old"]["backfill"]
    assert "backfill" not in case.entries()["now"]


def test_letters_older_than_loki_takes_are_restamped(tmp_path: pathlib.Path) -> None:
    """One of them without a stamp, as the policy `dead-letter` writes them: its source reads its time."""
    no_stamp = '{"timestamp": "2026-10-01T00:00:00Z", "model": "m"}'
    case = Case(
        tmp_path,
        letter("old", stamp=NOW_NS - 30 * 24 * HOUR_NS),
        letter(no_stamp, stamp=None, metadata=None, reason="too_old"),
    )

    assert case.run().taken == 2
    assert {"restamped": "true", "session_id": "s"}.items() <= case.entries()["old"].items()
    found = case.entries()[no_stamp]
    assert (found["model"], found["restamped"]) == ("m", "true")
    assert found["original_timestamp"].startswith("2026-10-01T00:00:00.0000")


def test_a_line_that_was_too_long_for_an_entry_goes_in_parts(tmp_path: pathlib.Path) -> None:
    """Dead-lettered by a version, or at a limit, that did not split it."""
    text = "".join(f"é{n}" for n in range(4000))
    case = Case(tmp_path, letter(text))

    assert case.run(limit_bytes=9000).taken == 1
    found = case.entries()
    assert sorted(meta["part"] for meta in found.values()) == ["1", "2", "3"]
    assert "".join(line for line, _ in sorted(found.items(), key=lambda e: e[1]["part"])) == text


def test_what_the_shipper_appends_meanwhile_stays(tmp_path: pathlib.Path) -> None:
    """A dead letter comes while the others are sent."""
    case = Case(tmp_path, letter("one"))
    shipper = DeadLetters(case.path, 1 << 20)

    def append() -> None:
        assert shipper.write([letter("meanwhile")])

    case.before = append

    assert case.run().taken == 1
    assert [json.loads(line)["line"] for line in case.left] == ["meanwhile"]


def test_a_writer_that_waited_for_the_lock_writes_to_the_new_file(tmp_path: pathlib.Path) -> None:
    """It had opened the old one before it was replaced."""
    path = tmp_path / "dead-letters.jsonl"
    path.write_bytes(b"old\n")
    lock = deadletter.held(path)
    written: list[bool] = []
    thread = threading.Thread(
        target=lambda: written.append(DeadLetters(path, 1 << 20).write([letter("new")]))
    )
    thread.start()
    fresh = tmp_path / "fresh"
    fresh.write_bytes(b"")
    fresh.rename(path)
    os.close(lock)
    thread.join(timeout=10)

    assert written == [True]
    assert json.loads(path.read_text())["line"] == "new"


def test_two_replays_at_once_are_one(tmp_path: pathlib.Path) -> None:
    """The second one says so, and sends nothing."""
    case = Case(tmp_path, letter("one"))
    fd = os.open(tmp_path / "replay.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(Busy):
        case.run()
    os.close(fd)

    assert not case.model.entries


def test_no_file_is_no_work(tmp_path: pathlib.Path) -> None:
    """Nothing was ever refused."""
    case = Case(tmp_path)
    case.path.unlink()

    assert case.run() == Outcome()
    assert not case.path.exists()


def test_a_look_sends_nothing(tmp_path: pathlib.Path) -> None:
    """What `--dry-run` counts."""
    case = Case(tmp_path, letter("one"), b"garbage\n")

    kept = [
        one.kept
        for one in look(case.path, Means(str, lambda _: (None, None), splitter(1 << 20, {}), 1 << 20))
    ]

    assert kept == ["", "no dead letter"]
    assert not case.model.entries


KEY = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789"


@pytest.mark.parametrize("answer", [None, Answer(400, "invalid")])
def test_a_letter_is_masked_by_the_present_rules_before_it_is_sent(
    tmp_path: pathlib.Path, answer: Answer | None
) -> None:
    """It was written with `--no-redact`, or by an older version; refused again, it stays masked."""
    case = Case(tmp_path, letter(f'{{"key": "{KEY}"}}', metadata={"user": KEY}, stream={"app": KEY}))
    sent: list[bytes] = []
    case.answer = lambda body: sent.append(body) or answer  # type: ignore[func-returns-value]

    case.run(redactor=Redactor())

    assert len(sent) == 1
    assert KEY.encode() not in b"".join((*sent, case.path.read_bytes()))
    assert b"REDACTED" in sent[0]


NESTED: Any = []
for _ in range(400):
    NESTED = [NESTED]


@pytest.mark.parametrize("value", ["x", [1], {}, None, True, -1, 1.5, 10**40, "9" * 40, "", "\x00", NESTED])
@pytest.mark.parametrize(
    "field", ["offset", "file_id", "timestamp", "file", "stream", "metadata", "line", "reason", "status"]
)
@pytest.mark.parametrize("status", [204, 400])
def test_no_value_of_any_field_of_a_letter_stops_the_others(
    tmp_path: pathlib.Path, field: str, value: object, status: int
) -> None:
    """A letter with a long line and something odd in it, before one that can be sent."""
    odd = {**letter("y" * 300_000), field: value}
    case = Case(tmp_path, odd, letter("good", stream={"app": "good"}))
    case.answer = lambda body: Answer(400, "invalid") if status == 400 and b"good" not in body else None
    assert all(0 <= number < 2**63 for place in places(case.path) for number in place)

    case.run()

    assert "good" in case.entries()


def test_a_long_line_goes_by_the_name_that_run_gives_it(tmp_path: pathlib.Path) -> None:
    """Of the path under which its file was first seen; and what is sent is noted, part by part."""
    text = "x" * 20_000
    case = Case(tmp_path, letter(text, offset=100))

    case.run(limit_bytes=9000)

    name = parts.line_id("/logs/first.jsonl", 100, [text])
    assert {meta["line_id"] for meta in case.entries().values()} == {name}
    assert case.noted == [(7, 100), (7, 101), (7, 102)]


def test_a_part_stays_a_part_of_its_line(tmp_path: pathlib.Path) -> None:
    """Though it is longer than lines are split at now: its other parts are not here."""
    meta = {"line_id": "ab" * 8, "part": "2", "parts": "3"}
    case = Case(tmp_path, letter("x" * 20_000, metadata=meta))

    case.run(limit_bytes=9000)

    assert list(case.entries().values()) == [{**STREAM, **meta}]


@pytest.mark.parametrize("refused", [False, True])
def test_all_parts_of_a_line_are_cut_anew_by_a_lower_limit(tmp_path: pathlib.Path, *, refused: bool) -> None:
    """Under the name of their line, at its time; all leave the file, or all stay."""
    pieces = ["a" * 20_000, "b" * 20_000, "c" * 500]
    metas = [{"line_id": "ab" * 8, "part": str(n), "parts": "3"} for n in (1, 2, 3)]
    records = [
        letter(text, stamp=NOW_NS + n * 1000, metadata=meta, offset=n)
        for n, (text, meta) in enumerate(zip(pieces, metas, strict=True))
    ]
    case = Case(tmp_path, *records)
    case.answer = lambda body: Answer(400, "invalid") if refused and b"ccc" in body else None

    done = case.run(limit_bytes=9000)

    assert (done.taken, done.refused.total(), len(case.left)) == ((0, 3, 3) if refused else (3, 0, 0))
    found = sorted((stamp, line) for kept in case.model.entries.values() for stamp, line in kept)
    assert [stamp for stamp, _ in found] == [NOW_NS + n * 1000 for n in range(len(found))]
    assert "".join(line for _, line in found) == "".join(pieces)[: len(found) * 9000]
    assert {(meta["line_id"], meta["parts"]) for meta in case.entries().values()} == {("ab" * 8, "5")}


@pytest.mark.parametrize("name", ["dead-letters.jsonl", "replay.lock", ".dead-letters.jsonl.replay"])
def test_a_fifo_in_place_of_a_file_is_told_and_not_waited_for(tmp_path: pathlib.Path, name: str) -> None:
    """Whoever can write there cannot hold replay up."""
    case = Case(tmp_path, letter("one"))
    (case.path.parent / name).unlink(missing_ok=True)
    os.mkfifo(case.path.parent / name)

    with pytest.raises(OSError, match=r"no regular file|No such device"):
        case.run()
