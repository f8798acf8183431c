"""A push under way: what is known of it, whoever carries it, and what its failure means."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from shipper.push import encode
from shipper.push.answer import Action, Verdict, no_answer, not_ready
from shipper.push.greeting import Greeted, NotReadyError
from shipper.push.readiness import Readiness
from shipper.push.way import Way
from shipper.sending.transport import Answered, Push


@dataclass(slots=True, eq=False)
class Exchange:
    """From the start of a push to its verdict. In one thread's hands at a time."""

    push: Push
    way: Way
    connection: Greeted | None
    """None: whoever carries it makes one. One that is closed is opened again."""
    body: bytes | None = None
    """As it is sent, once it was made."""
    deadline_s: float | None = None
    """When all of it must be over; None: it was not sent yet."""
    begun: bytes | None = None
    """What has come of the answer; None of one that was sent: in vain, the connection was closed."""
    verdict: Verdict | None = None
    _began_s: float = field(default_factory=time.perf_counter)
    _took_s: float = 0.0

    def made_body(self) -> bytes:
        """Return the body as it is sent."""
        if self.body is None:
            plain = self.push.batch.body
            self.body = encode.gzip(plain) if self.way.endpoint.use_gzip else plain
        return self.body

    def end(self, verdict: Verdict, readiness: Readiness) -> None:
        """Note what became of it."""
        self.verdict = verdict
        self._took_s = time.perf_counter() - self._began_s
        if verdict.action is Action.REPEAT:
            readiness.doubt()

    def answered(self) -> Answered:
        """Return what became of it, for the sender."""
        assert self.verdict is not None  # noqa: S101 - it has ended
        return Answered(self.push, self.verdict, self._took_s, len(self.body or b""))


def judge_failure(error: Exception, readiness: Readiness) -> Verdict:
    """Return what it means that an exchange has ended so; the connection is to be closed."""
    if isinstance(error, NotReadyError):
        return not_ready(str(error))
    if isinstance(error, ConnectionRefusedError):
        readiness.unreachable()
    detail = f"{type(error).__name__}: {error}"[:300]
    return no_answer(timed_out=isinstance(error, TimeoutError), detail=detail)
