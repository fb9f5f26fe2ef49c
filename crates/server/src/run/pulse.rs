//! The last sign of life of the built-in feed. Its thread writes it, and `/readyz` reads it.
//!
//! It is one number, so a tick costs one store. A feed that waits for its first subscription, or whose recording has
//! ended, is not silent; nor is one that never had a tick. Never reads a clock.

use std::sync::atomic::{AtomicU64, Ordering};

use tickwire_wire::Micros;

/// Nothing is expected: the feed has not started, or has ended.
const RESTS: u64 = u64::MAX;
/// The feed ended by a fault.
const FAILED: u64 = u64::MAX - 1;
/// Nothing will ever come: the feed has no tick at all.
const EMPTY: u64 = u64::MAX - 2;

/// The time at which the feed last published, or one of the states above.
#[derive(Debug)]
pub(crate) struct Pulse {
    last: AtomicU64,
}

impl Pulse {
    /// The pulse of a feed that has not started.
    pub(crate) fn new() -> Self {
        Self {
            last: AtomicU64::new(RESTS),
        }
    }

    /// Records that the feed starts or publishes.
    pub(crate) fn beat(&self, now: Micros) {
        self.last.store(now.0, Ordering::Relaxed);
    }

    /// Records that the feed has ended.
    pub(crate) fn rest(&self) {
        self.last.store(RESTS, Ordering::Relaxed);
    }

    /// Records that the feed ended by a fault: nothing more will come from it.
    pub(crate) fn fail(&self) {
        self.last.store(FAILED, Ordering::Relaxed);
    }

    /// Whether the feed ended by a fault.
    pub(crate) fn has_failed(&self) -> bool {
        self.last.load(Ordering::Relaxed) == FAILED
    }

    /// Records that the feed has ended without a tick.
    pub(crate) fn has_nothing(&self) {
        self.last.store(EMPTY, Ordering::Relaxed);
    }

    /// Whether the feed has ended without a tick.
    pub(crate) fn is_empty(&self) -> bool {
        self.last.load(Ordering::Relaxed) == EMPTY
    }

    /// The milliseconds for which the feed has been silent, if they are more than `most_ms`.
    pub(crate) fn silent_ms(&self, now: Micros, most_ms: u64) -> Option<u64> {
        let last = Some(self.last.load(Ordering::Relaxed)).filter(|last| *last < EMPTY)?;
        let silent = now.since(Micros(last)) / 1_000;
        (silent >= most_ms).then_some(silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_silent_only_between_its_start_and_its_end() {
        let pulse = Pulse::new();
        let at = |ms: u64| Micros(ms * 1_000);
        assert_eq!(pulse.silent_ms(at(1_000_000), 10), None, "it has not started");
        pulse.beat(at(1_000));
        assert_eq!(pulse.silent_ms(at(1_009), 10), None);
        assert_eq!(pulse.silent_ms(at(1_010), 10), Some(10));
        pulse.beat(at(1_010));
        assert_eq!(pulse.silent_ms(at(1_010), 10), None);
        pulse.rest();
        assert_eq!(pulse.silent_ms(at(1_000_000), 10), None, "it is over");
        assert!(!pulse.has_failed());
        pulse.fail();
        assert!(pulse.has_failed(), "that is no silence");
        assert_eq!(pulse.silent_ms(at(1_000_000), 10), None);
        assert!(!pulse.is_empty(), "it had ticks");
        pulse.has_nothing();
        assert_eq!(pulse.silent_ms(at(1_000_000), 10), None, "it is told otherwise");
        assert!(pulse.is_empty());
    }
}
