"""Masks secrets: one scan of a chunk nearly always finds none; only a line with something in it is looked at.

Everything is linear in the bytes: RE2 never goes back, and no rule looks further than a fixed number of bytes
for the end of what it found.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property, partial
from itertools import accumulate
from typing import Any, NamedTuple

import re2

from shipper.redact import crowded, streamed
from shipper.redact.crowded import Suspects
from shipper.redact.own import Own, OwnRules
from shipper.redact.rules import RULES, Rule
from shipper.redact.streamed import Find, Secret, Streamed

_PASSES = 4
"""What stood against a secret stands against a mask then: a line is looked at until nothing is found."""
_KEPT = 4096
_KEPT_BYTES = 64
_CUT_BYTES = 512
_WORD_END = re.compile(rb"[^\s\"'\\,]{1,%d}\Z" % _CUT_BYTES)
"""Of a longer word so much: the rest is of no use without it and what was cut off."""


Hit = tuple[int, str]
"""The index of a line, and the rule that found a secret in it."""


class Masked(NamedTuple):
    """Lines without secrets."""

    lines: Sequence[bytes]
    """The very object that was given, where nothing was found."""
    hits: list[Hit]
    """One for each secret."""


class Redactor:
    """The built-in rules and an operator's own. Holds no state: the same line is masked alike every time."""

    def __init__(self, own: Sequence[Own] = (), rules: Sequence[Rule] = RULES) -> None:
        self._rules = rules
        self._own = OwnRules(own) if own else None
        own_starts = [b"(?:" + start + b")" for start in self._own.of_bytes] if self._own else []
        self._any = _compiled(b"|".join((*self._starts, *own_starts, streamed.BEGUN)))
        self._apart = self._own.apart if self._own else None
        self._singles: dict[int, Any] = {}
        self._rule_of: dict[bytes, int] = {}

    def block(self, piece: bytes, lines: Sequence[bytes]) -> Masked:
        """Mask lines of which the joined bytes are at hand: `piece` has a newline between them."""
        return self._by_line(piece, lines) if self._may_hold(piece) else Masked(lines, [])

    def lines(self, lines: list[bytes]) -> Masked:
        """Mask lines."""
        return self.block(b"\n".join(lines), lines)

    def line(self, line: bytes, *, cut: bool = False) -> tuple[bytes, list[str]]:
        """Return one line without its secrets, and the rule of each. `cut`: as in `head`."""
        rules: list[str] = []
        masked = self._judged(line, rules, cut=cut)
        if masked is None:
            rules = [crowded.RULE]
            masked = self._judged(crowded.without_long_texts(line), rules, cut=cut)
        return (masked, rules) if masked is not None else (crowded.nothing_of(line), [crowded.RULE])

    def head(self, head: bytes) -> bytes:
        """Return the head of a line that was cut anywhere: what could be half a secret is masked."""
        event = streamed.first_event(head)
        if event >= 0:
            return self.line(head[:event], cut=True)[0] + mask("cut")
        masked, _ = self.line(head, cut=True)
        found = _WORD_END.search(masked, max(0, len(masked) - _CUT_BYTES))
        return masked[: found.start()] + mask("cut") if found else masked

    def text(self, text: str) -> str:
        """Return text for a log or a person without its secrets."""
        raw = text.encode("utf-8", "surrogateescape")
        if not self._may_hold(raw):
            return text
        masked, rules = self.line(raw)
        return masked.decode("utf-8", "surrogateescape") if rules else text

    def _may_hold(self, piece: bytes) -> bool:
        """Return whether there is anything to look at: the one question that nearly every line is asked."""
        return bool(self._any.search(piece) or (self._apart is not None and self._apart.search(piece)))

    # What is asked only of what may be a secret is compiled when there is one: most logs hold few kinds.

    @property
    def _starts(self) -> list[bytes]:
        return [b"(?:" + rule.start + b")" for rule in self._rules]

    @cached_property
    def _anchor(self) -> Any:
        return _compiled(b"|".join(self._starts))

    @cached_property
    def _which(self) -> Any:
        return _compiled(b"|".join(b"(" + rule.start + b")" for rule in self._rules))

    def _single(self, index: int) -> Any:
        if index not in self._singles:
            self._singles[index] = _compiled(self._rules[index].pattern)
        return self._singles[index]

    def _by_line(self, piece: bytes, lines: Sequence[bytes]) -> Masked:
        starts = list(accumulate((len(line) + 1 for line in lines), initial=0))
        kept = list(lines)
        hits: list[Hit] = []
        for index in self._suspects(piece, starts):
            kept[index], rules = self.line(kept[index])
            hits += [(index, rule) for rule in rules]
        return Masked(kept, hits) if hits else Masked(lines, [])

    def _suspects(self, piece: bytes, starts: list[int]) -> list[int]:
        found: set[int] = set()
        for pattern in (self._any, self._apart):
            at = 0
            while pattern is not None and (match := pattern.search(piece, at)):
                # A match may begin with the newline before its line, or reach over several lines.
                first = bisect_right(starts, match.start()) - 1
                last = bisect_right(starts, max(match.start(), match.end() - 1)) - 1
                found.update(range(first, min(last, len(starts) - 2) + 1))
                # From the newline on: it can be the edge of what begins the next line.
                at = max(starts[min(last + 1, len(starts) - 1)] - 1, at + 1)
        return sorted(found)

    def _judged(self, line: bytes, rules: list[str], *, cut: bool) -> bytes | None:
        """Return a line without its secrets; None where there is too much to judge."""
        suspects = Suspects()
        for number in range(_PASSES):
            before = len(rules)
            built_in = self._built_in(line, rules, suspects, cut=cut)
            if built_in is None or self._own is None or (number and len(rules) == before):
                return built_in
            before = len(rules)
            own = _unstreamed(built_in, self._own.finds, rules)
            masked = self._own.masked(own, rules) if own is not None else None
            if masked is None or len(rules) == before:
                return masked
            # What stood against a built-in rule can stand against a mask now.
            line = masked
        return line

    def _built_in(self, line: bytes, rules: list[str], suspects: Suspects, *, cut: bool) -> bytes | None:
        for _ in range(_PASSES):
            before = len(rules)
            # Streams first: half a key that is masked alone would leave the other half.
            unstreamed = _unstreamed(line, [partial(self._found, suspects=suspects, cut=False)], rules)
            if unstreamed is None:
                return None
            hits = self._found(unstreamed, suspects=suspects, cut=cut)
            if suspects.left < 0:
                return None
            line = _masked(unstreamed, hits)
            rules += [rule for rule, _ in hits]
            if len(rules) == before:
                break
        return line

    def _found(self, line: bytes, suspects: Suspects, *, cut: bool) -> list[Secret]:
        hits: list[Secret] = []
        done = at = 0
        while match := self._anchor.search(line, at):
            suspects.left -= 1
            if suspects.left < 0:
                break
            start, end = match.span()
            index = self._rule(line, start, end)
            rule = self._rules[index]
            single = self._single(index).match(line, start)
            spans = rule.spans(line, single, cut) if single else []
            spans = [(max(first, done), last) for first, last in spans if last > done]
            if spans:
                done = spans[-1][1]
                hits.append((rule.name, spans))
                # The last byte of one secret can be the edge of the next; some end before what tells of them.
                at = max(start + 1, done - 1)
            else:
                # The value may hold a secret of another kind, whose edge is the byte before it.
                inside = single.start(1) if single and single.re.groups else 0
                at = max(start + 1, inside - 1)
        return hits

    def _rule(self, line: bytes, start: int, end: int) -> int:
        """Return which rule may begin there: asking the engine takes longer than all else, so it is kept."""
        text = line[start:end] if start else b""
        known = self._rule_of.get(text)
        if known is None:
            known = int(self._which.match(line, start, end).lastindex) - 1
            if text and len(text) <= _KEPT_BYTES and len(self._rule_of) < _KEPT:
                self._rule_of[text] = known
        return known


def _unstreamed(line: bytes, finds: list[Find], rules: list[str]) -> bytes | None:
    """Return a line without the secrets that are in pieces; None where there are too many pieces."""
    for depth in streamed.depths(line):
        stream = Streamed(line, depth)
        if stream.crowded:
            return None
        if sum([stream.mask(find, rules) for find in finds]):
            line = stream.edited
    return line


def _masked(line: bytes, hits: list[Secret]) -> bytes:
    if not hits:
        return line
    pieces: list[bytes] = []
    done = 0
    for rule, spans in hits:
        for start, end in spans:
            pieces += (line[done:start], mask(rule))
            done = end
    return b"".join((*pieces, line[done:]))


def mask(rule: str) -> bytes:
    """Return what stands in a secret's place: no quote, no backslash, no control character."""
    return f"[REDACTED:{rule}]".encode()


def _compiled(pattern: bytes) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = 64 << 20
    options.log_errors = False
    return re2.compile(pattern, options)
