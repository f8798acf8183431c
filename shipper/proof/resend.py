"""Pushes single lines again, outside of any queue: bodies and judge are the shipper's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from shipper.entries.beside import backfill_labels, restamped_labels, with_original
from shipper.entries.stamp import ANSWER_RESIDUE, SLOTS, STEP_NS
from shipper.push import encode
from shipper.push.answer import Action, Verdict
from shipper.push.retry import RetryPolicy, Rounds
from shipper.sending.batch import Limits

_ENTRY_OVERHEAD_BYTES = 60


class Fate(Enum):
    """What became of a line."""

    WAITING = auto()
    """Loki could not be reached, or takes nothing now."""
    TAKEN = auto()
    REFUSED = auto()


@dataclass(slots=True, eq=False)
class Letter:
    """A line to be sent: where it belongs, and in the end what became of it."""

    labels: dict[str, str]
    stamp: int
    text: str
    meta: dict[str, str] | None = None
    fate: Fate = Fate.WAITING
    verdict: Verdict | None = None
    """Why it was refused, or why it waits."""
    origin: object = None
    """Whatever the caller knows it by."""


@dataclass(slots=True)
class Work:
    """Letters of one stream that go together."""

    labels: dict[str, str]
    letters: list[Letter]
    stamps: list[int] = field(default_factory=list)


class Resender:
    """Sends until Loki does not answer any more; then the rest is left as it is."""

    def __init__(
        self,
        post: Callable[[bytes], Verdict],
        sleep: Callable[[float], None],
        chance: Callable[[], float],
        now_ns: Callable[[], int],
        limits: Limits,
        *,
        metadata: bool = True,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._post = post
        self._sleep = sleep
        self._now_ns = now_ns
        self._limits = limits
        self._metadata = metadata
        self._rounds = Rounds(policy or RetryPolicy(), chance)
        self._last_stamp = 0
        self.stopped: Verdict | None = None
        """The answer after which nothing more was sent."""

    def send(self, letters: Iterable[Letter]) -> None:
        """Send letters; each knows its fate afterwards."""
        todo = list(reversed(list(_works(letters, self._limits))))
        while todo and self.stopped is None:
            work = todo.pop()
            verdict = self._pushed(work)
            match verdict.action:
                case Action.DELIVERED:
                    for letter in work.letters:
                        letter.fate = Fate.TAKEN
                case Action.TOO_FAR_BEHIND | Action.TOO_OLD | Action.TOO_NEW:
                    todo += self._elsewhere(work, verdict)
                case Action.SPLIT | Action.BISECT:
                    todo += self._halves(work, verdict)
                case _:
                    self.stopped = verdict
                    todo.append(work)
        for work in todo:
            for letter in work.letters:
                letter.verdict = self.stopped

    def _pushed(self, work: Work) -> Verdict:
        metas = [letter.meta for letter in work.letters] if self._metadata else None
        body = encode.body(work.labels, work.stamps, [letter.text for letter in work.letters], metas)
        while True:
            verdict = self._post(body)
            if verdict.action not in (Action.REPEAT, Action.BACK_OFF):
                self._rounds.succeeded()
                return verdict
            wait_s, ended = self._rounds.failed()
            if ended:
                return verdict
            self._sleep(wait_s)

    @staticmethod
    def _halves(work: Work, verdict: Verdict) -> list[Work]:
        if len(work.letters) == 1:
            work.letters[0].fate, work.letters[0].verdict = Fate.REFUSED, verdict
            return []
        middle = len(work.letters) // 2
        return [
            Work(work.labels, work.letters[middle:], work.stamps[middle:]),
            Work(work.labels, work.letters[:middle], work.stamps[:middle]),
        ]

    def _elsewhere(self, work: Work, verdict: Verdict) -> list[Work]:
        """Send what was refused into `backfill` or `restamped`, and the others again."""
        oldest = verdict.oldest_ok_ns
        if verdict.all_refused or len(work.letters) == 1:
            refused = [True] * len(work.letters)
        else:
            refused = [oldest is not None and stamp < oldest for stamp in work.stamps]
        if not any(refused) or ("restamped" in work.labels and verdict.action is not Action.TOO_FAR_BEHIND):
            return self._halves(work, verdict)
        backfill = verdict.action is Action.TOO_FAR_BEHIND and "backfill" not in work.labels
        moved: dict[tuple[tuple[str, str], ...], Work] = {}
        rest = Work(work.labels, [], [])
        for letter, stamp, out in zip(work.letters, work.stamps, refused, strict=True):
            if not out:
                rest.letters.append(letter)
                rest.stamps.append(stamp)
                continue
            if backfill:
                labels, at = backfill_labels(work.labels, stamp), stamp
            else:
                labels, at = restamped_labels(work.labels), self.fresh_stamp(stamp)
                letter.meta = with_original(letter.meta, stamp)
            to = moved.setdefault(tuple(sorted(labels.items())), Work(labels, [], []))
            to.letters.append(letter)
            to.stamps.append(at)
        return [*reversed(moved.values()), *([rest] if rest.letters else [])]

    def fresh_stamp(self, stamp_ns: int) -> int:
        """Return a time of now that no other line has; its residue still tells the file."""
        now_ns = self._now_ns()
        at = now_ns - now_ns % STEP_NS
        self._last_stamp = max(at, self._last_stamp + STEP_NS)
        return self._last_stamp + stamp_ns % STEP_NS % SLOTS + ANSWER_RESIDUE


def _works(letters: Iterable[Letter], limits: Limits) -> Iterator[Work]:
    """Yield letters in pushes of one stream each, in order of time, within the limits of a push."""
    streams: dict[tuple[tuple[str, str], ...], list[Letter]] = {}
    for letter in letters:
        streams.setdefault(_key(letter.labels), []).append(letter)
    for group in streams.values():
        group.sort(key=lambda letter: letter.stamp)
        work, size = Work(group[0].labels, []), 0
        for letter in group:
            more = len(letter.text.encode("utf-8", "replace")) + _ENTRY_OVERHEAD_BYTES
            if work.letters and (
                len(work.letters) >= limits.entries
                or size + more > limits.body_bytes
                or letter.stamp - work.stamps[0] > limits.span_ns
            ):
                yield work
                work, size = Work(letter.labels, []), 0
            work.letters.append(letter)
            work.stamps.append(letter.stamp)
            size += more
        yield work


def _key(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))
