from __future__ import annotations

import os
import pathlib
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.keeping.positions import GENERATIONS, Positions, decode, encode, load, load_lean, pieces, save
from shipper.keeping.record import Behind, FileRecord, Moved, encode_file

RECORD = FileRecord(
    id=7,
    source="jsonl=/logs/*.jsonl",
    path="/logs/a.jsonl",
    dev=2049,
    ino=4242,
    slot=3,
    head_bytes=1024,
    head="ab" * 12,
    read=4096,
    tail="cd" * 12,
    state=[1, 2, 3, 4, 5, 6, 7, 8],
    context="anthropic",
    size=5000,
    origin="/logs/first.jsonl",
    answer_last=9,
    behind=[Behind(0, 100, [0] * 8, "", 200)],
    clocks=[(0, 100, 1_795_000_000)],
    moved=[Moved(0, 5, 9, "backfill"), Moved(0, 10, 10, "restamped", 77)],
    counts={"acked": 5, "dead": 1, "lost_bytes": 0},
)
FULL = Positions({"app": ["x", "é"]}, [{"app": "x"}], [RECORD, RECORD], 8, 4, {"sent": 9})
DATA = encode(FULL)
CURRENT, PREVIOUS = GENERATIONS


def no_sync(_fd: int) -> None:
    """Do nothing: a test has no use for an fsync."""


def signed(content: bytes) -> bytes:
    """Return content under a header that fits it."""
    return b'{"v":1,"crc":%d}\n' % zlib.crc32(content) + content


def test_what_is_written_reads_back() -> None:
    """All of it, text of any script included."""
    assert decode(DATA) == FULL


def test_records_encoded_before_give_the_same_bytes() -> None:
    """Only what changed is encoded anew at a save."""
    assert b"".join(pieces(FULL, [encode_file(RECORD)] * 2)) == DATA


def test_records_that_are_decoded_one_at_a_time_are_the_same(tmp_path: pathlib.Path) -> None:
    """Ten thousand at once take five times the memory of their text."""
    (tmp_path / CURRENT).write_bytes(DATA)

    found, records = load_lean(tmp_path)

    assert (found.positions.files, len(records)) == ([], 2)
    assert [list(records), list(records)] == [FULL.files, FULL.files]


def test_one_record_that_is_none_makes_no_usable_generation() -> None:
    """Under a checksum that fits: half of the files would be sent again and nobody told."""
    content = b'{"files":[' + encode_file(RECORD) + b',{"id":"seven"}]}\n'

    with pytest.raises(ValueError, match=r"."):
        decode(signed(content))


def test_a_generation_saved_in_pieces_is_the_same(tmp_path: pathlib.Path) -> None:
    """However many there are, and wherever they end."""
    many = Positions(files=[RECORD] * 700)

    save(tmp_path, pieces(many, map(encode_file, many.files)), no_sync)

    assert [(tmp_path / name).read_bytes() for name in GENERATIONS] == [encode(many)] * 2


PINNED = (
    b'{"labels":{"app":["x"]},"streams":[{"app":"x"}],"next_id":8,"next_slot":4,"totals":{},"files":['
    b'{"id":7,"source":"jsonl=/logs/*.jsonl","path":"/logs/a.jsonl","dev":2049,"ino":4242,"slot":3,'
    b'"head_bytes":1024,"head":"h","read":4096,"tail":"t","state":[1,2,3,4,5,6,7,8],"context":"anthropic",'
    b'"size":5000,"behind":[[0,50,[1,0,0,0,0,0,0,0],"openai",60,true]],"clocks":[[50,100,7,9,0]],'
    b'"moved":[[0,60,70,"backfill",0]],"counts":{"acked":9}}]}\n'
)


def test_the_form_on_disk_is_pinned() -> None:
    """The next version must read it: whoever changes this test must think of files that are out there."""
    record = FileRecord(
        id=7,
        source="jsonl=/logs/*.jsonl",
        path="/logs/a.jsonl",
        dev=2049,
        ino=4242,
        slot=3,
        head_bytes=1024,
        head="h",
        read=4096,
        tail="t",
        state=[1, 2, 3, 4, 5, 6, 7, 8],
        context="anthropic",
        size=5000,
        behind=[Behind(0, 50, [1, 0, 0, 0, 0, 0, 0, 0], "openai", 60, exact=True)],
        clocks=[(50, 100, 7, 9, 0)],
        moved=[Moved(0, 60, 70, "backfill")],
        counts={"acked": 9},
    )

    assert encode(Positions({"app": ["x"]}, [{"app": "x"}], [record], 8, 4)) == signed(PINNED)


def test_what_is_not_said_of_a_file_takes_no_place() -> None:
    """There may be ten thousand of them."""
    small = FileRecord(1, "s", "/a", 2, 3, 4, 5, "h", 6, "t", [0])

    assert encode_file(small) == (
        b'{"id":1,"source":"s","path":"/a","dev":2,"ino":3,"slot":4,"head_bytes":5,"head":"h","read":6,"tail":"t",'
        b'"state":[0]}'
    )


def test_the_form_without_a_policy_beside_the_clock_is_read_too() -> None:
    """As it was written before; nothing is known of its floors' lines then."""
    old = PINNED.replace(b"60,true]", b"60]").replace(b"100,7,9,0]", b"100,7]")

    (record,) = decode(signed(old)).files

    assert (record.clocks, record.behind[0].exact) == ([(50, 100, 7)], False)


@pytest.mark.parametrize("size", range(len(DATA)))
def test_a_generation_torn_at_any_byte_is_refused(size: int) -> None:
    """However much of it reached the disk."""
    with pytest.raises(ValueError, match=r"."):
        decode(DATA[:size])


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_a_generation_with_any_byte_changed_is_refused(at: int, flip: int) -> None:
    """The checksum covers the content, and a header that lies is none."""
    changed = DATA[:at] + bytes([DATA[at] ^ flip]) + DATA[at + 1 :]

    try:
        found = decode(changed)
    except ValueError:
        return
    # A blank in the header may become another blank.
    assert found == FULL


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused_and_raise_nothing_else(data: bytes) -> None:
    """One kind of error for whoever loads them."""
    with pytest.raises(ValueError, match=r"."):
        decode(data)


FOREIGN = {
    "empty": b"",
    "newline": b"\n",
    "nuls": b"\x00" * 4096,
    "binary": bytes(range(256)),
    "no-json": b"positions:\n  /var/log/x: 5\n",
    "another-version": b'{"v":2,"crc":0}\n{}\n',
    "a-list": b"[]\n[]\n",
    "deep-header": b"[" * 100_000 + b"\n",
    "deep-content": signed(b'{"files":' + b"[" * 100_000),
    "wrong-types": signed(b'{"files":5}\n'),
    "no-utf8": signed(b'{"labels":{"\xff":[]}}\n'),
    "wrong-sum": b'{"v":1,"crc":1}\n{}\n',
    "sum-is-text": b'{"v":1,"crc":"1"}\n{}\n',
}


@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_file_never_stops_the_start(data: bytes, tmp_path: pathlib.Path) -> None:
    """It is set aside and named in a warning; the other generation is used."""
    (tmp_path / CURRENT).write_bytes(data)
    (tmp_path / PREVIOUS).write_bytes(DATA)

    found = load(tmp_path, lambda: 1000.5)

    assert (found.positions, found.source) == (FULL, PREVIOUS)
    assert [CURRENT in warning for warning in found.warnings] == [True]
    assert (tmp_path / f"{CURRENT}.corrupt-1000").read_bytes() == data


@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_second_generation_changes_nothing(data: bytes, tmp_path: pathlib.Path) -> None:
    """It is looked at only where the first is no use."""
    (tmp_path / CURRENT).write_bytes(DATA)
    (tmp_path / PREVIOUS).write_bytes(data)

    assert load(tmp_path, lambda: 0.0) == (FULL, CURRENT, [])


def test_with_neither_generation_usable_the_start_is_a_fresh_one(tmp_path: pathlib.Path) -> None:
    """Repeats rather than losses, and somebody is told."""
    for name in GENERATIONS:
        (tmp_path / name).write_bytes(b"")

    found = load(tmp_path, lambda: 0.0)

    assert (found.positions, found.source, len(found.warnings)) == (Positions(), "", 3)
    assert "sent again" in found.warnings[-1]


def test_a_first_start_warns_of_nothing(tmp_path: pathlib.Path) -> None:
    """There is nothing to miss."""
    assert load(tmp_path) == (Positions(), "", [])


def test_a_directory_in_the_place_of_a_generation_does_not_stop_the_start(tmp_path: pathlib.Path) -> None:
    """Somebody's mistake; the other one is used."""
    (tmp_path / CURRENT).mkdir()
    (tmp_path / PREVIOUS).write_bytes(DATA)

    assert load(tmp_path, lambda: 0.0).positions == FULL


def test_looking_changes_nothing_on_disk(tmp_path: pathlib.Path) -> None:
    """`positions` and `dry-run` only look."""
    (tmp_path / CURRENT).write_bytes(b"torn")

    found = load(tmp_path, look_only=True)

    assert found.warnings
    assert [path.name for path in tmp_path.iterdir()] == [CURRENT]


def test_a_save_writes_both_generations(tmp_path: pathlib.Path) -> None:
    """What a push rests on is in either."""
    save(tmp_path, DATA, no_sync)

    assert [(tmp_path / name).read_bytes() for name in GENERATIONS] == [DATA, DATA]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(GENERATIONS)
    assert (tmp_path / CURRENT).stat().st_mode & 0o777 == 0o600


def test_each_generation_is_synced_and_so_is_its_directory(tmp_path: pathlib.Path) -> None:
    """File, then directory, for one generation after the other."""
    kinds: list[bool] = []

    save(tmp_path, DATA, lambda fd: kinds.append(pathlib.Path(f"/proc/self/fd/{fd}").is_dir()))

    assert kinds == [False, True, False, True]


@pytest.mark.parametrize("step", range(4))
def test_a_crash_at_any_step_of_a_save_leaves_old_or_new(step: int, tmp_path: pathlib.Path) -> None:
    """Never a mixture, never nothing."""
    save(tmp_path, DATA, no_sync)
    newer = msgspec.structs.replace(FULL, next_id=99)
    steps = iter(range(4))

    def sync(_fd: int) -> None:
        if next(steps) == step:
            raise OSError(28, os.strerror(28))

    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, encode(newer), sync)

    found = load(tmp_path)
    assert found.positions in (FULL, newer)
    assert found.warnings == []


def test_a_temporary_file_that_a_crash_left_does_no_harm(tmp_path: pathlib.Path) -> None:
    """The next save writes over it."""
    (tmp_path / f".{CURRENT}.tmp").write_bytes(b"torn" * 1000)

    save(tmp_path, DATA, no_sync)

    assert load(tmp_path).positions == FULL


def test_a_link_planted_as_temporary_file_is_not_written_through(tmp_path: pathlib.Path) -> None:
    """A save takes the link away rather than overwrite what somebody else points at."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f".{PREVIOUS}.tmp").symlink_to(victim)
    save(tmp_path, DATA, no_sync)

    assert victim.read_text() == "mine"
    assert not (tmp_path / PREVIOUS).is_symlink()
    assert (tmp_path / PREVIOUS).read_bytes() == DATA
