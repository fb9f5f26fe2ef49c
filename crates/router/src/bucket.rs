//! A token bucket, kept as the time at which it would be full again (the generic cell rate algorithm).
//!
//! A bucket takes eight bytes and no timer, and never reads a clock. A request that does not fit takes nothing, and is
//! told how long to wait.

use std::sync::{Arc, Mutex, PoisonError};

use tickwire_wire::Micros;

/// The number of topics that a request may look at for the price of one operation.
const VISITS_PER_OP: u64 = 1_000;

const NS_PER_S: u64 = 1_000_000_000;
const NS_PER_US: u64 = 1_000;

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    cost_ns: u64,
    most_ns: u64,
}

impl Rate {
    /// A rate of `per_s` a second, with `burst` at once after a quiet time. Each is at least one, and `per_s` is at
    /// most a billion.
    #[must_use]
    pub fn new(per_s: u32, burst: u32) -> Self {
        let cost_ns = (NS_PER_S / u64::from(per_s.max(1))).max(1);
        Self {
            cost_ns,
            most_ns: cost_ns * u64::from(burst.max(1)),
        }
    }
}

/// What is left of a rate. A new bucket is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// In nanoseconds since the Unix epoch: a microsecond is too long for the highest rates.
    full_at_ns: u64,
}

impl Bucket {
    /// Takes one.
    ///
    /// # Errors
    /// The microseconds until there is one, if there is none now.
    pub fn take(&mut self, rate: Rate, now: Micros) -> Result<(), u64> {
        let now_ns = nanos(now);
        let full_at_ns = self.full_at_ns.max(now_ns).saturating_add(rate.cost_ns);
        match (full_at_ns - now_ns).saturating_sub(rate.most_ns) {
            0 => {
                self.full_at_ns = full_at_ns;
                Ok(())
            }
            wait_ns => Err(wait_ns.div_ceil(NS_PER_US)),
        }
    }

    /// Takes `count`. What the bucket lacks is taken in advance, and the next request waits for it.
    pub fn charge(&mut self, rate: Rate, count: usize, now: Micros) {
        self.take_ahead(rate.cost_ns.saturating_mul(count as u64), now);
    }

    /// Takes the price of looking at `visits` topics, one for each thousand. What the bucket lacks is taken in advance.
    pub fn charge_visits(&mut self, rate: Rate, visits: usize, now: Micros) {
        self.take_ahead(rate.cost_ns.saturating_mul(visits as u64) / VISITS_PER_OP, now);
    }

    fn take_ahead(&mut self, price_ns: u64, now: Micros) {
        self.full_at_ns = self.full_at_ns.max(nanos(now)).saturating_add(price_ns);
    }

    /// Checks that the bucket was not overdrawn: no more was taken in advance than it holds.
    ///
    /// # Errors
    /// The microseconds until that is so, if it is not.
    pub fn check(&self, rate: Rate, now: Micros) -> Result<(), u64> {
        let ahead_ns = self.full_at_ns.saturating_sub(nanos(now));
        match ahead_ns.saturating_sub(rate.most_ns) {
            0 => Ok(()),
            wait_ns => Err(wait_ns.div_ceil(NS_PER_US)),
        }
    }

    /// Whether the bucket is full. Such a bucket may be forgotten, since a new one is the same.
    #[must_use]
    pub fn is_full(&self, now: Micros) -> bool {
        self.full_at_ns <= nanos(now)
    }
}

/// A moment in nanoseconds since the Unix epoch. The last one is in the year 2554.
const fn nanos(now: Micros) -> u64 {
    now.0.saturating_mul(NS_PER_US)
}

/// A bucket for several sessions, on any shard: those of one address. Clones share one bucket.
#[derive(Debug, Clone, Default)]
pub struct SharedBucket(Arc<Mutex<Bucket>>);

impl SharedBucket {
    /// Does the same as [`Bucket::charge_visits`].
    pub fn charge_visits(&self, rate: Rate, visits: usize, now: Micros) {
        self.with(|bucket| bucket.charge_visits(rate, visits, now));
    }

    /// Does the same as [`Bucket::check`].
    ///
    /// # Errors
    /// The microseconds until no more is taken in advance than the bucket holds.
    pub fn check(&self, rate: Rate, now: Micros) -> Result<(), u64> {
        self.with(|bucket| bucket.check(rate, now))
    }

    /// Does the same as [`Bucket::is_full`].
    #[must_use]
    pub fn is_full(&self, now: Micros) -> bool {
        self.with(|bucket| bucket.is_full(now))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Bucket) -> T) -> T {
        // Nothing in here can panic half-way.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate::new(50, 3);
        let (mut bucket, now) = (Bucket::default(), Micros(1_000_000));
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, now), Ok(()));
        }
        assert_eq!(bucket.take(rate, now), Err(20_000));
        // A refused request takes nothing.
        assert_eq!(bucket.take(rate, Micros(now.0 + 19_999)), Err(1));
        let later = Micros(now.0 + 20_000);
        assert_eq!(bucket.take(rate, later), Ok(()));
        assert_eq!(bucket.take(rate, later), Err(20_000));
        assert!(!bucket.is_full(Micros(later.0 + 59_999)));
        let full = Micros(later.0 + 60_000);
        assert!(bucket.is_full(full));
        assert_eq!((0..9).filter(|_| bucket.take(rate, full).is_ok()).count(), 3);
    }

    #[test]
    fn a_look_at_many_topics_is_paid_for_by_what_comes_next() {
        let rate = Rate::new(50, 3);
        let (mut bucket, now) = (Bucket::default(), Micros(1_000_000));
        bucket.charge_visits(rate, 999, now);
        bucket.charge_visits(rate, 1, now);
        assert!(!bucket.is_full(Micros(now.0 + 19_999)) && bucket.is_full(Micros(now.0 + 20_000)));
        bucket.charge_visits(rate, 9_000, now);
        // Ten were taken from a bucket of three, and one is asked for.
        assert_eq!(bucket.check(rate, now), Err(7 * 20_000));
        assert_eq!(bucket.take(rate, now), Err(8 * 20_000));
        assert_eq!(bucket.check(rate, Micros(now.0 + 7 * 20_000)), Ok(()));
        bucket.charge_visits(rate, usize::MAX, now);
        assert!(bucket.take(rate, now).is_err(), "and nothing overflows");
    }

    #[test]
    fn what_is_charged_may_be_more_than_there_is() {
        let rate = Rate::new(50, 3);
        let (mut bucket, now) = (Bucket::default(), Micros(1_000_000));
        bucket.charge(rate, 3, now);
        assert_eq!(bucket.check(rate, now), Ok(()), "all of it, and no more");
        bucket.charge(rate, 2, now);
        assert_eq!(bucket.check(rate, now), Err(2 * 20_000));
        assert_eq!(bucket.take(rate, now), Err(3 * 20_000));
    }

    /// The highest rate was a million a second, less than a core publishes.
    #[test]
    fn a_rate_above_a_million_a_second_was_cut_to_a_million() {
        let rate = Rate::new(4_000_000, 4_000_000);
        let mut bucket = Bucket::default();
        for us in 1..=1_000 {
            assert!(
                (0..4).all(|_| bucket.take(rate, Micros(us)).is_ok()),
                "at {us} us"
            );
        }
        assert!(bucket.is_full(Micros(1_001)) && !bucket.is_full(Micros(1_000)));
    }

    #[test]
    fn nothing_is_no_rate() {
        let rate = Rate::new(0, 0);
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(rate, Micros(5)), Ok(()));
        assert_eq!(bucket.take(rate, Micros(5)), Err(1_000_000));
    }
}
