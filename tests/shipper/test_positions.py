"""Positions on disk: the form is pinned, and no damage stops a start."""

from __future__ import annotations

import errno
import os
import pathlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper import positions
from shipper.positions import Behind, FileRecord, Moved, Positions

RECORD = FileRecord(
    id=3,
    source="jsonl=/x/*.jsonl",
    path="/x/a.jsonl",
    dev=1,
    ino=2,
    slot=4,
    head_bytes=10,
    head="aa",
    read=100,
    tail="bb",
    state=[5, 0, 1, 0, 0, 0, 0, 0],
    size=120,
    behind=[Behind(0, 50, [1, 0, 0, 0, 0, 0, 0, 0], "openai", 60, exact=True)],
    clocks=[(50, 100, 7, 9, 0)],
    moved=[Moved(0, 60, 70, "backfill")],
    counts={"acked": 9},
)
SAMPLE = Positions({"app": ["jsonl"]}, [{"app": "jsonl"}], [RECORD], 4, 5)
PINNED = (
    b'{"v":1,"crc":%d}\n'
    b'{"labels":{"app":["jsonl"]},"streams":[{"app":"jsonl"}],"next_id":4,"next_slot":5,"totals":{},"files":['
    b'{"id":3,"source":"jsonl=/x/*.jsonl","path":"/x/a.jsonl","dev":1,"ino":2,"slot":4,"head_bytes":10,"head":"aa",'
    b'"read":100,"tail":"bb","state":[5,0,1,0,0,0,0,0],"size":120,'
    b'"behind":[[0,50,[1,0,0,0,0,0,0,0],"openai",60,true]],"clocks":[[50,100,7,9,0]],"moved":[[0,60,70,"backfill",0]],'
    b'"counts":{"acked":9}}]}\n'
)


def test_the_form_on_disk_is_pinned() -> None:
    """A new version of the program must read what an old one wrote, so nobody changes this by accident."""
    data = positions.encode(SAMPLE)
    crc = int(data[data.index(b"crc") + 5 : data.index(b"}")])

    assert data == PINNED % crc


def test_the_form_without_a_policy_beside_the_clock_is_read_too() -> None:
    """As it was written before; nothing is known of its floors' lines then."""
    content = (PINNED.split(b"\n", 1)[1]).replace(b"60,true]", b"60]").replace(b"100,7,9,0]", b"100,7]")
    (record,) = positions.decode(b'{"v":1,"crc":%d}\n' % zlib.crc32(content) + content).files

    assert (record.clocks, record.behind[0].exact) == ([(50, 100, 7)], False)


def test_what_was_saved_is_loaded(tmp_path: pathlib.Path) -> None:
    """Both generations hold the same thing after a save."""
    positions.save(tmp_path, positions.encode(SAMPLE))

    assert positions.load(tmp_path).positions == SAMPLE
    first, second = ((tmp_path / name).read_bytes() for name in positions.GENERATIONS)
    assert first == second


@pytest.mark.parametrize("damage", [b"", b"\0" * 200, b"{}", b'{"v":9,"crc":1}\n{}', b"\xff\xfe", PINNED % 1])
@pytest.mark.parametrize("which", positions.GENERATIONS)
def test_a_damaged_generation_is_set_aside_and_the_other_one_used(
    tmp_path: pathlib.Path, damage: bytes, which: str
) -> None:
    """Empty, NULs, another form, another version: the start goes on with a warning where it mattered."""
    positions.save(tmp_path, positions.encode(SAMPLE))
    (tmp_path / which).write_bytes(damage)

    loaded = positions.load(tmp_path, lambda: 7.0)

    assert loaded.positions == SAMPLE
    if which == positions.GENERATIONS[0]:
        assert (tmp_path / f"{which}.corrupt-7").read_bytes() == damage
        assert len(loaded.warnings) == 1


def test_with_both_generations_damaged_the_start_is_a_fresh_one(tmp_path: pathlib.Path) -> None:
    """Repeats rather than losses, said in a warning."""
    for name in positions.GENERATIONS:
        (tmp_path / name).write_bytes(b"nonsense")

    loaded = positions.load(tmp_path)

    assert loaded.positions == Positions()
    assert "sent again" in loaded.warnings[-1]


def test_nothing_saved_yet_is_no_warning(tmp_path: pathlib.Path) -> None:
    """The first start is an ordinary one."""
    assert positions.load(tmp_path) == positions.Loaded(Positions(), "", [])


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused_and_never_crash(data: bytes) -> None:
    """`decode` raises ValueError and nothing else."""
    with pytest.raises(ValueError):  # noqa: PT011 - any ValueError is the promise
        positions.decode(data)


@given(st.integers(0, len(PINNED) - 1), st.integers(1, 255))
def test_a_single_flipped_byte_is_noticed(index: int, mask: int) -> None:
    """The checksum covers all of the content."""
    data = bytearray(positions.encode(SAMPLE))
    data[index % len(data)] ^= mask

    try:
        found = positions.decode(bytes(data))
    except ValueError:
        return
    assert found == SAMPLE  # a blank in the header line is as good as another


def test_a_save_that_fails_leaves_an_old_generation_whole(tmp_path: pathlib.Path) -> None:
    """A full disk costs the save, not what was saved before."""
    positions.save(tmp_path, positions.encode(SAMPLE))

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="space"):
        positions.save(tmp_path, positions.encode(Positions()), sync=full)
    assert positions.load(tmp_path).positions == SAMPLE
