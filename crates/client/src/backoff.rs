//! How long a client waits before it connects again: exponential back-off with full jitter, within bounds.
//!
//! Pure: the random fraction is an argument. With full jitter a wait is anything from zero to its ceiling. That spreads
//! the clients of a broker that died most evenly.

use std::time::Duration;

/// Bounds of the waits between attempts to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffBounds {
    /// Ceiling of the first wait, in milliseconds; it doubles with each attempt.
    pub first_ms: u64,
    /// Ceiling that is never exceeded, in milliseconds.
    pub max_ms: u64,
}

impl Default for BackoffBounds {
    fn default() -> Self {
        Self {
            first_ms: 250,
            max_ms: 15_000,
        }
    }
}

/// The back-off of one outage.
#[derive(Debug)]
pub(crate) struct Backoff {
    bounds: BackoffBounds,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(bounds: BackoffBounds) -> Self {
        Self { bounds, attempts: 0 }
    }

    /// Starts again with the shortest wait, since the outage is over.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// The next wait; `fraction` is random in 0..1.
    pub(crate) fn next(&mut self, fraction: f64) -> Duration {
        let doubled = self
            .bounds
            .first_ms
            .saturating_mul(1_u64.checked_shl(self.attempts).unwrap_or(u64::MAX));
        let ceiling = Duration::from_millis(doubled.min(self.bounds.max_ms));
        self.attempts = self.attempts.saturating_add(1);
        ceiling.mul_f64(fraction.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceilings(bounds: BackoffBounds, count: usize) -> Vec<u128> {
        let mut backoff = Backoff::new(bounds);
        (0..count).map(|_| backoff.next(1.0).as_millis()).collect()
    }

    #[test]
    fn ceilings_double_up_to_the_bound() {
        let bounds = BackoffBounds {
            first_ms: 100,
            max_ms: 1_000,
        };
        assert_eq!(ceilings(bounds, 6), [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(
            ceilings(bounds, 200).last(),
            Some(&1_000),
            "no overflow after many attempts"
        );
        let above = BackoffBounds {
            first_ms: 5,
            max_ms: 1,
        };
        assert_eq!(ceilings(above, 2), [1, 1]);
    }

    #[test]
    fn jitter_covers_everything_below_the_ceiling() {
        let mut backoff = Backoff::new(BackoffBounds {
            first_ms: 100,
            max_ms: 1_000,
        });
        assert_eq!(backoff.next(0.0), Duration::ZERO);
        assert_eq!(backoff.next(0.25), Duration::from_millis(50));
        backoff.reset();
        assert_eq!(backoff.next(0.5), Duration::from_millis(50));
    }
}
