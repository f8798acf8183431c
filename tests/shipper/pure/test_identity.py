from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from shipper.follow.identity import HEAD_BYTES, TAIL_BYTES, Fingerprint, fingerprint, same, tail_start

contents = st.binary(min_size=1, max_size=3000)


def known(content: bytes, position: int) -> Fingerprint:
    """Return what is remembered of a file that has been read to `position`."""
    return fingerprint(content[:HEAD_BYTES], position, content[tail_start(position) : position])


def recognised(print_: Fingerprint, content: bytes) -> bool:
    """Tell whether a file with this content passes for the known one."""
    start = tail_start(print_.position)
    return same(print_, content[:HEAD_BYTES], content[start : print_.position])


@given(contents, st.data(), st.binary(max_size=100))
def test_a_file_that_only_grew_is_recognised(content: bytes, data: st.DataObject, more: bytes) -> None:
    """Whatever was appended, and wherever the position was."""
    position = data.draw(st.integers(0, len(content)))

    assert recognised(known(content, position), content + more)


@given(contents, st.data())
def test_another_byte_in_the_head_or_before_the_position_is_another_file(
    content: bytes, data: st.DataObject
) -> None:
    """ext4 gives the same inode again at once, so device and inode prove nothing."""
    position = data.draw(st.integers(0, len(content)))
    at = data.draw(st.integers(0, len(content) - 1))
    assume(at < HEAD_BYTES or position - TAIL_BYTES <= at < position)
    changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    assert not recognised(known(content, position), changed)


@given(contents, st.data())
def test_a_file_shorter_than_its_position_is_another(content: bytes, data: st.DataObject) -> None:
    """It was cut."""
    position = data.draw(st.integers(1, len(content)))
    cut = data.draw(st.integers(0, position - 1))

    assert not recognised(known(content, position), content[:cut])


def test_a_file_of_which_nothing_was_seen_is_like_no_other() -> None:
    """Else an empty record would swallow the first file that comes along."""
    assert not same(Fingerprint(), b"anything", b"")
