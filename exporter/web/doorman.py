"""Decides whether a request may come in, with bcrypt kept off the event loop and off the path of a scrape.

A right password is computed once: afterwards a keyed digest of it is compared, with a key that lives as long
as the process, so that nothing here gives a password away. A wrong one waits for a single worker, in a lane
of its own client's address: a thousand wrong ones from one address fill that lane, and a first right one
from elsewhere is next in line. From the same address (a proxy, a NAT) it is turned away the first time, and
has a second lane when it comes again, as a scrape does and a guess does not; not promised is room in that
lane against somebody who sends each of his guesses twice. A user who does not exist costs what one costs who
does.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from exporter.logs import RepeatLimiter, log_event
from exporter.web.credentials import (
    Basic,
    Bearer,
    Credentials,
    fingerprint,
    is_known_token,
    parse_authorization,
)
from exporter.web.lanes import Lanes
from exporter.web.turned_away import TurnedAway
from exporter.web.worker import Busy, Worker

MAX_PASSWORD_BYTES = 72
"""What bcrypt looks at; exporter-toolkit ignores the rest as well."""
MAX_LANES = 64
MAX_PER_LANE = 4
MAX_WRONG_KEPT = 1024
_CHECK_S = 600.0
_NICENESS = 5
_BASE64 = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_HASH = ([_BASE64] * 21, [".Oeu"], [_BASE64] * 31)
"""The letters of a bcrypt hash after its cost: the salt, whose last letter holds two bits, and the digest."""

_log = logging.getLogger(__name__)


class Verdict(StrEnum):
    """The label `result`: what became of a request's credentials."""

    ADMITTED = "admitted"
    MISSING = "missing"
    REFUSED = "refused"
    BUSY = "busy"


@dataclass(frozen=True)
class _Question:
    digest: bytes
    password: bytes = field(repr=False)
    against: bytes = field(repr=False)


def check_password(password: bytes, against: bytes) -> bool:
    """Compute bcrypt, which lets other threads run, and compare in constant time.

    The thread lowers its own priority, so that scrapes come first where there are more of both than cores.
    """
    import bcrypt  # noqa: PLC0415 (nobody without users needs it)

    thread = threading.get_native_id()
    with suppress(OSError):  # then it computes as it is
        os.setpriority(os.PRIO_PROCESS, thread, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))
    return bcrypt.checkpw(password[:MAX_PASSWORD_BYTES], against)


class Doorman:
    """Judges requests of one event loop; `known` is asked each time, so a reload holds from the next one."""

    def __init__(
        self,
        known: Callable[[], Credentials],
        *,
        check: Callable[[bytes, bytes], bool] = check_password,
        key: bytes | None = None,
        patience_s: float = 60.0,
        repeats: RepeatLimiter | None = None,
    ) -> None:
        self.counts = dict.fromkeys(Verdict, 0)
        self._known = known
        self._check = check
        self._key = key or secrets.token_bytes(32)
        self._patience_s = patience_s
        self._repeats = repeats or RepeatLimiter()
        self._right: dict[bytes, bytes] = {}
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._decoys: dict[bytes, bytes] = {}
        self._lanes: Lanes[_Question] = Lanes(MAX_LANES, MAX_PER_LANE)
        self._turned_away = TurnedAway()
        self._answers: dict[bytes, asyncio.Future[bool | None]] = {}
        self._worker = Worker("web-passwords", 1)
        self._asking: asyncio.Task[None] | None = None

    async def judge(self, authorization: list[bytes], client: str) -> Verdict:
        """Return the verdict on a request's `Authorization` headers; `client` is its address."""
        verdict = await self._verdict(parse_authorization(authorization), client)
        self.counts[verdict] += 1
        if verdict in {Verdict.REFUSED, Verdict.BUSY}:
            self._complain(verdict, client)
        return verdict

    def close(self) -> None:
        """Let the worker end; what it computes now it computes in vain."""
        if self._asking is not None:
            self._asking.cancel()
        self._worker.close()

    async def _verdict(self, claimed: Basic | Bearer | None, client: str) -> Verdict:
        known = self._known()
        if not known.are_needed:
            return Verdict.ADMITTED
        if claimed is None:
            return Verdict.MISSING
        if isinstance(claimed, Bearer):
            is_right: bool | None = is_known_token(claimed, known.tokens)
        else:
            is_right = await self._is_right(claimed, known, lane_of(client))
        return {True: Verdict.ADMITTED, False: Verdict.REFUSED, None: Verdict.BUSY}[is_right]

    async def _is_right(self, claimed: Basic, known: Credentials, lane: str) -> bool | None:
        """Return whether the password is the user's, from memory or computed; None: not to be had now."""
        if not known.users:
            return False
        stored = known.users.get(claimed.user)
        against = stored or self._decoy(claimed.user, known)
        digest = fingerprint(self._key, claimed, against)
        if stored and hmac.compare_digest(self._right.get(claimed.user, b""), digest):
            return True
        if digest in self._wrong:
            return False
        try:
            matches = await self._ask(lane, _Question(digest, claimed.password, against))
        except (Busy, TimeoutError):
            return None
        if matches and stored:
            self._right[claimed.user] = digest
        elif matches is not None:
            self._wrong[digest] = None
            if len(self._wrong) > MAX_WRONG_KEPT:
                self._wrong.popitem(last=False)
        return matches and bool(stored)

    def _decoy(self, user: bytes, known: Credentials) -> bytes:
        """Return a hash that nobody's password has, of a cost in use, always the same one for a user.

        Which of the costs, where they differ, depends on the name alone: asking again tells no more.
        """
        pick = fingerprint(self._key, Basic(user, b""), b"decoy")
        costs = sorted({stored[4:6] for stored in known.users.values()})
        cost = costs[pick[0] % len(costs)]
        if cost not in self._decoys:
            salt, end, digest = ("".join(map(secrets.choice, letters)) for letters in _HASH)
            self._decoys[cost] = b"$2b$%b$%b" % (cost, f"{salt}{end}{digest}".encode())
        return self._decoys[cost]

    async def _ask(self, lane: str, question: _Question) -> bool | None:
        """Have the password checked when its lane's turn comes; equal questions are asked once.

        None if it could not be checked. Raises `Busy` if the lane is full, `TimeoutError` after the patience.
        """
        answer = self._answers.get(question.digest)
        if answer is None:
            if not self._find_room(lane, question):
                raise Busy
            answer = self._answers[question.digest] = asyncio.get_running_loop().create_future()
            if self._asking is None or self._asking.done():
                self._asking = asyncio.get_running_loop().create_task(self._ask_all())
        return await asyncio.wait_for(asyncio.shield(answer), self._patience_s)

    def _find_room(self, lane: str, question: _Question) -> bool:
        """Put the question into its lane or, if it comes again, into the lane for such; False: no room.

        One such lane for an address, not for a question: else one address could take all lanes there are.
        """
        if self._lanes.put((lane, "first"), question):
            return True
        if question.digest in self._turned_away:
            return self._lanes.put((lane, "again"), question)
        self._turned_away.add(question.digest)
        return False

    async def _ask_all(self) -> None:
        while (question := self._lanes.take()) is not None:
            is_right: bool | None = None
            try:
                is_right = await self._worker.run(
                    question.digest, _bound(self._check, question), timeout_s=_CHECK_S
                )
            except Exception as error:  # noqa: BLE001 (one question must not stop all others)
                log_event(
                    _log,
                    logging.ERROR,
                    "password not checked",
                    error=type(error).__name__,
                    consequence="the client was told to try again",
                )
            answer = self._answers.pop(question.digest)
            if not answer.done():
                answer.set_result(is_right)

    def _complain(self, verdict: Verdict, client: str) -> None:
        """Log the address only: what was sent as a user name may be a password in the wrong field."""
        held_back = self._repeats.admit((verdict, lane_of(client)))
        if held_back is not None:
            log_event(
                _log,
                logging.WARNING,
                "credentials refused" if verdict is Verdict.REFUSED else "too many passwords to check",
                client=client,
                repeats=held_back,
            )


def _bound(check: Callable[[bytes, bytes], bool], question: _Question) -> Callable[[], bool]:
    return lambda: check(question.password, question.against)


def lane_of(client: str) -> str:
    """Return the lane of an address: itself, or its /64 for IPv6, of which one machine commonly has all."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
