//! When a message comes, and what its publisher says of it beside its content.

use tickwire_wire::message::{PublishKey, StaleReason};
use tickwire_wire::{Micros, Seq};

/// The place of a message in a feed that gives the same messages in the same order each time it is started. It is written
/// with the message, so that a feed goes on behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedMark {
    /// Tells feeds apart.
    pub feed: u32,
    /// The number of the message among all of the feed, from 0.
    pub number: u64,
}

/// What the publisher of a copy of another topic's message says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// The number that it has, and that the copy gets. The numbers of lost messages before it are left out.
    pub seq: Seq,
    /// Why the book is in doubt from this message on.
    pub doubt: Option<StaleReason>,
}

/// When a message arrives, its time, if its publisher sets that, and its key, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// When it arrives, by the broker's clock.
    pub now: Micros,
    /// The time that its publisher gives it.
    pub stamp: Option<Micros>,
    /// The key by which a repetition is known. Who publishes by [`Ingress::submit_once`](crate::Ingress::submit_once) need not
    /// set it.
    pub key: Option<&'a PublishKey>,
    /// Its place in the feed that it comes from.
    pub mark: Option<FeedMark>,
    /// Of a copy of another topic's message.
    pub copied: Option<&'a Copied>,
}

impl From<Micros> for Arrival<'_> {
    fn from(now: Micros) -> Self {
        Self {
            now,
            stamp: None,
            key: None,
            mark: None,
            copied: None,
        }
    }
}

impl Arrival<'_> {
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
                key: None,
                mark: None,
                copied: None,
            };
            assert_eq!(
                arrival.ts(newest.map(Micros)),
                Micros(expected),
                "{stamp:?} {newest:?}"
            );
        }
    }
}
