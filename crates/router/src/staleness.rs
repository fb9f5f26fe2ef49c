//! Which topics are expected to have a message every so often, and which of them fell silent.
//!
//! Rules by pattern, the first match wins; a topic that none matches is never stale. A topic is looked at about once in
//! its time, whatever is published: publishing costs no timer. Never reads a clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tickwire_wire::{Micros, Pattern};

use crate::publication::TopicId;

/// Topics of `pattern` are stale when nothing was published to them for `after_ms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleRule {
    /// Which topics.
    pub pattern: Pattern,
    /// The longest time in milliseconds between two messages, at least 1.
    pub after_ms: u64,
}

/// A topic that is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Look {
    /// When.
    pub(crate) due: Micros,
    pub(crate) topic: TopicId,
    pub(crate) after_ms: u64,
}

/// The topics with a rule, by when they are to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Staleness {
    rules: Vec<StaleRule>,
    looks: Mutex<BinaryHeap<Reverse<Look>>>,
    /// Topics that are stale. Below 0 for a moment, when a topic comes back before its silence was counted.
    stale: AtomicI64,
    changes: AtomicU64,
}

impl Staleness {
    pub(crate) fn with_rules(rules: Vec<StaleRule>) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, BinaryHeap<Reverse<Look>>> {
        // Nothing that holds the lock can panic half-way through a change.
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new topic in, if there is a rule for it.
    pub(crate) fn enter(&self, topic: TopicId, name: &str) {
        if let Some(rule) = self.rules.iter().find(|rule| rule.pattern.matches(name)) {
            self.again(Look {
                due: Micros(0),
                topic,
                after_ms: rule.after_ms,
            });
        }
    }

    /// The next topic that is to be looked at by `now`.
    pub(crate) fn next_due(&self, now: Micros) -> Option<Look> {
        let mut looks = self.lock();
        looks.peek().filter(|Reverse(look)| look.due <= now)?;
        looks.pop().map(|Reverse(look)| look)
    }

    /// When a topic is to be looked at next.
    pub(crate) fn next_timeout(&self) -> Option<Micros> {
        self.lock().peek().map(|Reverse(look)| look.due)
    }

    pub(crate) fn again(&self, look: Look) {
        self.lock().push(Reverse(look));
    }

    pub(crate) fn fell_silent(&self) {
        self.stale.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn came_back(&self) {
        self.stale.fetch_sub(1, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stale(&self) -> u64 {
        u64::try_from(self.stale.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }
}
