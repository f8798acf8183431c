"""The lines of a chunk: in one piece, as bytes, as text. Each form is made when it is asked for, and once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import overload

_FIRST, _LAST = itemgetter(0), itemgetter(-1)
_BRACES = (({"{"}, {"}"}), ({ord("{")}, {ord("}")}))
"""Of text and of bytes."""


class Lines(Sequence[bytes]):
    """Lines without their newlines. A usual chunk is decoded once, and is never split as bytes."""

    __slots__ = ("_braced", "_each", "_piece", "_sizes", "_texts")

    def __init__(self, each: list[bytes] | None, texts: list[str] | None = None, piece: bytes | None = None):  # noqa: ANN204 - a constructor
        """`each` may be left out where `texts` are given and all ASCII."""
        self._each = each
        self._texts = texts
        self._piece = piece
        self._braced: bool | None = None
        self._sizes: list[int] | None = None

    @property
    def braced(self) -> bool:
        """True when each line begins with `{` and ends with `}`; so none is blank."""
        if self._braced is None:
            lines = self._known()
            try:
                # A search for the three bytes between two lines takes three times as long as this.
                first, last = {*map(_FIRST, lines)}, {*map(_LAST, lines)}
            except IndexError:
                first = last = set()
            self._braced = (first, last) in _BRACES
        return self._braced

    @property
    def ascii(self) -> bool:
        """True where that is known: then text has the size of bytes."""
        return self._each is None

    @property
    def each(self) -> list[bytes]:
        """The lines as bytes."""
        if self._each is None:
            self._each = self.piece.split(b"\n") if self._texts else []
        return self._each

    @property
    def piece(self) -> bytes:
        """The lines joined by newlines."""
        if self._piece is None:
            self._piece = (
                "\n".join(self._texts or ()).encode() if self._each is None else b"\n".join(self._each)
            )
        return self._piece

    @property
    def texts(self) -> list[str]:
        """The lines as text; what is not UTF-8 is U+FFFD."""
        if self._texts is None:
            self._texts = _decoded(self.piece, self.each)
        return self._texts

    @property
    def sizes(self) -> list[int]:
        """The bytes of each line."""
        if self._sizes is None:
            self._sizes = list(map(len, self._known()))
        return self._sizes

    @property
    def longest(self) -> int:
        """The bytes of the longest line."""
        return max(self.sizes, default=0)

    def _known(self) -> list[bytes] | list[str]:
        # Where the bytes were never split the texts are ASCII, and as long.
        return (self._texts or []) if self._each is None else self._each

    def __len__(self) -> int:
        return len(self._known())

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.each)

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Lines: ...

    def __getitem__(self, index: int | slice) -> bytes | Lines:
        if isinstance(index, slice):
            return Lines(None, (self._texts or [])[index]) if self._each is None else Lines(self._each[index])
        return self.each[index]

    def __eq__(self, other: object) -> bool:
        return self.each == other  # a list does not know Lines, so then the other side is asked

    # It equals a list of the same lines, which has no hash either.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Lines({self.each!r})"


def joined(lines: Sequence[bytes]) -> bytes:
    """Return lines in one piece; without work where they came so."""
    return lines.piece if isinstance(lines, Lines) else b"\n".join(lines)


def braced(lines: Sequence[bytes]) -> bool:
    """Tell whether each line begins with `{` and ends with `}`."""
    return (lines if isinstance(lines, Lines) else Lines(list(lines))).braced


def _decoded(piece: bytes, each: list[bytes]) -> list[str]:
    if not each:
        return []
    try:
        # One decoding for all is three times as fast as one for each; no character holds a newline.
        return piece.decode().split("\n")
    except UnicodeDecodeError:
        return [str(line, "utf-8", "replace") for line in each]
