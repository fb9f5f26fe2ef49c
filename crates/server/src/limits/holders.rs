//! The connections of holders of tokens, and what they have left of their rates of publishing over HTTP, wherever they
//! connect from.
//!
//! Bounded: a holder is counted as long as it has a connection. Of the rates: if there are too many, holders whose rate has filled up again are removed, since a new entry would be the
//! same. If that does not help, all are removed. Only an issuer of that many tokens can cause this.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

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

/// The holder that all clients without a token are together. No hash of a holder is 0.
pub(crate) const ANONYMOUS: Publisher = Publisher(0);

/// The number of connections of each holder, which all shards share.
#[derive(Debug, Clone, Default)]
pub(crate) struct HolderConnections(Arc<Mutex<HashMap<Publisher, u32>>>);

impl HolderConnections {
    /// Counts a connection of a holder, which may have `most` of them if there is a limit.
    ///
    /// # Errors
    /// The limit, if the holder has that many already.
    pub(crate) fn connect(&self, holder: Publisher, most: Option<u32>) -> Result<HolderSlot, u32> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&holder).copied().unwrap_or(0);
        if let Some(most) = most.filter(|most| count >= *most) {
            return Err(most);
        }
        counts.insert(holder, count + 1);
        let connections = self.clone();
        Ok(HolderSlot(Arc::new(Counted { connections, holder })))
    }
}

/// The place of a connection among those of its holder. Dropping the last copy frees it.
#[derive(Debug, Clone)]
pub(crate) struct HolderSlot(Arc<Counted>);

impl PartialEq for HolderSlot {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[derive(Debug)]
struct Counted {
    connections: HolderConnections,
    holder: Publisher,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let counts = self.connections.0.lock();
        if let Entry::Occupied(mut count) = counts.unwrap_or_else(PoisonError::into_inner).entry(self.holder)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_has_its_most_connections_and_no_more() {
        let all = HolderConnections::default();
        let (one, other) = (Publisher(1), Publisher(2));
        let first = all.connect(one, Some(2)).expect("the first");
        let second = all.connect(one, Some(2)).expect("the second");
        assert_eq!(all.connect(one, Some(2)), Err(2));
        assert!(all.connect(other, Some(1)).is_ok(), "it counts apart");
        assert!(all.connect(one, None).is_ok(), "there is no limit");
        let copy = second.clone();
        drop(second);
        assert_eq!(all.connect(one, Some(2)), Err(2), "a copy is the same place");
        drop((first, copy));
        assert!(all.0.lock().expect("no panic").is_empty());
    }

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
