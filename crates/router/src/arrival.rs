//! When a message comes, and the time that its publisher gives it.

use tickwire_wire::Micros;

/// When a message arrives, and its time, if its publisher sets that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When it arrives, by the broker's clock.
    pub now: Micros,
    /// The time that its publisher gives it.
    pub stamp: Option<Micros>,
}

impl From<Micros> for Arrival {
    fn from(now: Micros) -> Self {
        Self { now, stamp: None }
    }
}

impl Arrival {
    /// The time of the message in a topic whose newest message is of `newest`. It is never before that, so that times do not go
    /// back: another thread may have looked at the clock later and published earlier. A publisher's time is never after
    /// the arrival, so that no publisher decides on the times to come.
    pub(crate) fn ts(self, newest: Option<Micros>) -> Micros {
        let own = self.stamp.map_or(self.now, |stamp| stamp.min(self.now));
        own.max(newest.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publishers_time_lies_between_the_newest_message_and_now() {
        for (stamp, newest, expected) in [
            (None, Some(7), 10),
            (None, Some(12), 12),
            (Some(5), None, 5),
            (Some(5), Some(7), 7),
            (Some(8), Some(7), 8),
            (Some(11), Some(7), 10),
            (Some(u64::MAX), None, 10),
            // Another thread looked at the clock a little later.
            (Some(11), Some(12), 12),
        ] {
            let arrival = Arrival {
                now: Micros(10),
                stamp: stamp.map(Micros),
            };
            assert_eq!(
                arrival.ts(newest.map(Micros)),
                Micros(expected),
                "{stamp:?} {newest:?}"
            );
        }
    }
}
