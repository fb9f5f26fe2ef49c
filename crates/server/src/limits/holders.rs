//! What holders of tokens have left of their rates of publishing over HTTP, wherever they connect from.
//!
//! Bounded: if there are too many, holders whose rate has filled up again are removed, since a new entry would be the
//! same. If that does not help, all are removed. Only an issuer of that many tokens can cause this.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tickwire_router::{Bucket, Publisher, Rate};
use tickwire_wire::Micros;

/// The number of holders that are kept.
const HOLDERS_MAX: usize = 65_536;

/// The rates of holders.
#[derive(Debug, Default)]
pub(super) struct Holders(Mutex<HashMap<Publisher, Bucket>>);

impl Holders {
    /// Takes one publication from a holder's rate.
    ///
    /// # Errors
    /// The microseconds until there is one.
    pub(super) fn publish(&self, holder: Publisher, rate: Rate, now: Micros) -> Result<(), u64> {
        self.with(holder, now, |bucket| bucket.take(rate, now))
    }

    /// Charges a holder for `count` publications.
    pub(super) fn charge(&self, holder: Publisher, rate: Rate, count: usize, now: Micros) {
        self.with(holder, now, |bucket| bucket.charge(rate, count, now));
    }

    fn with<T>(&self, holder: Publisher, now: Micros, work: impl FnOnce(&mut Bucket) -> T) -> T {
        // Nothing in here can panic half-way.
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= HOLDERS_MAX && !buckets.contains_key(&holder) {
            buckets.retain(|_, bucket| !bucket.is_full(now));
            // This much room is made at once, so that the table is not searched for each new holder.
            if buckets.len() > HOLDERS_MAX - HOLDERS_MAX / 8 {
                buckets.clear();
            }
        }
        work(buckets.entry(holder).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_holder_has_its_rate_and_there_are_only_so_many() {
        let (holders, rate, now) = (Holders::default(), Rate::new(10, 2), Micros(7));
        let publish = |who| holders.publish(Publisher(who), rate, now);
        assert_eq!(
            [publish(1), publish(1), publish(1)],
            [Ok(()), Ok(()), Err(100_000)]
        );
        assert_eq!(publish(2), Ok(()));
        holders.charge(Publisher(2), rate, 5, now);
        assert_eq!(publish(2), Err(500_000));
        let count = || holders.0.lock().expect("no panic").len();
        for who in 0..3 * HOLDERS_MAX as u128 {
            assert!(publish(who + 10).is_ok());
            assert!(count() <= HOLDERS_MAX);
        }
    }
}
