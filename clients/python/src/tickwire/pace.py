"""When to send and when to connect: the rates that the broker announced, and the waits between attempts.

Pure: times are arguments, in seconds of a clock that is never corrected, and so is the random fraction.
"""

from __future__ import annotations

from dataclasses import dataclass

from .wire import Limits


class _Rate:
    """A token bucket. It holds four fifths of the announced burst, because requests that left at intervals may arrive
    together."""

    def __init__(self, per_s: int, burst: int, now: float) -> None:
        burst = max(burst, per_s)
        self._per_s = per_s
        self._full = float(max(burst - burst // 5, 1))
        self._level = self._full
        self._at = now

    def wait(self, now: float) -> float:
        if self._per_s == 0:
            return 0.0
        self._level = min(self._level + max(now - self._at, 0.0) * self._per_s, self._full)
        self._at = max(self._at, now)
        # A billionth of a request is the error that rounding may make.
        return 0.0 if self._level >= 1 - 1e-9 else (1 - self._level) / self._per_s

    def spend(self) -> None:
        self._level = max(self._level - 1, 0.0)


class Pace:
    """Tells when the next request may be sent, so that the broker refuses none for coming too fast. An announced rate
    of 0 means no limit."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._requests = _Rate(limits.ops_per_s, limits.ops_burst, now)
        # A broker that announces no rate of publications counts them among the requests.
        self._publications = (
            _Rate(limits.publishes_per_s, limits.publishes_burst, now) if limits.publishes_per_s else self._requests
        )

    def wait(self, publication: bool, now: float) -> float:
        """The time until a request may be sent."""
        return self._rate(publication).wait(now)

    def spend(self, publication: bool) -> None:
        """Counts a request that is sent."""
        self._rate(publication).spend()

    def _rate(self, publication: bool) -> _Rate:
        return self._publications if publication else self._requests


@dataclass(frozen=True, slots=True)
class Backoff:
    """Bounds of the waits between attempts to connect: exponential back-off with full jitter.

    With full jitter a wait is anything from zero to its ceiling. That spreads the clients of a broker that died most
    evenly.
    """

    first_s: float = 0.25
    """Ceiling of the first wait, in seconds; it doubles with each attempt."""
    max_s: float = 15.0
    """Ceiling that is never exceeded, in seconds."""

    def wait(self, attempts: int, fraction: float) -> float:
        """The wait after `attempts` attempts; `fraction` is random in 0..1."""
        ceiling = min(self.first_s * 2.0 ** min(attempts, 64), self.max_s)
        return ceiling * min(max(fraction, 0.0), 1.0)
