"""When to try again: rounds of one try and five retries, then a probe every ten seconds.

Never the end of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

BASE_S = 0.1
CAP_S = 10.0
JITTER = 0.25
PROBE_S = 10.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a round tries again, and the pause between probes once it has failed."""

    retries: int = 5
    base_s: float = BASE_S
    cap_s: float = CAP_S
    probe_s: float = PROBE_S


class Rounds:
    """The failures of one stream. One owner; `chance` returns a number from 0 to 1."""

    __slots__ = ("_chance", "_waits", "failures", "open", "policy")

    def __init__(self, policy: RetryPolicy, chance: Callable[[], float]) -> None:
        self.policy = policy
        self._chance = chance
        self.failures = 0
        """Failures in the present round."""
        self.open = False
        """True once a round has failed: the stream is only probed until something is taken."""
        self._waits: Generator[Any, Any, None] | None = None

    def failed(self) -> tuple[float, bool]:
        """Count a failure; return the seconds to wait, and whether this one ended a round."""
        self.failures += 1
        if self.open or self.failures > self.policy.retries:
            ended = not self.open or self.failures > self.policy.retries
            self.open = True
            if ended:
                self.failures = 0
            self._waits = None
            return self.policy.probe_s, ended
        if self._waits is None:
            # Imported at the first failure: asyncio comes along, a sixth of the start's CPU, and 2 MB.
            import backoff  # noqa: PLC0415

            self._waits = backoff.expo(base=2, factor=self.policy.base_s, max_value=self.policy.cap_s)
            next(self._waits)  # the generator's first value is a start signal, not a pause
        pause = float(next(self._waits))
        return min(pause * (1 + JITTER * self._chance()), self.policy.cap_s), False

    def hopeless(self) -> float:
        """Open the circuit at once (wrong credentials or address); return the seconds to wait."""
        self.open = True
        self.failures = 0
        self._waits = None
        return self.policy.probe_s

    def succeeded(self) -> None:
        """Forget all failures."""
        self.failures = 0
        self.open = False
        self._waits = None
