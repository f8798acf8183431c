"""All entries of a selector and a range of time, page by page, from a real Loki."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec

from shipper.proof.pages import PAGE, Ask, Next, Walk
from shipper.push.retry import RetryPolicy, Rounds

QUERY_PATH = "/loki/api/v1/query_range"
LABEL_PATH = "/loki/api/v1/label/backfill/values"
HEADERS = {
    # Structured metadata stand apart from the labels, which tell the streams.
    "X-Loki-Response-Encoding-Flags": "categorize-labels",
    # Loki remembers ranges in which it found nothing; lines may have come since.
    "Cache-Control": "no-cache",
}
_ANSWER_BYTES = 3_600_000
"""Loki's answers hold 4 MiB with all that belongs to the lines."""
_DETAIL_CHARS = 300
_MINUTE_NS = 60 * 10**9

Fetch = Callable[[str], tuple[int, bytes]]
"""Path and query to status and body; raises `OSError` or `HTTPException`."""


class Unanswered(Exception):  # noqa: N818 - an outcome, not an error of ours
    """Loki cannot be reached, or refuses the query for good."""


class Entry(NamedTuple):
    """One entry as Loki shows it."""

    stamp: int
    line: str
    labels: dict[str, str]
    meta: dict[str, str]


class _Stream(msgspec.Struct, gc=False):
    stream: dict[str, str]
    values: list[list[Any]]


class _Data(msgspec.Struct, gc=False):
    result: list[_Stream]


class _Answer(msgspec.Struct, gc=False):
    data: _Data


class _Labels(msgspec.Struct, gc=False):
    status: str
    data: list[str] | None = None


_LABELS = msgspec.json.Decoder(_Labels)
_DECODER = msgspec.json.Decoder(_Answer)


class Loki:
    """Asks; waits and asks again where that helps, for a bounded time."""

    def __init__(
        self,
        fetch: Fetch,
        sleep: Callable[[float], None],
        chance: Callable[[], float],
        policy: RetryPolicy | None = None,
        *,
        entry_bytes: int = 256 << 10,
    ) -> None:
        self._fetch = fetch
        self._sleep = sleep
        self._policy = policy or RetryPolicy()
        self._chance = chance
        self.sure = max(1, _ANSWER_BYTES // entry_bytes)
        """So many entries always fit into an answer."""

    def pages(self, query: str, start_ns: int, end_ns: int, *, page: int = PAGE) -> Iterator[list[Entry]]:
        """Yield the entries from `start_ns` to before `end_ns`, oldest first, in pages.

        Raises `Unanswered`, or `Incomplete` where Loki cannot show all there is.
        """
        walk = Walk(start_ns, end_ns, page=page, sure=self.sure)
        rounds = Rounds(self._policy, self._chance)
        while (ask := walk.ask) is not None:
            status, found = self._ask(query, ask)
            if isinstance(found, list):
                rounds.succeeded()
                kept = found[walk.took([entry.stamp for entry in found])]
                if kept:
                    yield kept
                continue
            if status == 0 and found.startswith("TimeoutError"):
                step = walk.too_slow()
            else:
                step = Next.LATER if status == 0 else walk.refused(status, found)
            if step is Next.AT_ONCE:
                continue
            wait_s, ended = rounds.failed()
            if step is Next.NEVER or ended:
                raise Unanswered(f"{query}: {status or 'no answer'}: {found[:_DETAIL_CHARS]}")
            self._sleep(wait_s)

    def held_hours(self, query: str, now_ns: int) -> set[str] | None:
        """Return which `backfill` streams the ingesters hold, flushed or not; None where they do not say.

        They name the labels of all that they hold, whatever its time, though asked for the last minute.
        """
        words = {"query": query, "start": str(now_ns - _MINUTE_NS), "end": str(now_ns)}
        rounds = Rounds(self._policy, self._chance)
        while True:
            try:
                status, body = self._fetch(f"{LABEL_PATH}?{urlencode(words)}")
            except (OSError, http.client.HTTPException):
                status, body = 0, b""
            if status == http.HTTPStatus.OK:
                try:
                    found = _LABELS.decode(body)
                except (msgspec.MsgspecError, RecursionError):
                    return None
                return set(found.data or ()) if found.status == "success" else None
            wait_s, ended = rounds.failed()
            if ended or (status and status not in (408, 429) and status < 500):  # noqa: PLR2004 - the server's own troubles
                return None
            self._sleep(wait_s)

    def _ask(self, query: str, ask: Ask) -> tuple[int, list[Entry] | str]:
        """Return status and entries, or status (0: no answer) and what went wrong."""
        words = {
            "query": query,
            "start": str(ask.start_ns),
            "end": str(ask.end_ns),
            "limit": str(ask.limit),
            "direction": "forward",
        }
        try:
            status, body = self._fetch(f"{QUERY_PATH}?{urlencode(words)}")
        except (OSError, http.client.HTTPException) as error:
            return 0, f"{type(error).__name__}: {error}"
        if status != http.HTTPStatus.OK:
            return status, " ".join(body.decode("utf-8", "replace").split())
        try:
            return status, entries(body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Unanswered(f"what answers is no Loki: {error}") from error


def entries(body: bytes) -> list[Entry]:
    """Return the entries of an answer in order of time; raises `ValueError` for anything else."""
    found = []
    for stream in _DECODER.decode(body).data.result:
        for stamp, line, *more in stream.values:
            known = more[0].get("structuredMetadata", {}) if more and isinstance(more[0], dict) else None
            # A Loki that does not tell them apart shows metadata among the labels.
            found.append(
                Entry(int(stamp), str(line), stream.stream, stream.stream if known is None else known)
            )
    found.sort(key=lambda entry: entry.stamp)
    return found
