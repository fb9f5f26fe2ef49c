//! Which topics must have a message from time to time, and which of them fell silent.
//!
//! There are rules by pattern, of which the first match counts; a topic that no rule matches is never stale. A topic is
//! checked about once in its time, whatever is published, so publishing costs no timer. Never reads a clock.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tickwire_wire::Pattern;

use crate::looks::{LookRule, Looks};

/// A rule: topics of `pattern` are stale when nothing was published to them for `after_ms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleRule {
    /// The pattern of the topics.
    pub pattern: Pattern,
    /// The longest time in milliseconds between two messages, at least 1.
    pub after_ms: u64,
}

impl LookRule for StaleRule {
    fn pattern(&self) -> &Pattern {
        &self.pattern
    }
}

/// The topics that are to be checked, and the counts of the results.
#[derive(Debug, Default)]
pub(crate) struct Staleness {
    pub(crate) looks: Looks<StaleRule>,
    /// The number of stale topics. It is below 0 for a moment when a topic comes back before its silence was counted.
    stale: AtomicI64,
    changes: AtomicU64,
}

impl Staleness {
    pub(crate) fn with_rules(rules: Vec<StaleRule>) -> Self {
        let staleness = Self::default();
        staleness.looks.replace(rules);
        staleness
    }

    pub(crate) fn fell_silent(&self) {
        self.stale.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn came_back(&self) {
        self.stale.fetch_sub(1, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that a stale topic has ended.
    pub(crate) fn ended(&self) {
        self.stale.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn stale(&self) -> u64 {
        u64::try_from(self.stale.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }
}
