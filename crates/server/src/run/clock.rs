//! The broker's one clock.

use std::hash::{BuildHasher, RandomState};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tickwire_wire::Micros;

/// Wall time that never goes backwards: the wall clock at the start plus the monotonic time since.
///
/// A correction of the system's clock while the broker runs does not change it. Differences of two readings are exact.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
    wall_at_start: u64,
}

impl Clock {
    /// A clock that agrees with the system's clock now.
    #[must_use]
    pub(crate) fn start() -> Self {
        // A system clock before 1970 counts as 1970.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            start: Instant::now(),
            wall_at_start: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
        }
    }

    /// A number that no other start has: the time of this start in microseconds. Two starts within one microsecond on
    /// one machine cannot both have listened. If the system's clock was never set, it is a random number.
    #[must_use]
    pub(crate) fn number_of_start(&self) -> u64 {
        match self.wall_at_start {
            // The standard hasher's keys are random.
            0 => RandomState::new().hash_one(self.start),
            wall => wall,
        }
    }

    /// The time now.
    #[must_use]
    pub(crate) fn now(&self) -> Micros {
        let elapsed = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        Micros(self.wall_at_start.saturating_add(elapsed))
    }

    /// The system's time now, including its corrections. Times that others have set are compared with it.
    #[must_use]
    pub(crate) fn wall(&self) -> Micros {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Micros(u64::try_from(wall.as_micros()).unwrap_or(u64::MAX))
    }

    /// The microseconds by which the system's time is ahead of [`Self::now`]: its corrections since the start.
    #[must_use]
    pub(crate) fn offset_us(&self) -> i64 {
        self.wall().0.wrapping_sub(self.now().0).cast_signed()
    }

    /// The value of [`Self::now`] when the system's time is `at`, unless that is corrected meanwhile.
    #[must_use]
    pub(crate) fn at_wall(&self, at: Micros) -> Micros {
        let now = self.now();
        Micros(now.0.saturating_add(at.0.saturating_sub(self.wall().0)))
    }

    /// The monotonic instant at which [`Self::now`] is `at`.
    #[must_use]
    pub(crate) fn instant(&self, at: Micros) -> Instant {
        self.start + std::time::Duration::from_micros(at.0.saturating_sub(self.wall_at_start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_differ_also_where_the_clock_was_never_set() {
        let never_set = Clock {
            start: Instant::now(),
            wall_at_start: 0,
        };
        let [first, second] = [never_set; 2].map(|clock| clock.number_of_start());
        assert_ne!(first, second);
        assert_eq!(
            Clock {
                wall_at_start: 7,
                ..never_set
            }
            .number_of_start(),
            7
        );
    }
}
