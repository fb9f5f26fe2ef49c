//! What a ping and its pong tell about the clocks at both ends.
//!
//! The computation is that of NTP (RFC 5905 §8) with its four times: when the ping left and when the pong came, by this
//! machine's clock; when the ping was read and when it was answered, by the broker's. A correction of this machine's
//! clock between ping and pong does no harm: the time between them is measured with a clock that is never corrected.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tickwire_wire::Micros;

/// A moment on this machine, by two clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The time by the system's clock.
    wall: Micros,
    /// The same moment by a clock that is never corrected.
    at: Instant,
}

impl Moment {
    pub(crate) fn now() -> Self {
        // A time before 1970 counts as 1970.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            wall: Micros(u64::try_from(wall.as_micros()).unwrap_or(u64::MAX)),
            at: Instant::now(),
        }
    }
}

/// The offset between the broker's clock and this machine's, from one ping and its pong.
///
/// The shorter the round trip, the more exact the offset: of several readings, take the one with the shortest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// The broker's time when it answered.
    pub broker: Micros,
    /// How far the broker's clock is ahead of this machine's, in microseconds; negative if it is behind. The error is
    /// at most half of the round trip.
    pub offset_us: i64,
    /// The time that ping and pong were under way, together, in microseconds.
    pub round_trip_us: u64,
}

impl Clocks {
    /// Computes the reading from the four times: the ping left at `sent` and the pong came at `heard`, by this machine;
    /// the broker read the ping at `received` and answered it at `answered`, by its own clock.
    pub(crate) fn new(sent: Moment, received: Micros, answered: Micros, heard: Moment) -> Self {
        let elapsed_us = heard.at.saturating_duration_since(sent.at).as_micros();
        let elapsed_us = u64::try_from(elapsed_us).unwrap_or(u64::MAX);
        let back = sent.wall.0.saturating_add(elapsed_us);
        let ahead = |broker: Micros, own: u64| i128::from(broker.0) - i128::from(own);
        let offset_us = (ahead(received, sent.wall.0) + ahead(answered, back)) / 2;
        Self {
            broker: answered,
            offset_us: i64::try_from(offset_us).unwrap_or(if offset_us < 0 { i64::MIN } else { i64::MAX }),
            round_trip_us: elapsed_us.saturating_sub(answered.since(received)),
        }
    }

    /// What this machine's clock shows at `ts`, a time by the broker's clock such as that of a message.
    ///
    /// ```
    /// use tickwire_client::Clocks;
    /// use tickwire_wire::Micros;
    /// let clocks = Clocks { broker: Micros(5_000), offset_us: 300, round_trip_us: 80 };
    /// assert_eq!(clocks.local(Micros(5_000)), Micros(4_700));
    /// ```
    #[must_use]
    pub fn local(&self, ts: Micros) -> Micros {
        let offset = self.offset_us.unsigned_abs();
        Micros(if self.offset_us < 0 {
            ts.0.saturating_add(offset)
        } else {
            ts.0.saturating_sub(offset)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The reading of a ping that left at 1,000 by this machine's clock and whose pong came `elapsed_us` later.
    fn reading(received: u64, answered: u64, elapsed_us: u64) -> (i64, u64) {
        let at = Instant::now();
        let sent = Moment {
            wall: Micros(1_000),
            at,
        };
        // This machine's clock is set back meanwhile. The reading must not show it.
        let heard = Moment {
            wall: Micros(7),
            at: at + Duration::from_micros(elapsed_us),
        };
        let clocks = Clocks::new(sent, Micros(received), Micros(answered), heard);
        assert_eq!(clocks.broker, Micros(answered));
        (clocks.offset_us, clocks.round_trip_us)
    }

    #[test]
    fn the_offset_is_known_to_half_of_the_round_trip() {
        // Each way takes ten microseconds and both clocks agree.
        assert_eq!(reading(1_010, 1_010, 20), (0, 20));
        // The time that the broker takes to answer is not part of the round trip.
        assert_eq!(reading(1_010, 1_510, 520), (0, 20));
        assert_eq!(reading(501_010, 501_010, 20), (500_000, 20));
        assert_eq!(reading(510, 510, 20), (-500, 20));
        // The whole round trip is spent on the way there, so the offset is as wrong as it can be.
        assert_eq!(reading(1_020, 1_020, 20), (10, 20));
    }

    #[test]
    fn times_without_sense_give_numbers_all_the_same() {
        assert_eq!(reading(u64::MAX, u64::MAX, 20), (i64::MAX, 20));
        assert_eq!(reading(5_000, 10, 20).1, 20, "answered before it was read");
        assert_eq!(reading(0, u64::MAX, 20).1, 0);
        let clocks = Clocks {
            broker: Micros(0),
            offset_us: i64::MIN,
            round_trip_us: 0,
        };
        assert_eq!(clocks.local(Micros(u64::MAX)), Micros(u64::MAX));
    }
}
