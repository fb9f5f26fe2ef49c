"""What a ping and its pong tell about the clocks at both ends.

The computation is that of NTP (RFC 5905, section 8) with its four times. A correction of this machine's clock between
ping and pong does no harm: the time between them is measured with a clock that is never corrected.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment on this machine, by two clocks."""

    wall_us: int
    """The time by the system's clock, in microseconds since the Unix epoch."""
    at_s: float
    """The same moment by a clock that is never corrected, in seconds."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """The offset between the broker's clock and this machine's, from one ping and its pong.

    The shorter the round trip, the more exact the offset: of several readings, take the one with the shortest.
    """

    broker_us: int
    """The broker's time when it answered."""
    offset_us: int
    """How far the broker's clock is ahead of this machine's, in microseconds; negative if it is behind. The error is at
    most half of the round trip."""
    round_trip_us: int
    """The time that ping and pong were under way, together, in microseconds."""

    def local_us(self, ts: int) -> int:
        """What this machine's clock shows at `ts`, a time by the broker's clock such as that of a message."""
        return ts - self.offset_us


def reading(sent: Moment, received_us: int, answered_us: int, heard: Moment) -> Clocks:
    """Computes the reading from the four times: the ping left at `sent` and the pong came at `heard`, by this machine;
    the broker read the ping at `received_us` and answered it at `answered_us`, by its own clock."""
    elapsed_us = max(round((heard.at_s - sent.at_s) * 1e6), 0)
    back_us = sent.wall_us + elapsed_us
    offset_us = ((received_us - sent.wall_us) + (answered_us - back_us)) // 2
    return Clocks(answered_us, offset_us, max(elapsed_us - max(answered_us - received_us, 0), 0))
